//! Files of the host that a box does not see, shown to it for one run: `--share-files`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::export::{Desktop, PROGRAMS};
use crate::support::{Name, Outcome, command, finish, incus, incusbox, run};

/// Longer than a file stays after its command.
const PATIENCE: Duration = Duration::from_secs(180);
/// Less than what is shown stays, so what is gone by then was taken away before.
const AT_ONCE: Duration = Duration::from_secs(40);
/// Says what it opens, with what is in it.
const SHOW: &str = r#"for file; do echo "$file"; cat "$file"; done"#;

/// Files in the host's `/tmp`, which no box shares.
struct Files(PathBuf);

impl Files {
    fn new(what: &str) -> Files {
        let path = std::env::temp_dir().join(format!("boxes-{}-{what}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory");
        Files(path)
    }

    fn write(&self, name: &str, mode: u32) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, format!("this is {name}\n")).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        path.to_str().expect("text").to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _is_left = std::fs::remove_dir_all(&self.0);
    }
}

fn client(name: &Name, script: &str, files: &[&str]) -> std::process::Command {
    let words = ["--opened", "@@", "--share-files", name, "--", "sh", "-c", script, "sh", "@@"];
    command("incusbox-run", &[&words, files, &["@@"]].concat())
}

fn shared(name: &Name, script: &str, files: &[&str]) -> Outcome {
    run(client(name, script, files))
}

/// The devices that are shared files.
fn devices(name: &Name) -> Vec<String> {
    let listed = incus(&["config", "device", "list", name]).succeeds().stdout;
    listed.lines().filter(|line| line.starts_with("incusbox-file.")).map(str::to_owned).collect()
}

/// The processes that take devices away, by what these are called.
fn keepers(devices: &[String]) -> Vec<Pid> {
    let pid = |device: &String| device.split('.').nth(3)?.parse().ok().and_then(Pid::from_raw);
    let mut pids: Vec<Pid> = devices.iter().map(|device| pid(device).expect("a process")).collect();
    pids.dedup();
    pids
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until nothing is shared, and asserts that nothing of it is in the box.
#[track_caller]
fn nothing_is_left(name: &Name) {
    until("no device is left", || devices(name).is_empty());
    until("no directory is left", || name.root("ls -A /run/incusbox/files").stdout.is_empty());
}

/// Has keepers take away at once what they keep, as the end of a session does.
fn end(name: &Name) {
    for keeper in keepers(&devices(name)) {
        let _has_just_ended = kill_process(keeper, Signal::TERM);
    }
    nothing_is_left(name);
}

fn start(mut command: std::process::Command) -> (std::process::Command, Child) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("incusbox-run");
    (command, child)
}

