//! Streams that go wrong while a command runs: frames that are none, a daemon that dies or comes
//! back, a box that goes away. In every mode, on pipes and on a terminal.

use std::time::Duration;

use incusbox::agent::protocol::FromAgent;

use crate::answers::arguments;
use crate::client::{Client, Seen};
use crate::fake::Fake;
use crate::script::{Act, Do, EACH_WAY, Mode, Script, Way};
use crate::wire;

const SOON: Duration = Duration::from_secs(8);

/// Runs a command against a daemon that does this mid-run; nothing is tried twice, and on a
/// terminal the run was far enough to have it in raw mode.
fn mid_run(steps: &[Do], change: impl Fn(Script) -> Script, check: impl Fn(&Seen)) {
    for (mode, way) in EACH_WAY {
        let script = change(Script::new(mode, way).mid_run(steps.to_vec()));
        let fake = Fake::new(script);
        let seen = Client::of(&fake, &arguments(mode)).run(way);
        check(&seen);
        assert_eq!(fake.count("exec"), 1, "{mode:?} on {way:?}: {:?}", fake.asked());
        if way == Way::Terminal {
            seen.assert_was_raw();
        }
    }
}

/// Frames that no daemon sends, with a name for each.
fn bad_frames() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a reserved bit", wire::frame(0xc2, b"data")),
        ("a reserved opcode", wire::frame(0x83, b"data")),
        ("a reserved control opcode", wire::frame(0x8b, b"data")),
        ("a masked frame", vec![0x82, 0x84, 1, 2, 3, 4, b'd', b'a', b't', b'a']),
        ("a ping in parts", wire::frame(0x09, b"data")),
        ("an oversized ping", wire::frame(0x89, &[b'x'; 5000])),
        ("text of a terminal", b"Segmentation fault (core dumped)\n".to_vec()),
        (
            "random bytes",
            (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        ),
    ]
}

#[test]
fn frames_that_no_daemon_sends_end_the_run_with_one_message() {
    for (name, bytes) in bad_frames() {
        mid_run(
            &[Do::Send(bytes.clone())],
            |script| script,
            |seen| {
                assert!(!seen.stderr.is_empty(), "{name}: {seen:#?}");
                seen.assert_failed(SOON, 125, &["not Incus as we know it", "INCUS_SOCKET"]);
            },
        );
    }
}

#[test]
fn bad_frames_on_the_raw_output_of_an_agent_end_the_run_too() {
    for (name, bytes) in bad_frames() {
        for way in [Way::Pipes, Way::Terminal] {
            let script = Script::new(Mode::Agent, way).mid_run(Vec::new());
            let script = script
                .stream("1", vec![Do::Pause(Duration::from_millis(100)), Do::Send(bytes.clone())]);
            let fake = Fake::new(script);
            let seen = Client::of(&fake, &arguments(Mode::Agent)).run(way);
            assert!(!seen.stderr.is_empty(), "{name}: {seen:#?}");
            seen.assert_failed(SOON, 125, &["not Incus as we know it", "INCUS_SOCKET"]);
        }
    }
}

#[test]
fn a_bad_frame_is_not_blamed_on_the_agent_when_it_is_the_daemons() {
    mid_run(
        &[Do::Send(wire::frame(0xc2, b"data"))],
        |script| script,
        |seen| {
            assert!(
                !seen.stderr.contains("rm -r"),
                "deleting the agent mends no daemon: {seen:#?}"
            );
            seen.assert_failed(SOON, 125, &["Incus"]);
        },
    );
}

#[test]
fn a_frame_that_is_cut_off_is_a_lost_connection() {
    // Also as an agent's message it is right as far as it goes.
    let mut frame = wire::agent(&[FromAgent::Stderr(&[b'x'; 1000])]);
    frame.truncate(300);
    for bytes in [frame, b"\x82\x7e".to_vec(), b"\x82".to_vec(), b"\x82\x7f\0\0".to_vec()] {
        mid_run(
            &[Do::Send(bytes), Do::Restart],
            |script| script,
            |seen| {
                assert_eq!(seen.status.code(), Some(125), "{seen:#?}");
                assert!(seen.elapsed < SOON, "{seen:#?}");
                let own = seen.stderr.trim_start_matches('x');
                let words = "incusbox-run: the Incus daemon went away while the command ran";
                assert!(own.starts_with(words), "{seen:#?}");
                seen.assert_terminal_restored();
            },
        );
    }
}

#[test]
fn a_frame_that_promises_exabytes_is_no_reason_to_reserve_memory() {
    let huge = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffsome data".to_vec();
    mid_run(
        &[Do::Send(huge), Do::Restart],
        |script| script,
        |seen| seen.assert_failed(SOON, 125, &["dev"]),
    );
}

