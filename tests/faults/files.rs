//! Incus's process for the files of an instance, which ends when nobody asked for 10 to 15 s: what
//! asks in that moment gets these failures from Incus 6.0.

use std::time::Duration;

use crate::client::{Client, Seen};
use crate::fake::Fake;
use crate::script::{Act, Do, Mode, Script, Way};
use crate::wire;

const SOON: Duration = Duration::from_secs(8);
const LEFT: &str = "read unix @->/proc/self/fd/17/forkfile.sock: read: connection reset by peer";

fn answer(status: u16, text: &str) -> Act {
    Act::Answer(status, wire::refusal(status, text))
}

/// Runs `tool` natively in a directory, about which the daemon says these things.
fn in_a_directory(first: usize, then: u16, reason: &str) -> (Seen, Fake) {
    let script = Script::new(Mode::Native, Way::Pipes)
        .on(
            "HEAD files",
            Act::Then(first, Box::new(answer(500, LEFT)), Box::new(answer(then, LEFT))),
        )
        .on("GET files", answer(500, reason));
    let fake = Fake::new(script);
    let arguments = ["--mode", "native", "--cwd", "/srv", "dev", "--", "tool"];
    (Client::of(&fake, &arguments).run(Way::Pipes), fake)
}

#[test]
fn a_directory_is_there_although_incuss_process_for_files_ended_as_it_was_asked() {
    for times in [1, 2] {
        let (seen, fake) = in_a_directory(times, 200, LEFT);
        seen.assert_ended(SOON, 0);
        assert_eq!(fake.count("HEAD files"), times + 1, "{:?}", fake.asked());
    }
}

#[test]
fn a_directory_that_incus_cannot_look_at_is_not_called_missing() {
    let (seen, fake) = in_a_directory(usize::MAX, 500, "disk on fire");
    seen.assert_failed(SOON, 125, &["a file of the box", "disk on fire"]);
    assert!(!seen.stderr.contains("no such directory"), "{seen:#?}");
    assert_eq!(fake.count("exec"), 0, "{:?}", fake.asked());
}

#[test]
fn a_directory_below_a_file_is_missing() {
    let reason = "sftp: \"lstat /srv/.: not a directory\" (SSH_FX_FAILURE)";
    let (seen, fake) = in_a_directory(usize::MAX, 500, reason);
    seen.assert_failed(SOON, 125, &["cannot enter `/srv`", "no such directory"]);
    assert_eq!(fake.count("exec"), 0, "{:?}", fake.asked());
}

#[test]
fn the_agent_is_copied_although_incuss_process_for_files_ended_meanwhile() {
    let script = |act| {
        Script::new(Mode::Agent, Way::Pipes)
            .main_steps(vec![Do::End, Do::OperationEnds])
            .ends(wire::operation(400, "Command not found", 127))
            .on("POST files", act)
    };
    let copied = Act::Answer(200, serde_json::json!({"type": "sync", "status_code": 200}));
    let arguments = ["--mode", "agent", "dev", "--", "tool"];
    let fake = Fake::new(script(Act::Then(2, Box::new(answer(500, LEFT)), Box::new(copied))));
    let seen = Client::of(&fake, &arguments).run(Way::Pipes);
    // It is there now, and this daemon runs none.
    seen.assert_failed(SOON, 125, &["agent did not start in box `dev`"]);
    let fake = Fake::new(script(answer(500, LEFT)));
    let seen = Client::of(&fake, &arguments).run(Way::Pipes);
    seen.assert_failed(SOON, 125, &["could not be copied", "connection reset by peer"]);
}
