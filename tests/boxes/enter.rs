//! `incusbox enter` without a name: from no box at all to a shell, and which box is meant then.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::project::Project;
use crate::support::{Scratch, command, home, image, run};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn enter_without_a_name_goes_into_the_box_that_is_meant() {
    let ground = Ground::new();
    it_asks_for_a_box_from_the_hosts_image(&ground);
    it_makes_the_default_box_when_it_may(&ground);
    it_goes_into_the_only_box(&ground);
    it_asks_which_of_several_is_meant(&ground);
    it_makes_the_default_box_beside_others(&ground);
}

fn it_asks_for_a_box_from_the_hosts_image(ground: &Ground) {
    let told =
        run(ground.enter("", &[])).fails(2, &["there is no box yet", "incusbox enter --yes"]);
    assert_eq!(told.stdout, "");
    let os_release = std::fs::read_to_string("/etc/os-release").expect("os-release");
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_matches('"').to_owned()
    };
    let image = format!("{}:{}", field("ID="), field("VERSION_ID="));
    let question = format!("There is no box yet. Make the box `box` from {image}? [Y/n]");
    let (status, seen) = on_terminal(ground.enter("", &[]), &question, "n\n");
    assert_eq!(status, Some(1), "{seen}");
    assert!(ground.boxes().is_empty());
}

fn it_makes_the_default_box_when_it_may(ground: &Ground) {
    let config = ground.config("one");
    let question = format!("Make the box `one` from {}? [Y/n]", image());
    let command = ground.enter(&config, &["--", "sh", "-c", "echo in $(hostname)"]);
    let (status, seen) = on_terminal(command, &question, "\n");
    assert_eq!(status, Some(0), "{seen}");
    assert!(seen.contains("the box `one` is ready") && seen.contains("in one\r\n"), "{seen}");
    assert_eq!(ground.boxes(), ["one"]);
    // A shell of one's own, in which one types.
    let (status, seen) = on_terminal(ground.enter(&config, &[]), "$ ", "echo $((6*7)); exit 7\r");
    assert_eq!(status, Some(7), "{seen}");
    assert!(seen.contains("42"), "{seen}");
}

fn it_goes_into_the_only_box(ground: &Ground) {
    let told = run(ground.enter("", &["--", "hostname"])).succeeds();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("one\n", ""));
    let told = run(ground.enter("", &["--root", "--", "id", "-u"])).succeeds();
    assert_eq!(told.stdout, "0\n");
}

fn it_asks_which_of_several_is_meant(ground: &Ground) {
    ground.project.incus(&["init", &image(), "two", "--config", "user.incusbox.box=true"]);
    ground.project.incus(&["init", &image(), "no-box"]);
    run(ground.enter("", &["--yes"]))
        .fails(2, &["there are several boxes: one, two", "incusbox enter one"]);
    let told = run(ground.enter(&ground.config("one"), &["--", "hostname"])).succeeds();
    assert_eq!(told.stdout, "one\n", "the default one");
}

fn it_makes_the_default_box_beside_others(ground: &Ground) {
    let config = ground.config("three");
    run(ground.enter(&config, &[]))
        .fails(2, &["`three` is not there", "one, two", "incusbox enter --yes"]);
    let question = format!("The default box `three` is not there. Make it from {}? [Y/n]", image());
    let (status, seen) = on_terminal(ground.enter(&config, &[]), &question, "no\n");
    assert_eq!(status, Some(1), "{seen}");
    let told = run(ground.enter(&config, &["--yes", "--", "hostname"])).succeeds();
    assert_eq!(told.stdout, "three\n");
}

/// A project with directories for the caller's configuration.
struct Ground {
    project: Project,
    scratch: Scratch,
}

impl Ground {
    fn new() -> Ground {
        Ground { project: Project::new("enter"), scratch: Scratch::new("enter") }
    }

    fn boxes(&self) -> Vec<String> {
        let listed = self.project.incus(&["list", "--format", "csv", "--columns", "n"]).stdout;
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
        enter.env("INCUS_PROJECT", &self.project.0).env("XDG_CONFIG_HOME", config);
        enter
    }
}

/// Runs a command on a terminal, where `answer` is typed when `question` is to be seen.
fn on_terminal(command: Command, question: &str, answer: &str) -> (Option<i32>, String) {
    let (master, slave) = incusbox::sys::pty::open().expect("a pty");
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
