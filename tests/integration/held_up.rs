//! Runs whose reader rests, as a pager's user does: a signal kills them as it kills a local command
//! that waits in write(2), and what they still have to say is never lost otherwise.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{End, Invocation, Outcome, Pty, Way};

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

/// The signal ends what the shell that waits for seq(1) is, and natively only that.
fn a_signal_kills_a_command_with_a_child(way: Way) {
    let reader = format!("{FULL}; kill -TERM $run");
    for lines in [50_000, 1_000_000] {
        let outcome = into_a_pipe(way, &format!("sh -c 'seq {lines}; true'"), ">", &reader);
        expect(&outcome, "status 143\n");
    }
}

/// What is on its way would keep this reader for half a minute.
fn a_signal_kills_what_waits_for_a_reader_that_is_slow(way: Way) {
    let slow = "while head -c 4096 <&4 >&5; do sleep 0.2; done";
    let reader = format!(
        r#"{FULL}; exec 5>/dev/null; ({slow}) & reader=$!; sleep 1; began=$SECONDS; kill -TERM $run
        wait $run; status=$?; kill $reader; echo "took $(((SECONDS - began) / 10))"; (exit $status) & run=$!"#
    );
    for lines in [60_000, 1_000_000] {
        let outcome = into_a_pipe(way, &format!("seq {lines}"), ">", &reader);
        expect(&outcome, "took 0\nstatus 143\n");
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

/// As Python does with ^C; all of it may be on its way when it dies. Incus does not tell it from a
/// command that just died.
fn what_a_command_says_before_it_dies_by_the_signal_is_waited_for(way: Way) {
    // Not in the handler, where Perl holds the signal back.
    let code = "$SIG{TERM} = sub { $told = 1 }; $| = 1; print \"ready\\n\"; sleep 1 until $told; \
                print \"x\" x 99, \"\\n\" for 1..2000; \
                $SIG{TERM} = \"DEFAULT\"; kill TERM => $$; sleep 9";
    let reader = "read -r ready <&4; kill -TERM $run; sleep 4; wc -c <&4";
    let outcome = into_a_pipe(way, &format!("perl -e '{code}'"), ">", reader);
    expect(&outcome, "200000\nstatus 143\n");
}

/// Not even when another output has rested for long.
fn what_was_said_before_the_signal_arrives(way: Way) {
    let code = "print STDERR \"x\" x 8000000 if !fork; sleep 4; syswrite STDOUT, \"y\\n\" x 20000; sleep 100";
    let text = format!(
        r#"base=$HOME/held-$$; mkfifo "$base"; "$@" perl -e '{code}' >"$base-out" 2>"$base" & run=$!
        exec 4<"$base" 2>/dev/null; {FULL}
        until [ "$(wc -c <"$base-out")" -ge 1 ]; do sleep 0.01; done; kill -TERM $run; wait $run; status=$?
        wc -c <"$base-out"; rm "$base" "$base-out"; echo "status $status""#
    );
    expect(&Invocation::script(way, &text).run(), "40000\nstatus 143\n");
}

in_ways! {
    a_signal_kills_at_once_whatever_waits: Local Agent Native;
    a_signal_kills_what_waits_for_a_reader_of_its_errors: Local Agent Native;
    a_signal_kills_what_waits_for_a_terminal: Local Agent Native;
    a_signal_kills_a_command_with_a_child: Local Agent Native;
    a_signal_kills_what_waits_for_a_reader_that_is_slow: Local Agent Native;
    what_a_command_says_when_it_catches_the_signal_is_waited_for: Local Agent Native;
    what_a_command_says_before_it_dies_by_the_signal_is_waited_for: Local Agent;
    what_was_said_before_the_signal_arrives: Local Agent Native;
}
