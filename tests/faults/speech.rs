//! Agents that do not speak as ours does: another protocol, garbage, silence. Their box may be
//! healthy all the while.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use incusbox::agent::protocol::{Failure, FromAgent, PROTOCOL, Reason};

use crate::answers::arguments;
use crate::client::{Client, Seen};
use crate::fake::Fake;
use crate::script::{Act, Do, Mode, Script, Way};
use crate::wire;

const SOON: Duration = Duration::from_secs(8);
/// How to get rid of a file that is not our agent.
const ANEW: &str = "rm -r /usr/local/lib/incusbox";

/// Runs `true` by an agent that does this, on pipes and on a terminal; it is not run twice.
fn agent_that(steps: &[Do], end: &serde_json::Value, check: impl Fn(&Seen, &Fake)) {
    for way in [Way::Pipes, Way::Terminal] {
        let script = Script::new(Mode::Agent, way).main_steps(steps.to_vec()).ends(end.clone());
        let fake = Fake::new(script);
        let seen = Client::of(&fake, &arguments(Mode::Agent)).run(way);
        check(&seen, &fake);
        assert_eq!(fake.count("exec"), 1, "on {way:?}: {:?}", fake.asked());
    }
}

fn says(bytes: Vec<u8>) -> Vec<Do> {
    vec![Do::Send(bytes), Do::PingForEver]
}

#[test]
fn an_agent_of_another_protocol_is_told_with_both_versions() {
    for version in [0, PROTOCOL - 1, PROTOCOL + 1, u16::MAX] {
        let hello = wire::agent(&[FromAgent::Hello(version)]);
        let words = format!("speaks protocol {version}, we speak {PROTOCOL}");
        agent_that(&says(hello), &wire::operation(200, "", 0), |seen, _| {
            seen.assert_failed(SOON, 125, &["box `dev`", &words, ANEW]);
        });
    }
}

#[test]
fn garbage_behind_the_greeting_ends_the_run() {
    for garbage in [
        b"\xb8\xff\xff\xff\xff".to_vec(),
        b"\xb2\x01\0\x02\0".to_vec(),
        b"\x01\x01\0\0\0x".to_vec(),
        b"\xb8\x02\0\0\0\0\0".to_vec(),
        b"\xb8\x12\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        b"\xb6\x01\0\0\0\xff".to_vec(),
        b"some program printed this\n".to_vec(),
    ] {
        let bytes = [wire::greeting(), wire::binary(&garbage)].concat();
        agent_that(&says(bytes), &wire::operation(200, "", 0), |seen, _| {
            seen.assert_failed(SOON, 125, &["box `dev`", "is not our agent", ANEW]);
        });
    }
}

#[test]
fn what_a_file_that_is_no_agent_says_is_passed_on_without_control_characters() {
    let said = wire::binary(b"sh: 1: \x1b[31msyntax error\x1b]0;title\x07\r\n");
    let steps = [Do::Send(said), Do::End, Do::OperationEnds];
    agent_that(&steps, &wire::operation(200, "", 2), |seen, _| {
        let words = ["agent did not start in box `dev`", "syntax error", "not tried again"];
        seen.assert_failed(SOON, 125, &words);
    });
}

#[test]
fn a_file_that_floods_in_place_of_a_greeting_is_given_up_at_once() {
    let steps = [Do::Flood(wire::binary(&b"y\n".repeat(8192)))];
    agent_that(&steps, &wire::operation(200, "", 0), |seen, fake| {
        seen.assert_failed(Duration::from_secs(20), 125, &["box `dev`", "agent"]);
        assert!(fake.flooded() < 4 << 20, "took {} bytes", fake.flooded());
    });
}

#[test]
fn an_agent_that_only_says_the_begin_of_a_greeting_and_ends_did_not_start() {
    let mut hello = wire::agent(&[FromAgent::Hello(PROTOCOL)]);
    hello.truncate(2 + 9);
    hello[1] = 9;
    let steps = [Do::Send(hello), Do::End, Do::OperationEnds];
    agent_that(&steps, &wire::operation(200, "", 0), |seen, _| {
        seen.assert_failed(SOON, 125, &["agent did not start in box `dev`"]);
    });
}

#[test]
fn an_agent_that_ends_without_a_word_is_not_run_again() {
    for code in [0, 1, 125, 126, 137] {
        let (status, text) = match code {
            126 => (400, "Command not executable"),
            _ => (200, ""),
        };
        let end = wire::operation(status, text, code);
        agent_that(&[Do::End, Do::OperationEnds], &end, |seen, _| {
            seen.assert_failed(SOON, 125, &["agent did not start in box `dev`", "not tried again"]);
        });
    }
}

#[test]
fn an_agent_that_spoke_is_not_missing_whatever_its_status() {
    let end = wire::operation(400, "Command not found", 127);
    let said = wire::binary(b"error while loading shared libraries\n");
    let steps = [Do::Send(said), Do::End, Do::OperationEnds];
    agent_that(&steps, &end, |seen, fake| {
        seen.assert_failed(SOON, 125, &["agent did not start", "shared libraries"]);
        assert_eq!(fake.count("POST files"), 0, "{:?}", fake.asked());
    });
}

#[test]
fn an_exec_that_incus_lost_track_of_is_told_and_never_retried() {
    let text = "Failed to retrieve PID of executing child process";
    let end = wire::operation(400, text, -1);
    agent_that(&[Do::End, Do::OperationEnds], &end, |seen, _| {
        seen.assert_failed(SOON, 125, &[text, "whether the command ran is not known"]);
    });
}

