//! `incusbox enter` without a name: from no box at all to a shell, and which box is meant then.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

use crate::support::{Name, Outcome, Scratch, command, home, image, incus, run};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn enter_without_a_name_goes_into_the_box_that_is_meant() {
    let project = Project::new();
    it_asks_for_a_box_from_the_hosts_image(&project);
    it_makes_the_default_box_when_it_may(&project);
    it_goes_into_the_only_box(&project);
    it_asks_which_of_several_is_meant(&project);
    it_makes_the_default_box_beside_others(&project);
}

fn it_asks_for_a_box_from_the_hosts_image(project: &Project) {
    let told =
        run(project.enter("", &[])).fails(2, &["there is no box yet", "incusbox enter --yes"]);
    assert_eq!(told.stdout, "");
    let os_release = std::fs::read_to_string("/etc/os-release").expect("os-release");
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_matches('"').to_owned()
    };
    let image = format!("{}:{}", field("ID="), field("VERSION_ID="));
    let question = format!("There is no box yet. Make the box `box` from {image}? [Y/n]");
    let (status, seen) = on_terminal(project.enter("", &[]), &question, "n\n");
    assert_eq!(status, Some(1), "{seen}");
    assert!(project.boxes().is_empty());
}

fn it_makes_the_default_box_when_it_may(project: &Project) {
    let config = project.config("one");
    let question = format!("Make the box `one` from {}? [Y/n]", image());
    let command = project.enter(&config, &["--", "sh", "-c", "echo in $(hostname)"]);
    let (status, seen) = on_terminal(command, &question, "\n");
    assert_eq!(status, Some(0), "{seen}");
    assert!(seen.contains("the box `one` is ready") && seen.contains("in one\r\n"), "{seen}");
    assert_eq!(project.boxes(), ["one"]);
    // A shell of one's own, in which one types.
    let (status, seen) = on_terminal(project.enter(&config, &[]), "$ ", "echo $((6*7)); exit 7\r");
    assert_eq!(status, Some(7), "{seen}");
    assert!(seen.contains("42"), "{seen}");
}

fn it_goes_into_the_only_box(project: &Project) {
    let told = run(project.enter("", &["--", "hostname"])).succeeds();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("one\n", ""));
    let told = run(project.enter("", &["--root", "--", "id", "-u"])).succeeds();
    assert_eq!(told.stdout, "0\n");
}

fn it_asks_which_of_several_is_meant(project: &Project) {
    project.incus(&["init", &image(), "two", "--config", "user.incusbox.box=true"]);
    project.incus(&["init", &image(), "no-box"]);
    run(project.enter("", &["--yes"]))
        .fails(2, &["there are several boxes: one, two", "incusbox enter one"]);
    let told = run(project.enter(&project.config("one"), &["--", "hostname"])).succeeds();
    assert_eq!(told.stdout, "one\n", "the default one");
}

fn it_makes_the_default_box_beside_others(project: &Project) {
    let config = project.config("three");
    run(project.enter(&config, &[]))
        .fails(2, &["`three` is not there", "one, two", "incusbox enter --yes"]);
    let question = format!("The default box `three` is not there. Make it from {}? [Y/n]", image());
    let (status, seen) = on_terminal(project.enter(&config, &[]), &question, "no\n");
    assert_eq!(status, Some(1), "{seen}");
    let told = run(project.enter(&config, &["--yes", "--", "hostname"])).succeeds();
    assert_eq!(told.stdout, "three\n");
}

/// A project of its own, for what boxes there are counts here. They have no network: Incus lets no two
/// instances of one name on one.
struct Project {
    name: Name,
    scratch: Scratch,
}

impl Project {
    fn new() -> Project {
        let project = Project { name: Name::new("project"), scratch: Scratch::new("enter") };
        let name = &*project.name;
        let root = incus(&["profile", "device", "get", "default", "root", "pool"]).succeeds();
        let pool = format!("pool={}", root.stdout.trim());
        let add = ["profile", "device", "add", "default", "root", "disk", "path=/", &pool];
        let file = project.scratch.path("image");
        incus(&["project", "create", name]).succeeds();
        project.incus(&add);
        incus(&["image", "export", &image(), &file]).succeeds();
        project.incus(&["image", "import", &file, &format!("{file}.root"), "--alias", &image()]);
        project
    }

    fn incus(&self, words: &[&str]) -> Outcome {
        incus(&[words, &["--project", &self.name]].concat()).succeeds()
    }

    fn boxes(&self) -> Vec<String> {
        let listed = self.incus(&["list", "--format", "csv", "--columns", "n"]).stdout;
        listed.lines().map(str::to_owned).collect()
    }

    /// A directory for `XDG_CONFIG_HOME` with a file that calls this box the default.
    fn config(&self, name: &str) -> String {
        let config = self.scratch.path(name);
        std::fs::create_dir_all(format!("{config}/incusbox")).expect("a directory");
        let defaults = format!("image = '{}'\nhome = 'none'\nnesting = false\n", image());
        let text = format!("default-box = '{name}'\n[defaults]\n{defaults}");
        std::fs::write(format!("{config}/incusbox/incusbox.toml"), text).expect("a file");
        config
    }

    fn enter(&self, config: &str, words: &[&str]) -> Command {
        let mut enter = command("incusbox", &[&["enter"], words].concat());
        let config = if config.is_empty() { self.scratch.path("none") } else { config.to_owned() };
        enter.env("INCUS_PROJECT", &*self.name).env("XDG_CONFIG_HOME", config);
        enter
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // It asks all the same.
        let script = r#"echo yes | incus project delete --force "$1""#;
        let mut delete = Command::new("sh");
        delete.args(["-c", script, "sh", &self.name]).stdin(Stdio::null());
        let _said_by_incus = run(delete);
    }
}

/// Runs a command on a terminal, where `answer` is typed when `question` is to be seen.
fn on_terminal(command: Command, question: &str, answer: &str) -> (Option<i32>, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).expect("a pty");
    rustix::pty::grantpt(&master).expect("grantpt");
    rustix::pty::unlockpt(&master).expect("unlockpt");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("ptsname");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, Mode::empty()).expect("the pty's slave");
    // setsid(1) stays the same process, because it does not lead a process group here.
    let mut leader = Command::new("setsid");
    leader.arg("--ctty").arg(command.get_program()).args(command.get_args()).current_dir(home());
    leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let end = || Stdio::from(slave.try_clone().expect("a duplicate"));
    let mut child = leader.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid");
    drop((leader, slave));
    let mut master = File::from(master);
    let (mut seen, mut is_answered) = (String::new(), false);
    let deadline = Instant::now() + PATIENCE;
    let mut part = [0; 4096];
    loop {
        let mut waited = [PollFd::new(&master, PollFlags::IN)];
        poll(&mut waited, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).expect("poll");
        assert!(Instant::now() < deadline, "{command:?} did not end: {seen}");
        if waited[0].revents().is_empty() {
            continue;
        }
        // At the end of the last process on it a pty gives EIO.
        let Ok(count @ 1..) = master.read(&mut part) else { break };
        seen.push_str(&String::from_utf8_lossy(&part[..count]));
        if !is_answered && seen.contains(question) {
            master.write_all(answer.as_bytes()).expect("the terminal is there");
            is_answered = true;
        }
    }
    assert!(is_answered, "no `{question}` in {seen}");
    (child.wait().expect("an end").code(), seen)
}
