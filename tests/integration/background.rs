//! Children that a command leaves behind on purpose: they live on and delay nothing.

use std::time::{Duration, Instant};

use crate::support::{End, Invocation, Marker, Pty, Way};

fn end(marker: &Marker, pid: &str) {
    let outcome = Invocation::by(Way::Agent, ["kill", "-9", pid.trim()]).run();
    assert_eq!(outcome.end, End::Code(0), "{}", outcome.errors());
    marker.wait_gone(Duration::from_secs(3));
}

#[test]
fn a_child_in_the_background_survives_the_end_and_does_not_delay_it() {
    let marker = Marker::new();
    let text = format!("sleep {marker} & echo $!");
    let began = Instant::now();
    let outcome = Invocation::by(Way::Agent, ["sh", "-c", &text]).run();
    let took = began.elapsed();
    assert_eq!(outcome.end, End::Code(0));
    assert!(took < Duration::from_millis(1500), "took {took:?}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(marker.sleepers().len(), 1);
    end(&marker, &outcome.text());
}

#[test]
fn a_child_in_the_background_may_still_write_to_where_nobody_reads() {
    let marker = Marker::new();
    let name = format!("~/wrote-{marker}");
    let text = format!("(sleep 0.5; seq 100000; seq 100000 >&2; echo $? >{name}) & echo left");
    let outcome = Invocation::by(Way::Agent, ["sh", "-c", &text]).run();
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(0), "left\n"));
    let look = format!("cat {name} && rm {name}");
    crate::support::wait_until("the child's last word", Duration::from_secs(10), || {
        Invocation::by(Way::Agent, ["sh", "-c", &look]).run().text() == "0\n"
    });
}

#[test]
fn a_child_in_the_background_survives_on_a_terminal_too() {
    let marker = Marker::new();
    let text = format!("set -m; sleep {marker} & echo $!");
    let began = Instant::now();
    let outcome = Pty::start(&Invocation::by(Way::Agent, ["bash", "-c", &text])).end();
    let took = began.elapsed();
    assert_eq!(outcome.end, End::Code(0));
    assert!(took < Duration::from_millis(1500), "took {took:?}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(marker.sleepers().len(), 1);
    end(&marker, &outcome.text());
}

#[test]
fn a_daemon_that_leaves_the_session_survives() {
    let marker = Marker::new();
    let text = format!("setsid sleep {marker} </dev/null >/dev/null 2>&1 & echo $!");
    let outcome = Invocation::by(Way::Agent, ["sh", "-c", &text]).run();
    std::thread::sleep(Duration::from_secs(1));
    let left = marker.sleepers();
    assert_eq!(left.len(), 1);
    end(&marker, &outcome.text());
}

#[test]
fn all_output_before_the_end_arrives_although_a_child_holds_the_pipe() {
    let text = "sleep 2 & seq 200000";
    let outcome = Invocation::by(Way::Agent, ["sh", "-c", text]).run();
    let lines = outcome.stdout.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!((outcome.end, lines), (End::Code(0), 200_000));
}

/// Tells whether its parent, the agent, has used more than a third of a second.
const BUSY: &str = r#"read -r line </proc/$PPID/stat; set -- ${line##*) }; echo "busy $(((${12} + ${13}) * 3 / $(getconf CLK_TCK)))""#;

#[test]
fn an_agent_whose_command_never_reads_its_stdin_rests() {
    for (input, command) in
        [("(echo one; sleep 0.5)", "sleep 4"), ("(echo one; sleep 5)", "exec <&-; sleep 4")]
    {
        let text = format!(r#"{input} | "$@" sh -c '{command}; {BUSY}'"#);
        let outcome = Invocation::script(Way::Agent, &text).run();
        assert_eq!(outcome.text(), "busy 0\n", "{input} into {command}");
    }
}
