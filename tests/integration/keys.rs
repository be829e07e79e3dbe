//! Keys, where a table's case does not do: all of them, many of them, pasted ones.

use std::time::Duration;

use crate::support::pty::{CTRL_BACKSLASH, CTRL_C, CTRL_D};
use crate::support::{End, Invocation, Pty, Way};

fn ctrl_c_is_a_death_by_int(way: Way) {
    let mut pty = Pty::start(&Invocation::by(way, ["sh", "-c", "echo ready; exec sleep 100"]));
    pty.wait_for("ready\r\n").send(CTRL_C);
    assert_eq!(pty.wait(), End::Signal(2));
}

fn ctrl_backslash_is_a_death_by_quit(way: Way) {
    let command = ["sh", "-c", "ulimit -c 0; echo ready; exec sleep 100"];
    let mut pty = Pty::start(&Invocation::by(way, command));
    pty.wait_for("ready\r\n").send(CTRL_BACKSLASH);
    assert_eq!(pty.wait(), End::Signal(3));
}

fn ctrl_d_ends_cat(way: Way) {
    let mut pty = Pty::start(&Invocation::by(way, ["sh", "-c", "echo ready; exec cat"]));
    pty.wait_for("ready\r\n").send("line\n");
    pty.wait_for("line\r\nline\r\n").send(CTRL_D);
    assert_eq!(pty.wait(), End::Code(0));
}

/// More than a tty's buffer holds: lines of 60 bytes, 200 kB in all.
fn a_large_paste_loses_nothing(way: Way) {
    let command = ["sh", "-c", "stty -echo; echo ready; head -n 4000 | md5sum"];
    let mut pty = Pty::start(&Invocation::by(way, command));
    pty.wait_for("ready\r\n");
    let text: String = (0..4000).map(|number| format!("{number:059}\n")).collect();
    pty.send(&text);
    let expected = Invocation::by(Way::Local, ["md5sum"])
        .run_with(crate::support::Input::Bytes(text.into_bytes()));
    pty.wait_for(expected.text().trim_end());
    assert_eq!(pty.wait(), End::Code(0));
}

fn keys_typed_before_the_start_are_not_lost(way: Way) {
    let mut pty =
        Pty::start(&Invocation::by(way, ["sh", "-c", "sleep 0.5; read -r x; echo \"<$x>\""]));
    pty.send("ahead\n");
    pty.wait_for("<ahead>\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

fn keys_are_echoed_at_once(way: Way) {
    let mut pty = Pty::start(&Invocation::by(way, ["sh", "-c", "echo ready; exec cat"]));
    pty.wait_for("ready\r\n").idle(Duration::from_millis(100));
    let began = std::time::Instant::now();
    for key in "abcdefghij".chars() {
        pty.send(key.to_string());
        pty.wait_for(&key.to_string());
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "ten keys took {took:?}");
    pty.send(CTRL_C);
    pty.wait();
}

in_ways! {
    ctrl_c_is_a_death_by_int: Local Agent;
    ctrl_backslash_is_a_death_by_quit: Local Agent;
    ctrl_d_ends_cat: Local IncusExec Native Agent;
    a_large_paste_loses_nothing: Local Agent;
    keys_typed_before_the_start_are_not_lost: Local IncusExec Native Agent;
    keys_are_echoed_at_once: Local IncusExec Native Agent;
}
