//! What ^C and SIGKILL leave: nothing, or what the next one takes away.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Name, command, image, incus, incusbox, program};

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
