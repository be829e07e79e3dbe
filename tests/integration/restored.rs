//! The terminal after a run is as it was before, however the run ended.

use rustix::process::Signal;

use crate::support::{End, Invocation, Marker, Pty, Way};

/// Runs it on a terminal of unusual settings; they have to be the same at the end.
fn restores(invocation: &Invocation, meanwhile: impl FnOnce(&mut Pty)) -> End {
    let terminal = crate::support::pty::Terminal::new();
    terminal.change(|settings| {
        settings.input_modes.insert(rustix::termios::InputModes::IUTF8);
        settings.special_codes[rustix::termios::SpecialCodeIndex::VERASE] = 8;
    });
    let before = terminal.settings();
    let mut pty = terminal.start(invocation);
    meanwhile(&mut pty);
    let end = pty.wait();
    // The settings of a terminal whose last process has ended are kept by its master.
    assert_eq!(pty.settings(), before, "{}", invocation.shown());
    end
}

fn inside(way: Way, text: &str) -> Invocation {
    Invocation::by(way, ["bash", "-c", text])
}

fn after_a_normal_end(way: Way) {
    assert_eq!(restores(&inside(way, "echo x"), |_| {}), End::Code(0));
}

fn after_a_failure(way: Way) {
    assert_eq!(restores(&inside(way, "exit 3"), |_| {}), End::Code(3));
}

fn after_a_command_that_left_its_terminal_raw(way: Way) {
    assert_eq!(restores(&inside(way, "stty raw -echo; echo x"), |_| {}), End::Code(0));
}

fn after_a_command_that_does_not_exist(way: Way) {
    let end = restores(&Invocation::by(way, ["ibx-no-such-command"]), |_| {});
    assert_eq!(end, End::Code(127));
}

fn after_term_to_the_client(way: Way) {
    let end = restores(&inside(way, "echo ready; exec sleep 100"), |pty| {
        pty.wait_for("ready").idle(std::time::Duration::from_millis(100)).signal(Signal::TERM);
    });
    assert_eq!(end, End::Signal(15));
}

fn after_a_hangup_to_the_client(way: Way) {
    let end = restores(&inside(way, "echo ready; exec sleep 100"), |pty| {
        pty.wait_for("ready").idle(std::time::Duration::from_millis(100)).signal(Signal::HUP);
    });
    assert_eq!(end, End::Signal(1));
}

in_ways! {
    after_a_normal_end: IncusExec Native Agent;
    after_a_failure: IncusExec Native Agent;
    after_a_command_that_left_its_terminal_raw: IncusExec Native Agent;
    after_a_command_that_does_not_exist: IncusExec Native Agent;
    after_term_to_the_client: Native Agent;
    after_a_hangup_to_the_client: Native Agent;
}

#[test]
fn after_the_command_was_killed() {
    assert_eq!(restores(&inside(Way::Agent, "kill -KILL $$"), |_| {}), End::Signal(9));
}

#[test]
fn after_the_command_was_killed_from_elsewhere() {
    let marker = Marker::new();
    let end = restores(&Invocation::by(Way::Agent, ["sleep", &marker.to_string()]), |_| {
        marker.wait_for(1);
        let text = format!("kill -KILL $(pgrep -fx 'sleep {marker}')");
        assert_eq!(Invocation::by(Way::Agent, ["sh", "-c", &text]).run().end, End::Code(0));
    });
    assert_eq!(end, End::Signal(9));
}

#[test]
fn after_a_box_that_does_not_exist() {
    let end = restores(&Invocation::program(["ibx-no-such-box", "--", "true"]), |_| {});
    assert_eq!(end, End::Code(125));
}

#[test]
fn after_a_daemon_that_is_not_there() {
    let invocation = Invocation::program(["any", "--", "true"]);
    let end = restores(&invocation.variable("INCUS_DIR", "/nowhere"), |_| {});
    assert_eq!(end, End::Code(125));
}

#[test]
fn after_a_stop_and_a_kill() {
    let script = Invocation::script(
        Way::Agent,
        r#"set -m; "$@" sh -c 'echo ready; read -r x'; kill -KILL %1; wait %1; echo after"#,
    );
    let end = restores(&script, |pty| {
        pty.wait_for("ready").send(crate::support::pty::CTRL_Z);
        pty.wait_for("after");
    });
    assert_eq!(end, End::Code(0));
}
