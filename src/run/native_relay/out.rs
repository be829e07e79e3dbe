//! A stream of a native run to the daemon: messages of websockets that wait until it takes them.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::buffer::Buffer;
use crate::incus::websocket;
use crate::sys::fds::{self, Put};

/// A stream to the daemon, with what waits to be sent.
pub struct Out {
    /// Gone when the daemon closed it.
    pub socket: Option<UnixStream>,
    /// What waits.
    pub outbox: Buffer,
}

impl Out {
    /// A stream with nothing to send; `None` for none.
    pub fn new(socket: Option<UnixStream>) -> Out {
        Out { socket, outbox: Buffer::default() }
    }

    /// Puts a message of data at the end.
    pub fn data(&mut self, data: &[u8]) {
        let out = self.outbox.tail();
        websocket::binary_header(out, data.len());
        out.extend_from_slice(data);
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn flush(&mut self) -> io::Result<()> {
        while let (Some(socket), false) = (&self.socket, self.outbox.is_empty()) {
            match fds::write_own(socket, self.outbox.as_slice())? {
                Put::Bytes(count) => self.outbox.consume(count),
                Put::Full => return Ok(()),
                Put::Gone => self.socket = None,
            }
        }
        if self.socket.is_none() {
            self.outbox.clear();
        }
        Ok(())
    }

    /// What to wait for until it can be written to.
    pub fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.socket.as_ref().filter(|_| !self.outbox.is_empty()).map(AsFd::as_fd)
    }
}
