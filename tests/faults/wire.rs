//! Bytes as a daemon or an agent sends them: HTTP answers, websocket frames, the agent's messages.
//!
//! Frames are written by hand and not by the library that the program uses: most of them are wrong.

use incusbox::agent::protocol::{Exited, FromAgent, Place};
use incusbox::exit::ExitStatus;
use serde_json::{Value, json};

/// An answer with a body of JSON.
pub fn answer(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// An error as Incus reports it.
pub fn refusal(code: u16, text: &str) -> Value {
    json!({"type": "error", "error": text, "error_code": code, "metadata": null})
}

/// An operation that ended.
pub fn operation(status_code: u16, text: &str, exit_status: i32) -> Value {
    json!({
        "id": "op-1", "class": "websocket", "status": "Ended", "status_code": status_code,
        "err": text, "metadata": {"fds": {}, "return": exit_status},
    })
}

/// A websocket frame of a server: `first` is FIN, reserved bits and opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// A binary frame: payload of the stream.
pub fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload)
}

/// The daemon's sign of life.
pub fn ping() -> Vec<u8> {
    frame(0x89, b"keepalive")
}

/// The end of a stream.
pub fn end() -> Vec<u8> {
    frame(0x81, b"")
}

/// Messages of the agent, in one frame of the stream.
pub fn agent(messages: &[FromAgent<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        message.encode(&mut out);
    }
    binary(&out)
}

/// What an agent says until the command runs.
pub fn greeting() -> Vec<u8> {
    let protocol = incusbox::agent::protocol::PROTOCOL;
    agent(&[FromAgent::Hello(protocol), FromAgent::Started(Place::Asked)])
}

/// The agent's last word.
pub fn exited(code: u8, stdout_bytes: u64) -> Vec<u8> {
    let status = ExitStatus::Code(code);
    let (stdin_taken, signals_taken, spoke) = (0, 0, false);
    let exited = Exited { status, stdout_bytes, stdin_taken, signals_taken, spoke };
    agent(&[FromAgent::Exited(exited)])
}
