//! A stream that comes from the daemon: its socket and what of it has arrived.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::incus::streams::Stream;
use crate::incus::websocket::{self, Decoder, Event};
use crate::run::output::Output;
use crate::sys::fds::{self, Got};

/// Read at once. incusd sends frames of up to 32 KiB.
const CHUNK: usize = 128 << 10;
/// No more is read while this much waits.
const WAITING: usize = 256 << 10;

/// Frames of this size are worth moving without a copy.
const LARGE: u64 = 8 << 10;
/// The header of a frame of 126 to 65535 bytes that a server sends.
const SERVER_HEADER: usize = 4;

/// A stream that comes from the daemon.
#[derive(Debug)]
pub struct Downlink {
    socket: UnixStream,
    /// What has arrived.
    pub decoder: Decoder,
    outbox: Vec<u8>,
    /// The last frames were large.
    is_bulk: bool,
    /// The connection is closed.
    is_closed: bool,
    is_relayed: bool,
}

impl Downlink {
    /// Over an open websocket.
    pub fn new(stream: Stream) -> Downlink {
        let decoder = Decoder::new(&stream.rest);
        Downlink {
            socket: stream.socket,
            decoder,
            outbox: Vec::new(),
            is_bulk: false,
            is_closed: false,
            is_relayed: stream.is_relayed,
        }
    }

    /// Whether there is room to read into.
    pub fn has_room(&self) -> bool {
        !self.is_closed && self.decoder.waiting() < WAITING
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.is_closed || self.decoder.has_ended()
    }

    /// Whether the connection itself is closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Reads what is there; true when something was.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn receive(&mut self) -> io::Result<bool> {
        self.receive_at_most(CHUNK)
    }

    /// Passes data on to `output`, without copying it where that is possible: of a stream of large
    /// frames only the headers are read, and the payload is moved from the socket to the pipe.
    /// Returns how many bytes were passed on.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn move_to(&mut self, output: &mut Output) -> io::Result<usize> {
        let mut moved = 0;
        while output.takes_splice() && !self.is_closed {
            let left = self.decoder.left_in_socket();
            if left > 0 {
                self.is_bulk = left >= LARGE || self.is_bulk;
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let count = output.splice_from(&self.socket, most);
                self.decoder.note_moved(count);
                moved += count;
                if count == 0 {
                    // Nothing is there, or it is the end: an ordinary read tells.
                    break;
                }
                continue;
            }
            if !self.is_bulk || !self.receive_at_most(SERVER_HEADER)? {
                break;
            }
            if let Some(Event::Ping(payload)) = self.decoder.event()? {
                self.pong(&payload);
            }
            // Payload that came with a header, the end, or a header in pieces: the ordinary way.
            self.is_bulk = self.decoder.left_in_socket() >= LARGE;
        }
        Ok(moved)
    }

    fn receive_at_most(&mut self, most: usize) -> io::Result<bool> {
        match fds::read_own(&self.socket, self.decoder.tail(), most) {
            Ok(Got::Bytes(_)) => Ok(true),
            Ok(Got::Nothing) => Ok(false),
            Ok(Got::End) => {
                self.is_closed = true;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.is_closed = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Closes the connection from our side.
    pub fn close(&mut self) {
        self.is_closed = true;
        let _is_closed_already = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Answers a ping. A pong that finds no room is dropped: incusd reads and ignores them. Through
    /// incus-user none is sent: one that comes to a stream that the daemon closed has incus-user close
    /// it here too, with what it had not passed on yet.
    pub fn pong(&mut self, payload: &[u8]) {
        if self.is_relayed {
            return;
        }
        self.outbox.clear();
        websocket::pong(&mut self.outbox, payload);
        let _dropped = fds::write_own(&self.socket, &self.outbox);
    }
}

impl AsFd for Downlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
