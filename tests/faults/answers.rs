//! Answers over HTTP that are not as they should be, for every mode on pipes and on a terminal.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Seen};
use crate::fake::Fake;
use crate::script::{Act, EACH_WAY, Mode, Script, Way};
use crate::wire;

/// What needs no waiting is over by then, also on a busy machine.
const SOON: Duration = Duration::from_secs(8);

/// The arguments for a run of `true` in this mode.
pub fn arguments(mode: Mode) -> [&'static str; 5] {
    let mode = match mode {
        Mode::Agent => "agent",
        Mode::Native => "native",
    };
    ["--mode", mode, "dev", "--", "true"]
}

/// Runs `true` against a daemon that does this, in each way; the command is asked for once.
fn each_way(change: impl Fn(Script) -> Script, check: impl Fn(&Seen)) {
    for (mode, way) in EACH_WAY {
        let fake = Fake::new(change(Script::new(mode, way)));
        let seen = Client::of(&fake, &arguments(mode)).run(way);
        check(&seen);
        assert_eq!(fake.count("exec"), 1, "{mode:?} on {way:?}: {:?}", fake.asked());
    }
}

/// The request for the command is answered like this, and the message has these words.
fn exec_answered(act: Act, words: &[&str]) {
    each_way(|script| script.on("exec", act.clone()), |seen| seen.assert_failed(SOON, 125, words));
}

const STRANGE: &str = "is not Incus as we know it";
const NEXT: &str = "check which socket is used: INCUS_SOCKET, INCUS_DIR";

#[test]
fn a_healthy_daemon_needs_no_message() {
    each_way(|script| script, |seen| seen.assert_ended(SOON, 0));
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_as_good_as_any() {
    each_way(|script| script.on("exec", Act::Dripping), |seen| seen.assert_ended(SOON, 0));
}

#[test]
fn a_daemon_that_closes_at_once_is_named_with_where_to_look() {
    for (mode, way) in EACH_WAY {
        let script = Script::new(mode, way).on("connect", Act::Bytes(Vec::new()));
        let seen = Client::of(&Fake::new(script), &arguments(mode)).run(way);
        seen.assert_failed(SOON, 125, &["closed the connection", "journalctl -u incus"]);
    }
}

#[test]
fn a_daemon_that_closes_instead_of_answering_is_not_asked_again() {
    exec_answered(Act::Bytes(Vec::new()), &["closed the connection", "journalctl -u incus"]);
}

#[test]
fn garbage_is_no_answer() {
    let garbage: Vec<u8> = (0..=255).cycle().take(3000).collect();
    exec_answered(Act::Bytes(garbage.clone()), &[STRANGE, NEXT]);
    exec_answered(Act::BytesThenSilence(garbage), &[STRANGE, NEXT]);
    exec_answered(Act::Bytes(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()), &[STRANGE, NEXT]);
}

#[test]
fn an_answer_cut_off_in_its_head_is_a_lost_connection() {
    let head = b"HTTP/1.1 202 Accepted\r\nContent-Le".to_vec();
    exec_answered(Act::Bytes(head), &["closed the connection", "journalctl"]);
}

#[test]
fn an_answer_cut_off_in_its_body_is_a_lost_connection() {
    let mut answer = wire::answer(202, &json!({"type": "async", "operation": "/1.0/operations/a"}));
    answer.truncate(answer.len() - 5);
    exec_answered(Act::Bytes(answer), &["closed the connection", "journalctl"]);
    let chunks = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"t".to_vec();
    exec_answered(Act::Bytes(chunks), &["closed the connection", "journalctl"]);
}

#[test]
fn an_answer_of_absurd_length_is_refused_at_once() {
    for length in ["99999999999", "18446744073709551615", "340282366920938463463374607431768211456"]
    {
        let head = format!("HTTP/1.1 202 Accepted\r\nContent-Length: {length}\r\n\r\n{{");
        exec_answered(Act::BytesThenSilence(head.into_bytes()), &[STRANGE, NEXT]);
    }
}

#[test]
fn an_answer_without_end_is_refused_before_it_fills_the_memory() {
    const MOST: usize = 64 << 20;
    let chunked = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"4000\r\n".to_vec(), vec![b' '; 0x4000], b"\r\n".to_vec()].concat();
    let headers = b"X-Header: with a value\r\n".repeat(100);
    for (first, again) in [
        (b"HTTP/1.1 202 Accepted\r\n".to_vec(), headers),
        (b"HTTP/1.1 202 Accepted\r\nX: ".to_vec(), vec![b'a'; 4096]),
        (chunked.clone(), chunk),
        (chunked, vec![b'0'; 4096]),
    ] {
        let script = Script::new(Mode::Agent, Way::Pipes).on("exec", Act::Flood(first, again));
        let fake = Fake::new(script);
        let seen = Client::of(&fake, &arguments(Mode::Agent)).run(Way::Pipes);
        seen.assert_failed(Duration::from_secs(20), 125, &[STRANGE, NEXT]);
        assert!(fake.flooded() < MOST, "took {} bytes", fake.flooded());
    }
}

