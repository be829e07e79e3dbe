//! Job control for real: a shell on a terminal, a run in its foreground, stopped, continued, put
//! into the background.

use std::time::Duration;

use crate::support::pty::{CTRL_C, CTRL_D, CTRL_Z};
use crate::support::{End, Invocation, Marker, Pty, Way, wait_until};

/// The caller's bash with job control, `"$@"` being the way; it shows `host> ` as its prompt.
fn shell(way: Way) -> Pty {
    let mut words: Vec<std::ffi::OsString> =
        ["bash", "--norc", "--noprofile", "--noediting", "-i", "-s", "--"].map(Into::into).to_vec();
    words.extend(way.prefix(&[]));
    let mut pty = Pty::start(&Invocation::new(words).variable("PS1", "host> "));
    pty.wait_for("host> ");
    pty
}

/// Waits for the shell's word that the job is stopped. A cat(1) that has not noticed its own stop
/// yet would take what is typed at once.
fn wait_for_stop(pty: &mut Pty) -> &mut Pty {
    pty.wait_for("Stopped").wait_for("host> ").idle(Duration::from_millis(200))
}

fn leave(mut pty: Pty) {
    pty.send("exit 0\n");
    assert_eq!(pty.wait(), End::Code(0));
}

fn a_stopped_run_goes_on_in_the_foreground(way: Way) {
    let mut pty = shell(way);
    let before = pty.settings();
    pty.send("\"$@\" sh -c 'echo begin; cat; echo end'\n");
    pty.wait_for("begin\r\n").send("one\n");
    pty.wait_for("one\r\none\r\n").send(CTRL_Z);
    wait_for_stop(&mut pty);
    assert_eq!(pty.settings(), before, "the terminal is the shell's again");
    pty.send("echo between\n");
    pty.wait_for("between\r\nbetween\r\nhost> ").send("fg\n");
    // The shell shows the command; by then it has the terminal again.
    pty.wait_for("echo end'").idle(Duration::from_millis(300)).send("two\n");
    pty.wait_for("two\r\ntwo\r\n").send(CTRL_D);
    pty.wait_for("end\r\n").wait_for("host> ");
    assert_eq!(pty.settings(), before);
    leave(pty);
}

fn a_stop_stops_the_whole_group(way: Way) {
    let marker = Marker::new();
    let mut pty = shell(way);
    pty.send(format!("\"$@\" sh -c 'sleep {marker} & sleep {marker}; wait'\n"));
    marker.wait_for(2);
    pty.send(CTRL_Z);
    wait_for_stop(&mut pty);
    let all = |state| {
        let sleepers = marker.sleepers();
        sleepers.len() == 2
            && sleepers.iter().all(|pid| crate::support::processes::state(*pid) == Some(state))
    };
    wait_until("both to stop", Duration::from_secs(5), || all('T'));
    pty.send("bg\n");
    wait_until("both to go on", Duration::from_secs(5), || all('S'));
    pty.wait_for("host> ").send("kill %1; wait %1; echo \"status $?\"\n");
    pty.wait_for("status 143");
    marker.wait_gone(Duration::from_secs(5));
    leave(pty);
}

fn a_stopped_run_is_killed_like_any_job(way: Way) {
    let marker = Marker::new();
    let mut pty = shell(way);
    pty.send(format!("\"$@\" sh -c 'sleep {marker}; echo after'\n"));
    marker.wait_for(1);
    pty.send(CTRL_Z);
    wait_for_stop(&mut pty).send("kill %1\n");
    marker.wait_gone(Duration::from_secs(5));
    // bash may not have noticed yet, and refuses to leave stopped jobs behind.
    pty.send("disown -a\n");
    leave(pty);
}

/// What stands behind the pipe is stopped by its terminal; the shell waits for the run to stop too.
fn a_run_that_waits_for_a_reader_is_stopped_with_it(way: Way) {
    for lines in [20_000, 1_000_000] {
        let mut pty = shell(way);
        pty.send(format!("\"$@\" seq {lines} | sh -c 'sleep 2; echo rest; sleep 3; tail -n 1'\n"));
        pty.wait_for("tail -n 1'")
            .wait_for("rest\r\n")
            .idle(Duration::from_millis(200))
            .send(CTRL_Z);
        wait_for_stop(&mut pty).send("fg\n");
        pty.wait_for(&format!("\r\n{lines}\r\n")).wait_for("host> ");
        leave(pty);
    }
}

fn ctrl_c_ends_the_run_and_not_the_shell(way: Way) {
    let mut pty = shell(way);
    pty.send("\"$@\" sh -c 'echo begin; sleep 100'\n");
    pty.wait_for("begin\r\n").idle(Duration::from_millis(200)).send(CTRL_C);
    pty.wait_for("host> ").send("echo \"status $?\"\n");
    pty.wait_for("status 130\r\n");
    leave(pty);
}

