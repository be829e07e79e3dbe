//! Signals to the client are the command's, as they are a local foreground job's.

use rustix::process::Signal;

use crate::support::{End, Input, Invocation, Marker, Scratch, Way};

/// The signals that end a command which does not care.
const DEADLY: [(Signal, &str); 6] = [
    (Signal::TERM, "TERM"),
    (Signal::INT, "INT"),
    (Signal::HUP, "HUP"),
    (Signal::QUIT, "QUIT"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
];

/// A shell with a child, both of which the signal has to reach.
#[test]
fn a_signal_to_the_client_reaches_the_commands_whole_group() {
    for (signal, _) in DEADLY {
        let marker = Marker::new();
        // Shells let their background ignore INT and QUIT, so the shell runs nothing in it.
        let text = format!("ulimit -c 0; perl -e 'fork; exec qw(sleep {marker})'; echo after");
        let mut running = Invocation::by(Way::Agent, ["sh", "-c", &text]).start(Input::Null);
        marker.wait_for(2);
        running.signal(signal);
        assert_eq!(running.wait(), End::Signal(signal.as_raw()), "{signal:?}");
        marker.wait_gone(std::time::Duration::from_secs(3));
    }
}

fn a_trap_is_run_and_chooses_the_status(way: Way) {
    for (signal, name) in DEADLY {
        // perl has no child meanwhile that the signal would hit too.
        let code = r#"$| = 1; $SIG{$ARGV[0]} = sub { print "got\n"; exit 7 }; print "ready\n"; sleep 1 while 1"#;
        let mut running = Invocation::by(way, ["perl", "-e", code, name]).start(Input::Null);
        running.wait_for("ready\n");
        running.signal(signal);
        let outcome = running.end();
        assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(7), "ready\ngot\n"));
    }
}

fn a_death_by_a_signal_that_was_passed_on_is_one(way: Way) {
    for (signal, _) in DEADLY {
        let command = ["sh", "-c", "ulimit -c 0; echo ready; exec sleep 100"];
        let mut running = Invocation::by(way, command).start(Input::Null);
        running.wait_for("ready\n");
        running.signal(signal);
        assert_eq!(running.wait(), End::Signal(signal.as_raw()), "{signal:?}");
    }
}

in_ways! {
    a_trap_is_run_and_chooses_the_status: Local Native Agent;
    a_death_by_a_signal_that_was_passed_on_is_one: Local Native Agent;
}

#[test]
fn a_command_that_ignores_a_signal_goes_on() {
    let command = ["sh", "-c", "trap '' TERM; echo ready; sleep 1; echo done"];
    let mut running = Invocation::by(Way::Agent, command).start(Input::Null);
    running.wait_for("ready\n");
    running.signal(Signal::TERM);
    let outcome = running.end();
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(0), "ready\ndone\n"));
}

#[test]
fn two_signals_in_a_row_both_arrive() {
    let text = "trap 'echo one' USR1; trap 'echo two; exit' USR2; echo ready; while :; do sleep 0.05; done";
    let mut running = Invocation::by(Way::Agent, ["sh", "-c", text]).start(Input::Null);
    running.wait_for("ready\n");
    running.signal(Signal::USR1);
    running.wait_for("one\n");
    running.signal(Signal::USR2);
    assert_eq!(running.end().text(), "ready\none\ntwo\n");
}

#[test]
fn a_signal_right_after_the_start_is_not_lost() {
    for delay_ms in [5, 10, 15, 20, 30] {
        let marker = Marker::new();
        let command = ["sleep".to_owned(), marker.to_string()];
        let mut running = Invocation::by(Way::Agent, command).start(Input::Null);
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        running.signal(Signal::TERM);
        assert_eq!(running.wait(), End::Signal(15), "after {delay_ms} ms");
        marker.wait_gone(std::time::Duration::from_secs(10));
    }
}

#[test]
fn a_hangup_that_nohup_made_ignored_stays_so() {
    let command = Invocation::by(Way::Agent, ["sh", "-c", "echo ready; sleep 1; echo done"]);
    let mut words = vec!["nohup".into()];
    words.extend(command.words);
    let mut running = Invocation::new(words).start(Input::Null);
    running.wait_for("ready\n");
    running.signal(Signal::HUP);
    let outcome = running.end();
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(0), "ready\ndone\n"));
}

#[test]
fn timeout_ends_a_run_with_124() {
    let command = Invocation::by(Way::Agent, ["sleep", "100"]);
    let mut words = vec!["timeout".into(), "0.5".into()];
    words.extend(command.words);
    assert_eq!(Invocation::new(words).run().end, End::Code(124));
}

/// The client stops as the command would, so that a shell's `kill -TSTP %1; kill -CONT %1` works. A
/// SIGSTOP is the client's alone: nobody can catch it.
#[test]
fn a_stop_by_tstp_stops_command_and_client_and_cont_continues_both() {
    let marker = Marker::new();
    let text = format!(
        r#"set -m; "$@" sh -c 'sleep {marker}; echo after' & until [ -e $T/go ]; do sleep 0.05; done; kill -TSTP %1; sleep 1
        jobs; kill -CONT %1; sleep 1; jobs; kill %1; wait %1; echo "status $?""#
    );
    let scratch = Scratch::new();
    let script = Invocation::script(Way::Agent, &text).variable("T", scratch.path());
    let mut running = script.start(Input::Null);
    marker.wait_for(1);
    scratch.file("go", "");
    let sleeper = marker.sleepers()[0];
    let state = || crate::support::processes::state(sleeper);
    let patience = std::time::Duration::from_secs(5);
    crate::support::wait_until("the stop", patience, || state() == Some('T'));
    running.wait_for("Stopped");
    crate::support::wait_until("the command to go on", patience, || state() == Some('S'));
    running.wait_for("Running");
    running.wait_for("status 143");
}
