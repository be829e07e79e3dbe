//! Websockets as Incus uses them: binary frames carry a stream, an empty text frame or a close ends
//! it, pings want a pong.
//!
//! The handshake's keys and the frame headers are `tungstenite`'s. Payload is ours: it is handed on
//! straight from the buffer that it was read into. Frames from a client must be masked (RFC 6455,
//! 5.3), which is there to confuse proxies; on a unix socket there is none, so the mask is zero and
//! payload goes out as it came in.

use std::io::{self, Cursor};

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::http::{self, Response};
use crate::buffer::Buffer;

/// The mask of every frame that is sent.
const MASK: [u8; 4] = [0; 4];
/// The largest header of a frame that is sent.
pub const MAX_HEADER: usize = 14;

/// The request that upgrades a connection, and the key that the answer must prove to have read.
pub fn upgrade(target: &str) -> (Vec<u8>, String) {
    let key = generate_key();
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.as_str()),
    ];
    (http::request("GET", target, &headers, b""), key)
}

/// Whether `response` grants the upgrade that was asked for with `key`.
pub fn is_granted(response: &Response, key: &str) -> bool {
    response.status == 101 && response.accept.as_deref() == Some(&derive_accept_key(key.as_bytes()))
}

fn header(opcode: OpCode) -> FrameHeader {
    FrameHeader { opcode, mask: Some(MASK), ..FrameHeader::default() }
}

/// Appends the header of a binary frame with `length` bytes of payload.
pub fn binary_header(out: &mut Vec<u8>, length: usize) {
    push_header(out, OpCode::Data(Data::Binary), length);
}

/// Appends the empty text frame that ends a stream.
pub fn end_of_stream(out: &mut Vec<u8>) {
    push_header(out, OpCode::Data(Data::Text), 0);
}

/// Appends a text frame.
pub fn text(out: &mut Vec<u8>, payload: &str) {
    push_header(out, OpCode::Data(Data::Text), payload.len());
    out.extend_from_slice(payload.as_bytes());
}

/// Appends the answer to a ping.
pub fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    push_header(out, OpCode::Control(Control::Pong), payload.len());
    out.extend_from_slice(payload);
}

fn push_header(out: &mut Vec<u8>, opcode: OpCode, length: usize) {
    if header(opcode).format(length as u64, out).is_err() {
        unreachable!("a vector takes every write");
    }
}

/// What came next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Payload; may be a part of a frame. `consume` what was used of it.
    Data(&'a [u8]),
    /// A ping, to be answered.
    Ping(Vec<u8>),
    /// The stream ended.
    End,
}

/// Takes frames apart, from whatever bytes have arrived.
#[derive(Debug, Default)]
pub struct Decoder {
    input: Buffer,
    /// Bytes of the present data frame that are still to come.
    left: u64,
    ended: bool,
    /// Whether text is payload, too; in streams of commands it ends them.
    takes_text: bool,
}

impl Decoder {
    /// A decoder that begins with what was read behind the handshake.
    pub fn new(rest: &[u8]) -> Decoder {
        let mut decoder = Decoder::default();
        decoder.input.push(rest);
        decoder
    }

    /// A decoder for a stream of messages, which are text.
    #[cfg(feature = "cli")]
    pub fn of_messages(rest: &[u8]) -> Decoder {
        Decoder { takes_text: true, ..Decoder::new(rest) }
    }

