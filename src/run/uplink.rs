//! The way to the agent: frames in binary websocket frames on the command's stdin stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::input::Input;
use crate::agent::protocol::{self, HEADER, KEYS_WINDOW, STDIN_FIRST_WINDOW, Stream, ToAgent};
use crate::buffer::Buffer;
use crate::incus::websocket;
use crate::sys::fds::{self, Got, Put};

/// Read at once from stdin. With its headers it fits a frame with a 16-bit length.
const CHUNK: usize = 60 << 10;
/// No more stdin is read while this much waits to be sent.
const WAITING: usize = 256 << 10;
/// The headers before a chunk of stdin: a websocket frame of more than 125 bytes, and ours.
const HEADROOM: usize = 8 + HEADER;

/// The way to the agent.
#[derive(Debug)]
pub struct Uplink {
    socket: UnixStream,
    outbox: Buffer,
    stdin_credit: usize,
    keys_credit: usize,
    stdin_is_over: bool,
    is_gone: bool,
}

impl Uplink {
    /// Over an open websocket.
    pub fn new(socket: UnixStream) -> Uplink {
        let outbox = Buffer::default();
        Uplink {
            socket,
            outbox,
            stdin_credit: STDIN_FIRST_WINDOW,
            keys_credit: KEYS_WINDOW,
            stdin_is_over: false,
            is_gone: false,
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &ToAgent<'_>) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        let out = self.outbox.tail();
        websocket::binary_header(out, frame.len());
        out.extend_from_slice(&frame);
    }

    /// Answers a ping.
    pub fn pong(&mut self, payload: &[u8]) {
        websocket::pong(self.outbox.tail(), payload);
    }

    /// Takes a grant of the agent's.
    pub fn grant(&mut self, stream: Stream, bytes: u32) {
        match stream {
            Stream::Stdin => self.stdin_credit += bytes as usize,
            Stream::Keys => self.keys_credit += bytes as usize,
            Stream::Stderr | Stream::Screen => {}
        }
    }

    /// Whether stdin may be read now.
    pub fn wants_stdin(&self) -> bool {
        self.stdin_credit > 0 && self.outbox.len() < WAITING && !self.stdin_is_over && !self.is_gone
    }

    /// No more stdin is to be read: it ended, or the command closed it.
    pub fn no_more_stdin(&mut self) {
        self.stdin_is_over = true;
    }

    /// How many keys may be read now.
    pub fn keys_room(&self) -> usize {
        if self.is_gone { 0 } else { self.keys_credit.min(4096) }
    }

    /// Sends keys, which must be within `keys_room`.
    pub fn send_keys(&mut self, keys: &[u8]) {
        self.keys_credit -= keys.len();
        self.send(&ToAgent::Keys(keys));
    }

    /// Reads a piece of stdin and sends it.
    ///
    /// # Errors
    /// read(2)'s on stdin.
    pub fn send_stdin(&mut self, input: &mut Input) -> io::Result<Got> {
        let most = CHUNK.min(self.stdin_credit);
        let out = self.outbox.tail();
        let start = out.len();
        out.resize(start + HEADROOM, 0);
        let got = match input.read(out, most) {
            Ok(Got::Bytes(count)) => count,
            other => {
                out.truncate(start);
                return other;
            }
        };
        let mut header = Vec::with_capacity(websocket::MAX_HEADER + HEADER);
        websocket::binary_header(&mut header, HEADER + got);
        header.extend_from_slice(&protocol::stdin_header(got));
        // A short frame has a shorter header: the payload moves up to it.
        let surplus = HEADROOM - header.len();
        out[start + surplus..start + HEADROOM].copy_from_slice(&header);
        out.drain(start..start + surplus);
        self.stdin_credit -= got;
        Ok(Got::Bytes(got))
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// write(2)'s; a peer that left is none, its stream will end.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match fds::write_own(&self.socket, self.outbox.as_slice())? {
                Put::Bytes(count) => self.outbox.consume(count),
                Put::Full => break,
                Put::Gone => {
                    self.is_gone = true;
                    self.outbox.clear();
                }
            }
        }
        Ok(())
    }

    /// Whether something waits to be written.
    pub fn is_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }
}

impl AsFd for Uplink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incus::websocket::{Decoder, Event};

    #[test]
    fn stdin_of_any_length_arrives_in_whole_frames() {
        let (ours, _theirs) = UnixStream::pair().expect("socketpair");
        for length in [1, 2, 100, 119, 120, 121, 126, 5000, CHUNK] {
            let mut uplink = Uplink::new(ours.try_clone().expect("dup"));
            let file = tempfile(length);
            let source = fds::Source::new(file.as_fd()).expect("source");
            let got = uplink.send_stdin(&mut Input::Plain(source)).expect("read");
            assert_eq!(got, Got::Bytes(length));
            // A server sees the frame unmasked; the mask is zero, so only its bit and key go.
            let bytes = unmask(uplink.outbox.as_slice());
            let mut decoder = Decoder::new(&bytes);
            let Some(Event::Data(frame)) = decoder.event().expect("a frame") else {
                panic!("no data")
            };
            let (kind, payload, used) = protocol::split(frame).expect("ours").expect("whole");
            assert_eq!((kind, payload.len(), used), (2, length, frame.len()));
        }
    }

    fn tempfile(length: usize) -> std::fs::File {
        let path =
            std::env::temp_dir().join(format!("incusbox-uplink-{}-{length}", std::process::id()));
        std::fs::write(&path, vec![b'x'; length]).expect("write");
        let file = std::fs::File::open(&path).expect("open");
        std::fs::remove_file(&path).expect("remove");
        file
    }

    fn unmask(bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let header = if out[1] & 0x7f == 126 { 4 } else { 2 };
        out[1] &= 0x7f;
        out.drain(header..header + 4);
        out
    }
}
