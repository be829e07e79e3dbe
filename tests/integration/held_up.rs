//! Runs whose reader rests, as a pager's user does: a signal kills them as it kills a local command
//! that waits in write(2), and what they still have to say is never lost otherwise.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{End, Input, Invocation, Outcome, Pty, Way};

/// Runs `command` with its output in a pipe that `reader`, a piece of shell, may read as
/// descriptor 4; `$run` is the run.
fn into_a_pipe(way: Way, command: &str, redirection: &str, reader: &str) -> Outcome {
    let text = format!(
        r#"pipe=$HOME/fifo-$$; mkfifo "$pipe"; "$@" {command} {redirection}"$pipe" & run=$!
        exec 4<"$pipe" 2>/dev/null; rm "$pipe"; {reader}
        wait $run; echo "status $?""#
    );
    Invocation::script(way, &text).run()
}

/// Waits until the pipe is full and whoever waits for it has come to rest.
const FULL: &str = r#"perl -e 'do { select undef, undef, undef, 0.05; ioctl STDIN, 0x541B, $n = pack "i", 0 }
    until unpack("i", $n) > 61000' <&4; sleep 1"#;

fn expect(outcome: &Outcome, said: &str) {
    let difference = outcome.difference(&Outcome::new(End::Code(0), said));
    assert!(difference.is_empty(), "{difference}");
}

/// What of a run still waits when the signal comes differs with how much there is: first only the
/// run itself, at last the command too.
fn a_signal_kills_at_once_whatever_waits(way: Way) {
    for (lines, signal, status) in [
        (20_000, "TERM", 143),
        (50_000, "HUP", 129),
        (70_000, "TERM", 143),
        (100_000, "HUP", 129),
        (1_000_000, "TERM", 143),
    ] {
        let reader = format!("{FULL}; kill -{signal} $run");
        let outcome = into_a_pipe(way, &format!("seq {lines}"), ">", &reader);
        expect(&outcome, &format!("status {status}\n"));
    }
}

fn a_signal_kills_what_waits_for_a_reader_of_its_errors(way: Way) {
    for lines in [20_000, 1_000_000] {
        let reader = &format!("{FULL}; kill -TERM $run");
        let command = format!("sh -c 'exec seq {lines} >&2'");
        expect(&into_a_pipe(way, &command, "2>", reader), "status 143\n");
    }
}

fn a_signal_kills_what_waits_for_a_terminal(way: Way) {
    for lines in ["20000", "1000000"] {
        let mut pty = Pty::start(&Invocation::by(way, ["seq", lines]));
        std::thread::sleep(Duration::from_secs(2));
        pty.signal(Signal::TERM);
        assert_eq!(pty.wait_unread(), End::Signal(libc::SIGTERM), "{lines}");
    }
}

/// The reader comes back after longer than any patience with one that never does.
fn what_a_command_says_when_it_catches_the_signal_is_waited_for(way: Way) {
    let code = "$SIG{TERM} = sub { print \"x\" x 99, \"\\n\" for 1..80000; exit 3 }; $| = 1; \
                print \"ready\\n\"; sleep 1 while 1";
    let reader = "read -r ready <&4; kill -TERM $run; sleep 4; wc -c <&4";
    let outcome = into_a_pipe(way, &format!("perl -e '{code}'"), ">", reader);
    expect(&outcome, "8000000\nstatus 3\n");
}

/// Nobody rests here, so what was said before the signal arrives.
fn what_was_said_before_the_signal_arrives(way: Way) {
    let code = "$| = 1; print \"x\" x 40000; print \"\\n\"; print \"y\\n\"; sleep 100";
    let mut running = Invocation::by(way, ["perl", "-e", code]).start(Input::Null);
    running.wait_for("y\n");
    running.signal(Signal::TERM);
    let outcome = running.end();
    assert_eq!((outcome.end, outcome.stdout.len()), (End::Signal(libc::SIGTERM), 40003));
}

in_ways! {
    a_signal_kills_at_once_whatever_waits: Local Agent Native;
    a_signal_kills_what_waits_for_a_reader_of_its_errors: Local Agent Native;
    a_signal_kills_what_waits_for_a_terminal: Local Agent Native;
    what_a_command_says_when_it_catches_the_signal_is_waited_for: Local Agent Native;
    what_was_said_before_the_signal_arrives: Local Agent Native;
}