#[test]
fn a_daemon_that_dies_mid_run_is_named_and_the_terminal_is_given_back() {
    mid_run(
        &[Do::Die],
        |script| script,
        |seen| {
            let words =
                ["Incus daemon went away", "while the command ran", "dev", "journalctl -u incus"];
            seen.assert_failed(SOON, 125, &words);
        },
    );
}

#[test]
fn a_daemon_that_is_restarted_mid_run_is_named_and_the_command_is_not_run_again() {
    mid_run(
        &[Do::Restart],
        |script| script,
        |seen| {
            let words =
                ["Incus daemon went away", "while the command ran", "dev", "journalctl -u incus"];
            seen.assert_failed(SOON, 125, &words);
        },
    );
}

#[test]
fn a_box_that_is_gone_when_the_agent_is_lost_is_named_with_what_became_of_it() {
    let here = |script: Script| script;
    let deleted = |script: Script| {
        script.on("instance", Act::Answer(404, wire::refusal(404, "Instance not found")))
    };
    let stopped = |script: Script| script.status("Stopped");
    let frozen = |script: Script| script.status("Frozen");
    let told = |script: Script| script.ends(wire::operation(200, "", 143));
    // A daemon that was restarted knows nothing of what it ran before.
    let forgotten = |script: Script| {
        script.on("operation", Act::Answer(404, wire::refusal(404, "Operation not found")))
    };
    type Change<'a> = &'a dyn Fn(Script) -> Script;
    for (change, words) in [
        (&here as Change<'_>, &["command in box `dev` was lost"][..]),
        (&deleted, &["box `dev` was deleted while the command ran"]),
        (&stopped, &["box `dev` is not running any more (stopped)", "incus start dev"]),
        (&frozen, &["box `dev` is frozen", "incus resume dev"]),
        (&told, &["the box is shutting down, or something in it ended incusbox-agent"]),
        (&forgotten, &["the Incus daemon went away while the command ran"]),
    ] {
        for way in [Way::Pipes, Way::Terminal] {
            let steps = vec![Do::OperationEnds, Do::End];
            let script = Script::new(Mode::Agent, way).mid_run(steps);
            let fake = Fake::new(change(script.ends(wire::operation(200, "", 137))));
            let seen = Client::of(&fake, &arguments(Mode::Agent)).run(way);
            seen.assert_failed(SOON, 125, words);
            assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
        }
    }
}

#[test]
fn a_stream_that_is_cut_while_all_else_goes_on_is_a_lost_command() {
    for steps in [vec![Do::Close], vec![Do::End]] {
        let script = Script::new(Mode::Agent, Way::Terminal).mid_run(steps);
        let seen = Client::of(&Fake::new(script), &arguments(Mode::Agent)).run(Way::Terminal);
        seen.assert_failed(SOON, 125, &["command in box `dev` was lost"]);
    }
}

#[test]
fn output_that_arrived_before_the_daemon_died_is_shown() {
    for mode in [Mode::Agent, Mode::Native] {
        let mut script = Script::new(mode, Way::Pipes).mid_run(vec![Do::Die]);
        script = match mode {
            Mode::Agent => script.stream("1", vec![Do::Send(wire::binary(b"it runs\r\n"))]),
            Mode::Native => script,
        };
        let seen = Client::of(&Fake::new(script), &arguments(mode)).run(Way::Pipes);
        assert_eq!(seen.stdout, "it runs\r\n");
        seen.assert_failed(SOON, 125, &["Incus daemon went away"]);
    }
}

#[test]
fn pings_and_empty_frames_between_the_data_change_nothing() {
    for (mode, way) in EACH_WAY {
        let mut script = Script::new(mode, way);
        for steps in script.steps.values_mut() {
            let idle = [wire::ping(), wire::binary(b""), wire::frame(0x8a, b"pong"), wire::ping()];
            steps.insert(0, Do::Send(idle.concat()));
        }
        let seen = Client::of(&Fake::new(script), &arguments(mode)).run(way);
        seen.assert_ended(SOON, 0);
    }
}

#[test]
fn a_message_of_the_agent_may_arrive_in_any_number_of_frames() {
    let mut script = Script::new(Mode::Agent, Way::Pipes);
    let words = [wire::greeting(), wire::exited(3, 0)].concat();
    // Behind each of the two websocket headers of two bytes.
    let greeting = wire::greeting().len();
    let bytes = words[2..greeting].iter().chain(&words[greeting + 2..]);
    let mut steps: Vec<Do> = bytes.map(|byte| Do::Send(wire::binary(&[*byte]))).collect();
    steps.extend([Do::End, Do::OperationEnds]);
    script = script.stream("2", steps);
    let seen = Client::of(&Fake::new(script), &arguments(Mode::Agent)).run(Way::Pipes);
    seen.assert_ended(SOON, 3);
}
