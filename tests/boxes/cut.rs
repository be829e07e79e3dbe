//! What ^C and SIGKILL leave: nothing, or what the next one takes away.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::files::{busybox_root, images_of};
use crate::support::{Name, Scratch, command, finish, image, incus, incusbox, program};

fn begin(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("incusbox")
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn state(name: &Name) -> String {
    incus(&["config", "get", name, "user.incusbox.state"]).stdout
}

fn names() -> String {
    incus(&["list", "--format", "csv", "--columns", "n"]).succeeds().stdout
}

/// Whether Incus is at work for what this process makes.
fn is_at_work_for(pid: u32) -> bool {
    let all = incus(&["query", "/1.0/operations?recursion=1&all-projects=true"]).stdout;
    all.contains(&format!("-{pid:x}-"))
}

fn backup(scratch: &Scratch) -> String {
    let file = scratch.path("backup.tar");
    let first = Name::new("exported");
    incus(&["init", &image(), &first]).succeeds();
    incus(&["export", &first, &file, "--compression", "none", "--instance-only"]).succeeds();
    file
}

#[test]
fn a_question_ends_by_ctrl_c() {
    let name = Name::new("asked");
    incus(&["init", &image(), &name, "--config", "user.incusbox.box=true"]).succeeds();
    let line = format!("{} rm {}", program("incusbox").display(), &*name);
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = terminal.spawn().expect("script");
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"[y/N] ") {
        child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("a question");
        seen.push(byte[0]);
    }
    let mut keys = child.stdin.take().expect("a pipe");
    keys.write_all(b"\x03").expect("a terminal");
    let mut status = None;
    wait_for("it ends", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(128 + Signal::INT.as_raw()));
    assert!(name.exists());
}

#[test]
fn an_interrupted_rm_begins_with_no_other_box() {
    let boxes = [(); 5].map(|()| Name::new("many"));
    for name in &boxes {
        incus(&["init", &image(), name, "--config", "user.incusbox.box=true"]).succeeds();
    }
    let words = ["rm", "--force"].into_iter().chain(boxes.iter().map(|name| &**name));
    let mut rm = command("incusbox", &words.collect::<Vec<_>>());
    let mut child = begin(&mut rm);
    wait_for("the first is deleted", || {
        !incusbox(&["list", "--quiet"]).stdout.lines().any(|line| *line == *boxes[0])
    });
    kill_process(Pid::from_child(&child), Signal::INT).expect("incusbox still runs");
    let status = child.wait().expect("a child");
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
    assert!(boxes[4].exists());
}

#[test]
fn what_is_uploaded_is_given_up_by_a_signal() {
    let scratch = Scratch::new("upload");
    let (root, file) = (scratch.path("root"), scratch.path("upload.tar"));
    // A file of which only the beginning has been written, so that there are gigabytes to send.
    let script = format!(
        "mkdir -p {root}/bin {root}/etc {root}/usr && truncate -s 8G {root}/usr/big && \
         tar -C {root} -cf {file} ./bin ./etc && truncate -s 2560 {file} && \
         tar -C {root} -cf - ./usr | head -c 1024 >>{file} && truncate -s 8G {file}"
    );
    let made = Command::new("sh").args(["-c", &script]).status().expect("sh");
    assert!(made.success());
    let name = Name::new("upload");
    let mut create = command("incusbox", &["create", &name, "--image-file", &file]);
    let mut child = begin(&mut create);
    std::thread::sleep(Duration::from_millis(1500));
    let began = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).expect("incusbox still runs");
    let status = child.wait().expect("a child");
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(images_of(&file), 0);
}

#[test]
fn a_restore_that_is_interrupted_or_killed_leaves_nothing_for_good() {
    let scratch = Scratch::new("restore");
    let file = backup(&scratch);
    let name = Name::new("back");
    let mut left = Vec::new();
    for signal in [Signal::INT, Signal::KILL] {
        let mut create = command("incusbox", &["create", &name, "--image-file", &file]);
        let child = begin(&mut create);
        let pid = child.id();
        wait_for("Incus unpacks", || is_at_work_for(pid));
        kill_process(Pid::from_child(&child), signal).expect("incusbox still runs");
        let outcome = finish(&create, child);
        assert_eq!(outcome.status, None, "{outcome:?}");
        assert!(!name.exists(), "after {signal:?}");
        left.push(format!("-{pid:x}-"));
    }
    assert!(!names().contains(&left[0]), "{}", names());
    // Killed later, it has its name and a mark.
    let words = ["create", &name, "--image-file", &file, "--init-hook", "sleep 60"];
    let mut create = command("incusbox", &words);
    let mut child = begin(&mut create);
    wait_for("it has its name", || name.exists() && state(&name).starts_with("creating "));
    child.kill().expect("incusbox still runs");
    finish(&create, child);
    incusbox(&["create", &name, "--image-file", &file]).succeeds();
    assert_eq!(state(&name), "ready\n");
    assert!(!left.iter().any(|left| names().contains(left)), "{}", names());
}

#[test]
fn an_image_that_a_killed_create_left_goes_with_the_next() {
    let scratch = Scratch::new("left-image");
    let file = busybox_root(&scratch);
    let name = Name::new("left");
    let words = ["create", &name, "--image-file", &file, "--no-nesting", "--home", "none"];
    let mut create = command("incusbox", &[&words[..], &["--init-hook", "sleep 60"]].concat());
    let mut child = begin(&mut create);
    wait_for("it is being made", || state(&name).starts_with("creating "));
    // Once its maker is dead, another test's may take it away, too.
    assert_eq!(images_of(&file), 1);
    child.kill().expect("incusbox still runs");
    finish(&create, child);
    incusbox(&words).succeeds();
    assert_eq!(images_of(&file), 0);
}