#[test]
fn a_file_that_the_box_does_not_see_is_read_there_and_not_written() {
    let name = Name::create("share", &["--home", "none"]);
    let files = Files::new("share");
    let odd = files.write("odd \u{fc} 100%.txt", 0o600);
    let link = files.0.join("-link").display().to_string();
    std::os::unix::fs::symlink(&odd, &link).expect("a link");
    let directory = files.0.display().to_string();
    let url = format!("file://{directory}/odd%20%C3%BC%20100%25.txt#page=2");
    let as_url = r#"echo "$1"; test "$2" = https://example.org/x"#;

    let ran = shared(&name, SHOW, &[&odd, "/etc/hostname", &link, &odd]).succeeds();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let host = std::fs::read_to_string("/etc/hostname").expect("the host's name");
    let (place, of_link) = (lines[0], lines[4]);
    assert!(place.starts_with("/run/incusbox/files/"), "{ran:#?}");
    assert!(place.ends_with("/odd \u{fc} 100%.txt") && of_link.ends_with("/-link"), "{ran:#?}");
    assert_eq!(lines[1], "this is odd \u{fc} 100%.txt");
    assert_eq!(lines[3], host.trim(), "root's, which everybody may read");
    assert_eq!((lines[5], lines[6]), (lines[1], place), "twice the same is one");

    let ran = shared(&name, as_url, &[&url, "https://example.org/x"]).succeeds();
    assert!(ran.stdout.starts_with("file:///run/incusbox/files/"), "{ran:#?}");
    assert!(ran.stdout.ends_with("/odd%20%C3%BC%20100%25.txt#page=2\n"), "{ran:#?}");

    for script in [r#"echo x >>"$1""#, r#"sudo -n sh -c 'echo x >>"$1"' sh "$1""#] {
        let refused = shared(&name, script, &[&odd]);
        assert!(refused.stderr.contains("Read-only file system"), "{refused:#?}");
    }
    let listed = shared(&name, r#"ls "$1"; ! touch "$1/x" 2>&1"#, &[&directory]).succeeds();
    assert!(listed.stdout.contains("odd \u{fc} 100%.txt\n"), "{listed:#?}");
    assert!(!files.0.join("x").exists());

    // Nothing of it stays when there was nothing to run, and the rest for a while.
    let before = devices(&name);
    let none = client(&name, SHOW, &[&odd]).get_args().map(|word| word.to_owned()).collect();
    let none: Vec<std::ffi::OsString> = none;
    let mut missing = command("incusbox-run", &[]);
    missing.args(none.iter().map(|word| if word == "sh" { "no-such".as_ref() } else { &**word }));
    assert_eq!(run(missing).status, Some(127));
    let began = Instant::now();
    let is_of_before = |device: &String| before.contains(device);
    until("it is taken away", || devices(&name).iter().all(is_of_before));
    assert!(began.elapsed() < AT_ONCE, "{:?} is no sooner than the rest", began.elapsed());
    end(&name);
}

#[test]
fn what_cannot_be_shared_says_why() {
    let name = Name::create("unshared", &["--isolated"]);
    let files = Files::new("unshared");
    let (all, own) = (files.write("for-all", 0o644), files.write("own", 0o600));
    shared(&name, SHOW, &[&all]).succeeds();
    let fifo = files.0.join("fifo").display().to_string();
    run({
        let mut command = std::process::Command::new("mkfifo");
        command.arg(&fifo);
        command
    })
    .succeeds();
    let private = "/etc/shadow";
    assert!(Path::new(private).exists());
    for (file, why) in [
        (&*own, "not readable for everybody"),
        (private, "Permission denied"),
        (&*fifo, "neither a file nor a directory"),
        ("/", "the whole host"),
    ] {
        shared(&name, SHOW, &[file]).fails(125, &[&format!("`{file}` cannot be shared"), why]);
    }
    let native = ["--mode", "native", "--opened=@", "--share-files", &name, "--", "cat", "@"];
    let native = run(command("incusbox-run", &[&native[..], &[&all, "@"]].concat()));
    native.fails(125, &["cannot be shared", "without the agent"]);
    let refused = ["--opened=@", &name, "--", "cat", "@", &all, &own, "@"];
    let refused = run(command("incusbox-run", &refused));
    refused.fails(125, &["and 1 more are on the host", "incusbox export", "--share-files"]);
    end(&name);
}

#[test]
fn runs_at_once_share_and_take_away_their_own() {
    let name = Name::create("shares", &["--home", "none"]);
    let files = Files::new("shares");
    // Each ends when all are there.
    let script = r#"cat "$1"; touch /tmp/$2; until [ $(ls -d /tmp/run-* | wc -l) = 4 ]; do sleep 0.1; done; cat "$1""#;
    let began = Instant::now();
    let runs: Vec<_> = (0..4)
        .map(|number| {
            let own = files.write(&format!("file-{number}"), 0o600);
            let mark = format!("run-{number}");
            (number, start(client(&name, script, &[&own, &mark])))
        })
        .collect();
    for (number, (command, child)) in runs {
        let text = format!("this is file-{number}\n");
        assert_eq!(finish(&command, child).succeeds().stdout, text.repeat(2));
    }
    let all = devices(&name);
    assert_eq!(keepers(&all).len(), 4, "{all:?}");
    let first = keepers(&all)[0];
    kill_process(first, Signal::TERM).expect("a keeper");
    until("the first one's is away", || !keepers(&devices(&name)).contains(&first));
    // The others' stay for a minute from their start, which may be over on a busy machine.
    if began.elapsed() < AT_ONCE {
        assert_eq!(devices(&name).len(), 3, "and no other's");
    }
    end(&name);
}

#[test]
fn what_the_killed_left_is_taken_away_by_the_next() {
    let name = Name::create("killed", &["--home", "none"]);
    let files = Files::new("killed");
    let file = files.write("file", 0o644);
    let (_, mut child) = start(client(&name, "exec sleep 1000", &[&file]));
    until("a file is shared", || !devices(&name).is_empty());
    let left = devices(&name);
    kill_process(keepers(&left)[0], Signal::KILL).expect("a keeper");
    child.kill().expect("a client");
    child.wait().expect("its end");
    assert_eq!(devices(&name), left);
    // It starts although the file is gone, and nobody else's is touched.
    let foreign = "incusbox-file.00000000.00000000.1.1.0";
    let add = ["config", "device", "add", &name, foreign, "disk", "source=/etc/hostname"];
    incus(&[&add[..], &["path=/run/foreign", "required=false"]].concat()).succeeds();
    std::fs::remove_file(&file).expect("a file");
    incusbox(&["restart", &name]).succeeds();
    assert_eq!(devices(&name).len(), 2);
    let other = files.write("other", 0o644);
    assert!(shared(&name, SHOW, &[&other]).succeeds().stdout.ends_with("this is other\n"));
    let now = devices(&name);
    assert!(!now.contains(&left[0]) && now.len() == 2, "{now:?}");
    incus(&["config", "device", "remove", &name, foreign]).succeeds();
    end(&name);
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let name = Name::create("gone", &["--home", "none"]);
    let files = Files::new("gone");
    let (_, mut child) = start(client(&name, "exec sleep 1000", &[&files.write("file", 0o644)]));
    until("a file is shared", || !devices(&name).is_empty());
    child.kill().expect("a client");
    child.wait().expect("its end");
    nothing_is_left(&name);
}

#[test]
fn an_exported_program_is_shown_what_it_opens_if_that_was_asked_for() {
    let desktop = Desktop::new("share-files");
    let name = Name::create("entry", &["--home", "none"]);
    name.root(PROGRAMS).succeeds();
    let files = Files::new("entry");
    let file = files.write("a b.txt", 0o644);
    let entry = "share/applications/org.test.Edit.desktop";
    desktop.export(&name, &["--share-files"]).fails(2, &["--app"]);
    desktop.export(&name, &["--app", "Edit"]).succeeds();
    desktop.launch(entry, "Desktop Entry", &[&file]).fails(125, &["--share-files"]);
    desktop.export(&name, &["--app", "Edit", "--share-files"]).succeeds();
    let ran = desktop.launch(entry, "Desktop Entry", &[&file]).succeeds();
    assert!(ran.stdout.contains("</run/incusbox/files/"), "{ran:#?}");
    assert!(ran.stdout.contains("/a b.txt>"), "{ran:#?}");
    desktop.export(&name, &["--app", "Edit", "--label", "x"]).succeeds();
    assert!(desktop.read(entry).contains("--share-files"), "what is not said anew stays");
    desktop.export(&name, &["--app", "Edit", "--no-share-files"]).succeeds();
    assert!(desktop.read(entry).contains("Name=Edit (x)\n"));
    assert!(!desktop.read(entry).contains("--share-files"));
    end(&name);
}
