//! Requests and answers as bytes on a connection that never blocks without a deadline.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::client::PATIENCE;
use super::error::Error;
use super::http::{self, Body, Response};
use crate::sys::poll::{Interest, PollSet};

/// What a broken connection is, in our words.
pub fn broken(doing: &'static str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed { doing },
        _ => Error::Io { doing, source },
    }
}

/// Writes all of it, within [`PATIENCE`].
///
/// # Errors
/// write(2)'s, and `TimedOut`.
pub fn write_all(stream: &mut UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    stream.set_nonblocking(true)?;
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(stream, Interest::Write, deadline)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for `interest`; an error of kind `TimedOut` at the deadline.
fn wait(stream: &UnixStream, interest: Interest, deadline: Instant) -> io::Result<()> {
    let mut set = PollSet::new();
    set.add((), stream.as_fd(), interest);
    set.wait(Some(deadline))?;
    if !set.ready(()).any() && Instant::now() >= deadline {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}

/// Whether there is something to read, or the other side is gone.
///
/// # Errors
/// poll(2)'s.
pub fn has_news(stream: &UnixStream) -> io::Result<bool> {
    let mut set = PollSet::new();
    set.add((), stream.as_fd(), Interest::Read);
    set.wait(Some(Instant::now()))?;
    Ok(set.ready(()).any())
}

/// Whether the other side is gone; an answer that waits to be read does not count.
///
/// # Errors
/// poll(2)'s.
pub fn is_over(stream: &UnixStream) -> io::Result<bool> {
    let mut set = PollSet::new();
    set.add((), stream.as_fd(), Interest::Hangup);
    set.wait(Some(Instant::now()))?;
    Ok(set.ready(()).any())
}

/// Reads one answer; what follows it stays in `inbox`.
///
/// # Errors
/// [`Error::Stalled`] at the deadline, [`Error::Malformed`], and what [`broken`] makes of the rest.
pub fn read_response(
    stream: &mut UnixStream,
    inbox: &mut Vec<u8>,
    body: Body,
    doing: &'static str,
    deadline: Instant,
) -> Result<Response, Error> {
    let began = Instant::now();
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::TimedOut => Error::Stalled { doing, seconds: began.elapsed().as_secs() },
        _ => broken(doing, source),
    };
    stream.set_nonblocking(true).map_err(io_error)?;
    let mut chunk = [0; 16 << 10];
    loop {
        let parsed = http::parse(inbox, body);
        let parsed = parsed.map_err(|error| Error::Malformed { doing, what: error.to_string() })?;
        if let Some((response, used)) = parsed {
            inbox.drain(..used);
            return Ok(response);
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err(Error::Closed { doing }),
            Ok(count) => inbox.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(stream, Interest::Read, deadline).map_err(io_error)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error(error)),
        }
    }
}