    /// The vector to append arrived bytes to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        self.input.tail()
    }

    /// Bytes that have arrived and are not consumed.
    pub fn waiting(&self) -> usize {
        self.input.len()
    }

    /// Whether the end of the stream was seen.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What is next; `None` until more bytes arrive.
    ///
    /// # Errors
    /// For what is no frame that a server may send: masked, fragmented control, reserved bits.
    pub fn event(&mut self) -> io::Result<Option<Event<'_>>> {
        loop {
            if self.ended {
                return Ok(Some(Event::End));
            }
            if self.left > 0 {
                let there = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.input.len());
                return Ok((there > 0).then(|| Event::Data(&self.input.as_slice()[..there])));
            }
            let mut cursor = Cursor::new(self.input.as_slice());
            let parsed = FrameHeader::parse(&mut cursor);
            let Some((header, length)) =
                parsed.map_err(|_| malformed("a frame of unknown kind"))?
            else {
                return Ok(None);
            };
            let used = cursor.position() as usize;
            if header.mask.is_some() || header.rsv1 || header.rsv2 || header.rsv3 {
                return Err(malformed("a frame that no server sends"));
            }
            match header.opcode {
                OpCode::Data(Data::Binary | Data::Continue) => {
                    self.input.consume(used);
                    self.left = length;
                }
                OpCode::Data(Data::Text) if self.takes_text => {
                    self.input.consume(used);
                    self.left = length;
                }
                OpCode::Data(_) | OpCode::Control(Control::Close) => self.ended = true,
                OpCode::Control(control) => {
                    if length > 125 || !header.is_final {
                        return Err(malformed("a control frame that is too long"));
                    }
                    let whole = used + length as usize;
                    let Some(payload) = self.input.as_slice().get(used..whole) else {
                        return Ok(None);
                    };
                    let payload = payload.to_vec();
                    self.input.consume(whole);
                    if control == Control::Ping {
                        return Ok(Some(Event::Ping(payload)));
                    }
                }
            }
        }
    }

    /// How many bytes of the present data frame have not arrived yet, when none that have wait
    /// here: these may be moved from the socket without passing through this decoder.
    pub fn left_in_socket(&self) -> u64 {
        if self.input.is_empty() { self.left } else { 0 }
    }

    /// Notes that `count` bytes of the present data frame were moved past this decoder.
    pub fn note_moved(&mut self, count: usize) {
        self.left -= count as u64;
    }

    /// Takes `count` bytes off the data that `event` gave.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.left -= count as u64;
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        header.format(payload.len() as u64, &mut out).expect("vector");
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn frames_are_taken_apart_whatever_pieces_they_arrive_in() {
        let mut bytes = server(OpCode::Data(Data::Binary), b"hello ");
        bytes.extend(server(OpCode::Control(Control::Ping), b"keepalive"));
        bytes.extend(server(OpCode::Data(Data::Binary), &[7; 70_000]));
        bytes.extend(server(OpCode::Data(Data::Text), b""));
        for step in [1, 2, 3, 1000, bytes.len()] {
            let mut decoder = Decoder::default();
            let (mut data, mut pings) = (Vec::new(), 0);
            for piece in bytes.chunks(step) {
                decoder.tail().extend_from_slice(piece);
                loop {
                    match decoder.event().expect("well-formed") {
                        Some(Event::Data(part)) => {
                            let length = part.len();
                            data.extend_from_slice(part);
                            decoder.consume(length);
                        }
                        Some(Event::Ping(payload)) => {
                            assert_eq!(payload, b"keepalive");
                            pings += 1;
                        }
                        Some(Event::End) | None => break,
                    }
                }
            }
            assert!(decoder.has_ended());
            assert_eq!((data.len(), pings), (70_006, 1), "in steps of {step}");
        }
    }

    #[test]
    fn frames_that_no_server_sends_are_refused() {
        for bad in
            [&[0xc2, 0x00][..], &[0x82, 0x80, 0, 0, 0, 0], &[0x83, 0x00], &[0x89, 0x7e, 0xff, 0xff]]
        {
            let mut decoder = Decoder::new(bad);
            assert!(decoder.event().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        // RFC 6455, section 1.3.
        let accept = Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        let response = Response { status: 101, accept, etag: None, body: Vec::new() };
        assert!(is_granted(&response, "dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(!is_granted(&response, "dGhlIHNhbXBsZSBub25jZR=="));
    }
}
