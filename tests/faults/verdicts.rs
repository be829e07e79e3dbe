//! What Incus says of the end of a command that it ran by itself, where its words and the status
//! do not tell the same.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Seen};
use crate::fake::Fake;
use crate::script::{Act, Do, Mode, Script, Way};
use crate::wire;

const SOON: Duration = Duration::from_secs(8);
const LOST_TRACK: &str = "Failed to retrieve PID of executing child process";

/// Runs `/bin/tool` natively; Incus says this of its end. It is not run twice.
fn ended(output: &[u8], end: serde_json::Value, files: Option<Act>, check: impl Fn(&Seen)) {
    for way in [Way::Pipes, Way::Terminal] {
        let mut script = Script::new(Mode::Native, way).ends(end.clone());
        let mut steps = vec![Do::End, Do::OperationEnds];
        if !output.is_empty() {
            steps.insert(0, Do::Send(wire::binary(output)));
        }
        let main = script.main_stream();
        script = script.stream(main, steps);
        if let Some(act) = files.clone() {
            script = script.on("HEAD files", act);
        }
        let fake = Fake::new(script);
        let seen = Client::of(&fake, &["--mode", "native", "dev", "--", "/bin/tool"]).run(way);
        check(&seen);
        assert_eq!(fake.count("exec"), 1, "on {way:?}: {:?}", fake.asked());
    }
}

fn head(status: u16) -> Option<Act> {
    Some(Act::Answer(status, wire::refusal(status, "")))
}

#[test]
fn an_exec_that_incus_lost_track_of_is_told_and_never_retried() {
    for status in [-1, 0] {
        ended(b"", wire::operation(400, LOST_TRACK, status), None, |seen| {
            let words = [LOST_TRACK, "whether `/bin/tool` ran is not known", "not tried again"];
            seen.assert_failed(SOON, 125, &words);
        });
    }
}

#[test]
fn incuss_words_on_a_programs_own_127_are_not_passed_on() {
    let end = wire::operation(400, "Command not found", 127);
    ended(b"tool: no such thing\r\n", end.clone(), None, |seen| seen.assert_ended(SOON, 127));
    ended(b"", end, head(200), |seen| seen.assert_ended(SOON, 127));
}

#[test]
fn incuss_words_on_a_programs_own_126_are_not_passed_on() {
    let end = wire::operation(400, "Command not executable", 126);
    ended(b"tool: not now\r\n", end, None, |seen| seen.assert_ended(SOON, 126));
}

#[test]
fn a_program_that_is_not_there_is_told_on_one_line() {
    let end = wire::operation(400, "Command not found", 127);
    ended(b"", end, head(404), |seen| {
        seen.assert_failed(SOON, 127, &["`/bin/tool`: command not found in `dev`"]);
    });
    let end = wire::operation(400, "Command not executable", 126);
    ended(b"", end, head(200), |seen| {
        seen.assert_failed(SOON, 126, &["`/bin/tool`: cannot be executed in `dev`"]);
    });
}

#[test]
fn a_status_that_no_command_has_is_a_failure() {
    for status in [-1, 256, i32::MAX, i32::MIN] {
        ended(b"", wire::operation(200, "", status), None, |seen| {
            seen.assert_failed(SOON, 125, &["dev", "/bin/tool"]);
        });
    }
}

#[test]
fn a_cancelled_operation_is_a_failure() {
    ended(b"", wire::operation(401, "Operation cancelled", 0), None, |seen| {
        seen.assert_failed(SOON, 125, &["Operation cancelled", "dev"]);
    });
}

#[test]
fn an_operation_that_incus_forgot_meanwhile_keeps_its_words() {
    let gone = Act::Answer(404, wire::refusal(404, "Operation not found"));
    let script = Script::new(Mode::Native, Way::Pipes)
        .ends(wire::operation(400, LOST_TRACK, -1))
        .on("operation", gone);
    let fake = Fake::new(script);
    let seen = Client::of(&fake, &["--mode", "native", "dev", "--", "/bin/tool"]).run(Way::Pipes);
    seen.assert_failed(SOON, 125, &[LOST_TRACK, "not tried again"]);
}

/// So does a daemon that goes down (Incus 7).
#[test]
fn an_operation_that_was_cancelled_without_a_word_is_told_by_what_became_of_the_daemon() {
    let cancelled = || wire::operation(401, "", 137);
    let gone = || Act::Answer(404, wire::refusal(404, "Operation not found"));
    for way in [Way::Pipes, Way::Terminal] {
        for (there, words) in [(None, "it was cancelled"), (Some(gone()), "daemon went away")] {
            let sync = json!({"type": "sync", "status_code": 200, "metadata": cancelled()});
            let mut script =
                Script::new(Mode::Native, way).ends(cancelled()).on("wait", Act::Answer(200, sync));
            if let Some(act) = there {
                script = script.on("operation", act);
            }
            let fake = Fake::new(script);
            let words = [words, "dev"];
            let client = Client::of(&fake, &["--mode", "native", "dev", "--", "/bin/tool"]);
            client.run(way).assert_failed(Duration::from_secs(12), 125, &words);
            assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
        }
    }
}

/// As Incus 7 does while it goes down.
#[test]
fn an_answer_of_what_still_runs_is_no_end_but_the_daemons() {
    let running = json!({"id": "op-1", "status": "Running", "status_code": 103, "metadata": {}});
    let answer = json!({"type": "sync", "status_code": 200, "metadata": running});
    let gone = Act::Answer(404, wire::refusal(404, "Operation not found"));
    for way in [Way::Pipes, Way::Terminal] {
        let script = Script::new(Mode::Native, way)
            .on("wait", Act::Answer(200, answer.clone()))
            .on("operation", gone.clone());
        let fake = Fake::new(script);
        let seen = Client::of(&fake, &["--mode", "native", "dev", "--", "/bin/tool"]).run(way);
        seen.assert_failed(SOON, 125, &["the Incus daemon went away", "dev"]);
        assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
    }
}