fn a_run_in_the_background_leaves_the_keys_to_the_shell(way: Way) {
    let mut pty = shell(way);
    pty.send("\"$@\" sh -c 'sleep 1; echo from behind' &\n");
    pty.wait_for("host> ").send("echo typed\n");
    pty.wait_for("typed\r\ntyped\r\nhost> ").wait_for("from behind\r\n");
    pty.send("wait; echo \"status $?\"\n");
    pty.wait_for("status 0\r\n");
    leave(pty);
}

fn a_run_in_the_background_that_wants_keys_is_stopped(way: Way) {
    let mut pty = shell(way);
    pty.send("\"$@\" sh -c 'read -r x; echo \"got $x\"' &\n");
    pty.wait_for("[1] ").idle(Duration::from_secs(1)).send("\n");
    pty.wait_for("Stopped").idle(Duration::from_millis(300)).send("fg\n");
    pty.wait_for("got $x").idle(Duration::from_millis(400)).send("typed\n");
    pty.wait_for("got typed\r\n").wait_for("host> ");
    leave(pty);
}

fn a_stop_of_the_commands_own_stops_the_run(way: Way) {
    let mut pty = shell(way);
    pty.send("\"$@\" sh -c 'echo begin; kill -STOP $$; echo end'\n");
    pty.wait_for("begin\r\n")
        .wait_for("Stopped")
        .wait_for("host> ")
        .idle(Duration::from_millis(200))
        .send("fg\n");
    pty.wait_for("\r\nend\r\n").wait_for("host> ");
    leave(pty);
}

fn a_pipeline_stops_and_goes_on_as_one(way: Way) {
    let mut pty = shell(way);
    pty.send("\"$@\" sh -c 'echo begin >&2; sleep 1; echo out' | cat\n");
    pty.wait_for("begin\r\n").idle(Duration::from_millis(200)).send(CTRL_Z);
    wait_for_stop(&mut pty).send("fg\n");
    pty.wait_for("\r\nout\r\n").wait_for("host> ");
    leave(pty);
}

fn a_run_that_was_stopped_sees_the_size_that_changed_meanwhile(way: Way) {
    let mut pty = shell(way);
    pty.send("\"$@\" sh -c 'stty size; read -r x; stty size'\n");
    pty.wait_for("24 80\r\n").send(CTRL_Z);
    wait_for_stop(&mut pty);
    pty.resize(99, 33);
    pty.send("fg\n");
    pty.wait_for("stty size'").idle(Duration::from_millis(300)).send("\n");
    pty.wait_for("33 99\r\n").wait_for("host> ");
    leave(pty);
}

in_ways! {
    a_stopped_run_goes_on_in_the_foreground: Local Agent;
    a_stop_stops_the_whole_group: Local Agent;
    a_stopped_run_is_killed_like_any_job: Local Agent;
    a_run_that_waits_for_a_reader_is_stopped_with_it: Local Native Agent;
    ctrl_c_ends_the_run_and_not_the_shell: Local Native Agent;
    a_run_in_the_background_leaves_the_keys_to_the_shell: Local Agent;
    a_run_in_the_background_that_wants_keys_is_stopped: Local Agent;
    a_stop_of_the_commands_own_stops_the_run: Local Agent;
    a_pipeline_stops_and_goes_on_as_one: Local Agent;
    a_run_that_was_stopped_sees_the_size_that_changed_meanwhile: Local Agent;
}

#[test]
fn a_shell_in_the_box_has_job_control_of_its_own() {
    let mut pty = shell(Way::Agent);
    pty.send("\"$@\" env PS1='bo''x> ' bash --norc --noprofile --noediting -i\n");
    pty.wait_for("box> ").send("cat\n");
    pty.wait_for("cat\r\n").idle(Duration::from_millis(200)).send("one\n");
    pty.wait_for("one\r\none\r\n").send(CTRL_Z);
    pty.wait_for("Stopped").wait_for("box> ").send("fg\n");
    pty.wait_for("cat\r\n").idle(Duration::from_millis(200)).send("two\n");
    pty.wait_for("two\r\ntwo\r\n").send(CTRL_C);
    pty.wait_for("box> ").send("sleep 100 & jobs\n");
    pty.wait_for("Running").send("kill %1; wait; exit 9\n");
    pty.wait_for("host> ").send("echo \"status $?\"\n");
    pty.wait_for("status 9\r\n");
    leave(pty);
}

#[test]
fn a_shell_in_the_box_that_suspends_itself_is_stopped_with_its_run() {
    let mut pty = shell(Way::Agent);
    pty.send("\"$@\" env PS1='bo''x> ' bash --norc --noprofile --noediting -i\n");
    pty.wait_for("box> ").send("suspend -f\n");
    wait_for_stop(&mut pty).send("fg\n");
    pty.idle(Duration::from_millis(400)).send("echo again\n");
    pty.wait_for("\r\nagain\r\n").send("exit\n");
    pty.wait_for("host> ");
    leave(pty);
}