#[test]
fn an_exec_that_incus_lost_track_of_counts_as_what_its_agent_says() {
    let end = wire::operation(400, "Failed to retrieve PID of executing child process", -1);
    let words = [wire::greeting(), wire::exited(7, 0)].concat();
    let steps = [Do::Send(words), Do::End, Do::OperationEnds];
    agent_that(&steps, &end, |seen, _| seen.assert_ended(SOON, 7));
}

#[test]
fn output_that_the_agent_announced_and_that_never_came_is_no_success() {
    let words = [wire::greeting(), wire::exited(0, 1_000_000)].concat();
    let steps = vec![Do::Send(words), Do::OperationEnds];
    for way in [Way::Pipes, Way::Terminal] {
        let script = Script::new(Mode::Agent, way).main_steps(steps.clone());
        let part = vec![Do::Send(wire::binary(b"a part")), Do::End];
        let fake = Fake::new(script.stream("1", part));
        let seen = Client::of(&fake, &["dev", "--mode", "agent", "--", "cat", "file"]).run(way);
        seen.assert_failed(SOON, 125, &["box `dev`"]);
        assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
    }
}

#[test]
fn a_command_may_end_without_a_word() {
    let words = [wire::greeting(), wire::exited(42, 0)].concat();
    let steps = [Do::Send(words), Do::End, Do::OperationEnds];
    agent_that(&steps, &wire::operation(200, "", 42), |seen, _| seen.assert_ended(SOON, 42));
}

#[test]
fn what_the_agent_failed_at_is_told_without_control_characters() {
    for (reason, code, words) in [
        (Reason::NotFound, 127, "command not found in box `dev`"),
        (Reason::NotExecutable, 126, "cannot be executed in box `dev`"),
        (Reason::NoUser, 125, "run as root: --root"),
        (Reason::Directory, 125, "cannot enter"),
        (Reason::Pty, 125, "run without one: -T"),
        (Reason::Protocol, 125, "does not understand us"),
        (Reason::Setup, 125, "failed"),
    ] {
        let subject = b"x\x1b[2J\r\n\xff\xe2\x80\xaey".to_vec();
        let failed = FromAgent::Failed(Failure { reason, errno: 13, subject });
        let words_of_agent = wire::agent(&[FromAgent::Hello(PROTOCOL), failed]);
        let steps = [Do::Send(words_of_agent), Do::End, Do::OperationEnds];
        agent_that(&steps, &wire::operation(200, "", code), |seen, _| {
            seen.assert_failed(SOON, code, &[words]);
            assert!(!seen.stderr.contains('\u{202e}'), "{seen:?}");
        });
    }
}

#[test]
fn the_agent_is_copied_once_and_a_box_that_loses_it_again_is_told_so() {
    // Incus finds no agent, however often it is copied.
    let script = Script::new(Mode::Agent, Way::Pipes)
        .main_steps(vec![Do::End, Do::OperationEnds])
        .ends(wire::operation(400, "Command not found", 127));
    let fake = Fake::new(script);
    let seen = Client::of(&fake, &arguments(Mode::Agent)).run(Way::Pipes);
    seen.assert_failed(SOON, 125, &["agent did not start in box `dev`"]);
    // Nothing ran in any of them: a missing agent runs no command.
    assert!((2..=3).contains(&fake.count("exec")), "{:?}", fake.asked());
}

#[test]
fn an_agent_that_cannot_be_copied_is_told_with_incuss_words_and_what_is_needed() {
    let refused = Act::Answer(500, wire::refusal(500, "write: no space left on device"));
    let script = Script::new(Mode::Agent, Way::Pipes)
        .main_steps(vec![Do::End, Do::OperationEnds])
        .ends(wire::operation(400, "Command not found", 127))
        .on("POST files", refused);
    let fake = Fake::new(script);
    let seen = Client::of(&fake, &arguments(Mode::Agent)).run(Way::Pipes);
    seen.assert_failed(
        SOON,
        125,
        &["no space left on device", "make room for 2 MB", "--mode native"],
    );
    assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
}

#[test]
fn a_run_whose_agent_does_not_greet_can_be_interrupted() {
    for way in [Way::Pipes, Way::Terminal] {
        let script = Script::new(Mode::Agent, way).main_steps(vec![Do::PingForEver]);
        let fake = Fake::new(script);
        let run = Client::of(&fake, &arguments(Mode::Agent)).start(way);
        std::thread::sleep(Duration::from_millis(500));
        run.signal("INT");
        let seen = run.wait();
        // As locally, by the signal; or with a word of the program's own.
        let died = seen.status.signal() == Some(2);
        assert!(died || seen.status.code() == Some(125), "{seen:#?}");
        assert!(seen.elapsed < SOON, "{seen:#?}");
        seen.assert_terminal_restored();
    }
}

/// Output comes on a stream of its own, and on a busy machine before the greeting. By then the command
/// runs, and may catch the signal or ignore it.
#[test]
fn a_signal_between_the_first_output_and_the_greeting_is_the_commands() {
    let last = [wire::greeting(), wire::exited(0, 6)].concat();
    let steps = vec![Do::Pause(Duration::from_secs(2)), Do::Send(last), Do::End, Do::OperationEnds];
    let script = Script::new(Mode::Agent, Way::Pipes)
        .main_steps(steps)
        .stream("1", vec![Do::Send(wire::binary(b"ready\n")), Do::End]);
    let fake = Fake::new(script);
    let run = Client::of(&fake, &arguments(Mode::Agent)).start(Way::Pipes);
    std::thread::sleep(Duration::from_secs(1));
    run.signal("TERM");
    let seen = run.wait();
    seen.assert_ended(SOON, 0);
    assert_eq!(seen.stdout, "ready\n");
}