#[test]
fn nonsense_in_place_of_chunks_is_no_answer() {
    for body in
        ["zz\r\n{}\r\n0\r\n\r\n", "ffffffffffffffff\r\n{}", "2\r\n{}{}\r\n0\r\n\r\n", "-1\r\n"]
    {
        let answer = format!("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        exec_answered(Act::BytesThenSilence(answer.into_bytes()), &[STRANGE, NEXT]);
    }
}

#[test]
fn json_of_another_shape_is_no_answer() {
    let async_with = |operation: &str| json!({"type": "async", "operation": operation, "metadata": {"status_code": 103, "metadata": {"fds": {"0": "a"}}}});
    for body in [
        json!(null),
        json!([]),
        json!({}),
        json!("text"),
        json!({"type": "async"}),
        json!({"type": "sync", "metadata": "x"}),
        json!({"type": "async", "operation": "/1.0/operations/a", "metadata": {"status_code": "103"}}),
        json!({"type": "async", "operation": "/1.0/operations/a", "metadata": {"status_code": 103}}),
        async_with("/1.0/operations/../instances"),
        async_with("/1.0/operations/a\r\nX: y"),
        // Everything right but for the secrets of the other streams.
        async_with("/1.0/operations/a"),
    ] {
        exec_answered(Act::Answer(202, body), &[STRANGE, NEXT]);
    }
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    let head = format!("HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\n\r\n{deep}", deep.len());
    exec_answered(Act::Bytes(head.into_bytes()), &[STRANGE, NEXT]);
}

#[test]
fn an_answer_of_another_web_server_is_no_answer() {
    let page = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 19\r\n\r\n404 page not found\n";
    exec_answered(Act::Bytes(page.to_vec()), &[STRANGE, NEXT]);
    let old = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>".to_vec();
    exec_answered(Act::Bytes(old), &[STRANGE, NEXT]);
}

#[test]
fn what_incus_refuses_is_told_in_its_own_words() {
    let body = wire::refusal(500, "Failed doing things: no space left on device");
    exec_answered(Act::Answer(500, body), &["Incus refused", "no space left on device"]);
}

#[test]
fn incuss_own_words_cannot_move_the_cursor() {
    let body = wire::refusal(500, "a\u{1b}[2Jb\u{7}\u{9b}c\u{202e}d\r\ne");
    each_way(
        |script| script.on("exec", Act::Answer(500, body.clone())),
        |seen| {
            seen.assert_failed(SOON, 125, &["Incus refused", "[2Jb"]);
            assert!(!seen.stderr.contains('\u{202e}'), "{seen:?}");
        },
    );
}

#[test]
fn a_message_on_the_terminal_itself_comes_after_raw_mode() {
    for mode in [Mode::Agent, Mode::Native] {
        let script = Script::new(mode, Way::Terminal).mid_run(vec![crate::script::Do::Die]);
        let seen = Client::of(&Fake::new(script), &arguments(mode)).run_all_on_terminal();
        assert_eq!(seen.status.code(), Some(125), "{seen:#?}");
        assert!(seen.stdout.contains("incusbox-run: the Incus daemon went away"), "{seen:#?}");
        assert!(!seen.stdout.replace("\r\n", "").contains('\n'), "a bare line feed: {seen:#?}");
        seen.assert_terminal_restored();
    }
}

#[test]
fn a_stream_that_the_daemon_refuses_is_told_and_nothing_is_tried_again() {
    for (act, words) in [
        (Act::Answer(404, wire::refusal(404, "Operation not found")), ["Operation not found", "Incus refused"]),
        (Act::Bytes(Vec::new()), ["closed the connection", "streams"]),
        (Act::Bytes(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec()), [STRANGE, NEXT]),
        (Act::Bytes(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n".to_vec()), [STRANGE, NEXT]),
        (Act::BytesThenSilence(b"\x82\x05hello".to_vec()), [STRANGE, NEXT]),
    ] {
        for stream in ["stream 0", "stream 1", "stream control"] {
            for (mode, way) in EACH_WAY {
                let script = Script::new(mode, way);
                let Some(name) = stream.strip_prefix("stream ") else { continue };
                if !script.streams().contains(&name) {
                    continue;
                }
                let fake = Fake::new(script.on(stream, act.clone()));
                let seen = Client::of(&fake, &arguments(mode)).run(way);
                seen.assert_failed(SOON, 125, &words);
                assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
            }
        }
    }
}

#[test]
fn a_nonsensical_answer_about_the_commands_end_is_a_failure_of_the_daemon() {
    for act in [
        Act::Bytes(b"garbage\r\n\r\n".to_vec()),
        Act::Bytes(Vec::new()),
        Act::Answer(200, json!({"type": "sync", "metadata": null})),
        Act::Answer(200, json!({"type": "sync", "metadata": {"status_code": 200}})),
    ] {
        for way in [Way::Pipes, Way::Terminal] {
            let fake = Fake::new(Script::new(Mode::Native, way).on("wait", act.clone()));
            let seen = Client::of(&fake, &arguments(Mode::Native)).run(way);
            seen.assert_failed(SOON, 125, &["Incus"]);
            assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
        }
    }
}
