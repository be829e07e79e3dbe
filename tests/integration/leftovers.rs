//! What is left of a command whose client was killed or whose terminal was closed: nothing that a
//! closed terminal would not leave.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Input, Invocation, Marker, Pty, Way, processes, wait_until};

/// SIGHUP at once, SIGTERM after 2 s, SIGKILL after 5 s.
const ALL_GONE: Duration = Duration::from_secs(8);

/// Ends in the box what survived on purpose.
fn kill_in_box(marker: &Marker) {
    let text = format!("kill -9 $(pgrep -fx 'sleep {marker}')");
    let outcome = Invocation::by(Way::Agent, ["sh", "-c", &text]).run();
    assert_eq!(outcome.end, crate::support::End::Code(0), "{}", outcome.errors());
    marker.wait_gone(Duration::from_secs(3));
}

#[test]
fn a_killed_client_leaves_nothing_of_the_group() {
    let marker = Marker::new();
    let text = format!("sleep {marker} & sleep {marker} & sh -c 'sleep {marker}; echo x'");
    let running = Invocation::by(Way::Agent, ["sh", "-c", &text]).start(Input::Null);
    marker.wait_for(3);
    running.signal(Signal::KILL);
    marker.wait_gone(ALL_GONE);
}

#[test]
fn a_killed_client_leaves_what_ignores_hangups_or_left_the_group() {
    let (marker, other) = (Marker::new(), Marker::new());
    let text = format!("nohup sleep {marker} & setsid sleep {marker} & sleep {other}");
    let running = Invocation::by(Way::Agent, ["sh", "-c", &text]).start(Input::Null);
    marker.wait_for(2);
    other.wait_for(1);
    running.signal(Signal::KILL);
    other.wait_gone(ALL_GONE);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(marker.sleepers().len(), 2);
    kill_in_box(&marker);
}

#[test]
fn a_command_has_time_to_clean_up_after_its_client_was_killed() {
    let marker = Marker::new();
    let name = format!("cleaned-{marker}");
    let text = format!(
        "trap 'sleep 0.5; echo cleaned >~/{name}; exit' HUP; echo ready; while :; do sleep 0.05; done"
    );
    let mut running = Invocation::by(Way::Agent, ["sh", "-c", &text]).start(Input::Null);
    running.wait_for("ready\n");
    running.signal(Signal::KILL);
    let look = format!("cat ~/{name} && rm ~/{name}");
    wait_until("the clean-up", ALL_GONE, || {
        Invocation::by(Way::Agent, ["sh", "-c", &look]).run().text() == "cleaned\n"
    });
}

#[test]
fn a_command_that_catches_the_hangup_and_stays_is_ended_after_a_while() {
    let marker = Marker::new();
    let text = format!("trap : HUP TERM; echo ready; while :; do sleep {marker}; done");
    let mut running = Invocation::by(Way::Agent, ["sh", "-c", &text]).start(Input::Null);
    running.wait_for("ready\n");
    marker.wait_for(1);
    running.signal(Signal::KILL);
    std::thread::sleep(ALL_GONE);
    marker.wait_gone(Duration::from_secs(2));
}

#[test]
fn a_stopped_command_goes_with_its_client() {
    let marker = Marker::new();
    let text = format!("sleep {marker} & sleep 0.5; kill -STOP $!; wait");
    let running = Invocation::by(Way::Agent, ["sh", "-c", &text]).start(Input::Null);
    marker.wait_for(1);
    let sleeper = marker.sleepers()[0];
    wait_until("the stop", Duration::from_secs(5), || processes::state(sleeper) == Some('T'));
    running.signal(Signal::KILL);
    marker.wait_gone(ALL_GONE);
}

fn a_killed_client_on_a_terminal_leaves_nothing(way: Way) {
    let marker = Marker::new();
    let text = format!("sleep {marker} & sleep {marker}");
    let pty = Pty::start(&Invocation::by(way, ["bash", "-c", &text]));
    marker.wait_for(2);
    pty.signal(Signal::KILL);
    marker.wait_gone(ALL_GONE);
}

fn a_closed_terminal_leaves_nothing(way: Way) {
    let marker = Marker::new();
    let text = format!("sleep {marker} & sleep {marker}");
    let mut pty = Pty::start(&Invocation::by(way, ["bash", "-c", &text]));
    marker.wait_for(2);
    pty.close();
    marker.wait_gone(ALL_GONE);
    pty.wait();
}

in_ways! {
    a_killed_client_on_a_terminal_leaves_nothing: Agent;
    a_closed_terminal_leaves_nothing: Local Agent;
}

#[test]
fn a_closed_terminal_ends_an_interactive_shell_and_its_jobs() {
    let marker = Marker::new();
    let shell = Invocation::by(Way::Agent, ["bash", "--norc", "-i"]).variable("TERM", "xterm");
    let mut pty = Pty::start(&shell.variable("PS1", "$ "));
    pty.wait_for("$ ").send(format!("sleep {marker} &\r"));
    marker.wait_for(1);
    pty.send(format!("sleep {marker}\r"));
    marker.wait_for(2);
    pty.close();
    marker.wait_gone(ALL_GONE);
    pty.wait();
}

/// The client's kernel sends one, and so does ours: of two at once bash dies without a word to its
/// jobs.
#[test]
fn a_closed_terminal_sends_one_hangup() {
    let marker = Marker::new();
    let name = format!("hangups-{marker}");
    let text = format!(
        "import os,signal\nsignal.pthread_sigmask(0, [1]); print('ready', flush=True); told=''\nwhile signal.sigtimedwait([1], 1.5 if told else 20): told+='x'\nopen(os.path.expanduser('~/{name}'), 'w').write(told+'.')"
    );
    let mut pty = Pty::start(&Invocation::by(Way::Agent, ["python3", "-c", &text]));
    pty.wait_for("ready").close();
    let look = format!("cat ~/{name}");
    let mut told = String::new();
    wait_until("the end", ALL_GONE, || {
        told = Invocation::by(Way::Agent, ["sh", "-c", &look]).run().text();
        told.ends_with('.')
    });
    assert_eq!(told, "x.");
    Invocation::by(Way::Agent, ["sh", "-c", &format!("rm ~/{name}")]).run();
    pty.wait();
}

#[test]
fn a_closed_terminal_leaves_what_nohup_started() {
    let marker = Marker::new();
    let text = format!("nohup sleep {marker} >/dev/null 2>&1 & echo ready; sleep 100");
    let mut pty = Pty::start(&Invocation::by(Way::Agent, ["bash", "-c", &text]));
    pty.wait_for("ready");
    marker.wait_for(1);
    pty.close();
    pty.wait();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(marker.sleepers().len(), 1);
    kill_in_box(&marker);
}

/// The shell that ran it goes away; the terminal stays and its session with it.
#[test]
fn a_killed_shell_on_a_closed_window_leaves_no_run_behind() {
    let marker = Marker::new();
    let text = format!("\"$@\" sh -c 'sleep {marker}'; echo after");
    let mut pty = Pty::start(&Invocation::script(Way::Agent, &text));
    marker.wait_for(1);
    pty.signal(Signal::KILL);
    pty.close();
    marker.wait_gone(ALL_GONE);
}
