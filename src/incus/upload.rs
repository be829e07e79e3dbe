//! Requests whose body is made while it is sent: image files and backups, gigabytes at a time.
//!
//! Sent in chunks (RFC 9112, 7.1), since the length of what is made on the way is not known before.
//! The daemon may answer before the end (no space left, not allowed) and closes then, so an answer
//! that arrives early ends the sending and is read. Signals that end a program do so while the body is
//! sent, for that may take long and leaves nothing behind.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::client::Client;
use super::error::Error;
use super::http::Response;
use super::wire::broken;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::let_pass;

/// How long the daemon may take nothing of the body: it writes to a disk that may be slow.
const STALL: Duration = Duration::from_secs(120);
/// How long the answer may take: the daemon flushes what it wrote.
const ANSWER: Duration = Duration::from_secs(300);
/// How long an answer that was sent before the end of the request may take.
const AFTER_REFUSAL: Duration = Duration::from_secs(2);
/// The bytes of one chunk.
const CHUNK: usize = 256 << 10;

/// Why an upload failed.
#[derive(Debug)]
pub enum Failure<E> {
    /// On the way to Incus, or there.
    Incus(Error),
    /// What was to be sent could not be made.
    Source(E),
    /// A signal came while Incus was at work on it.
    Signal(i32),
}

/// Where the body is written to.
pub struct Body<'a> {
    client: &'a mut Client,
    buffer: Vec<u8>,
    sent: u64,
    progress: &'a mut dyn FnMut(u64),
    end: Option<End>,
}

/// Why nothing more can be sent.
#[derive(Debug)]
enum End {
    Answered,
    Broken(io::Error),
}

impl Client {
    /// Sends a request with the body that `make` writes, and waits for its answer. `progress` is
    /// told how many bytes were sent.
    ///
    /// # Errors
    /// What `make` failed with, or everything in [`Error`]. The connection is a new one then.
    pub fn upload<E>(
        &mut self,
        doing: &'static str,
        target: &str,
        headers: &[(&str, &str)],
        progress: &mut dyn FnMut(u64),
        make: impl FnOnce(&mut Body<'_>) -> Result<(), E>,
    ) -> Result<Response, Failure<E>> {
        let result = self.try_upload(doing, target, headers, progress, make);
        if result.is_err() {
            // Half a request may have been sent; to its end nobody can get.
            let _the_first_reason_counts = self.reconnect();
        }
        result
    }

    fn try_upload<E>(
        &mut self,
        doing: &'static str,
        target: &str,
        headers: &[(&str, &str)],
        progress: &mut dyn FnMut(u64),
        make: impl FnOnce(&mut Body<'_>) -> Result<(), E>,
    ) -> Result<Response, Failure<E>> {
        self.send(doing, &head(target, headers)).map_err(Failure::Incus)?;
        let buffer = Vec::with_capacity(CHUNK + 16);
        let mut body = Body { client: self, buffer, sent: 0, progress, end: None };
        // Incus makes nothing of a request that has no end (lxc/incus 6.0.4, `io.Copy` of the body).
        let until_the_end = let_pass();
        let made = make(&mut body);
        let flushed = made.is_ok() && body.flush().is_ok();
        drop(until_the_end);
        let finished = flushed && body.push(b"0\r\n\r\n").is_ok();
        let end = body.end.take();
        match (made, end) {
            (Err(error), None) => return Err(Failure::Source(error)),
            (Ok(()), None) if finished => {
                return self.receive(doing, ANSWER).map_err(Failure::Incus);
            }
            (_, Some(End::Broken(source))) => {
                // A refusal may have come before the connection went.
                let answer = self.receive(doing, AFTER_REFUSAL);
                let answer = answer.map_err(|_| Failure::Incus(broken(doing, source)))?;
                return Ok(self.refused(answer));
            }
            _ => {}
        }
        let answer = self.receive(doing, AFTER_REFUSAL).map_err(Failure::Incus)?;
        Ok(self.refused(answer))
    }

    /// An answer that came early: the connection is spent.
    fn refused(&mut self, answer: Response) -> Response {
        let _the_next_request_fails_then = self.reconnect();
        answer
    }
}

fn head(target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("POST {target} HTTP/1.1\r\nHost: incus\r\nUser-Agent: incusbox\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    head.into_bytes()
}

impl Body<'_> {
    /// Sends bytes as they are.
    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.end.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut deadline = Instant::now() + STALL;
        while !bytes.is_empty() {
            let written = (&self.client.stream).write(bytes);
            let end = match written {
                Ok(count) => {
                    bytes = &bytes[count..];
                    deadline = Instant::now() + STALL;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.wait(deadline) {
                        Ok(None) => continue,
                        Ok(Some(end)) => end,
                        Err(error) => End::Broken(error),
                    }
                }
                Err(error) => End::Broken(error),
            };
            self.end = Some(end);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Waits for room, or for a reason to stop.
    fn wait(&self, deadline: Instant) -> io::Result<Option<End>> {
        let mut set = PollSet::new();
        set.add((), self.client.stream.as_fd(), Interest::ReadWrite);
        set.wait(Some(deadline))?;
        let ready = set.ready(());
        if ready.readable {
            return Ok(Some(End::Answered));
        }
        if !ready.any() && Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("nothing was taken for {} s", STALL.as_secs()),
            ));
        }
        Ok(None)
    }
}

impl Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.end.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let content = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.push(format!("{:x}\r\n", content.len()).as_bytes())?;
        self.push(&content)?;
        self.push(b"\r\n")?;
        self.sent += content.len() as u64;
        (self.progress)(self.sent);
        Ok(())
    }
}

/// Copies all of `source` into a body.
///
/// # Errors
/// Those of reading and writing.
pub fn copy(source: &mut dyn Read, body: &mut dyn Write) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut copied = 0;
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                body.write_all(&chunk[..count])?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    const REFUSAL: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nfull";

    fn upload(
        daemon: impl FnOnce(UnixStream) + Send + 'static,
        size: u64,
    ) -> Result<Response, Failure<io::Error>> {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let daemon = thread::spawn(move || daemon(theirs));
        let mut client = Client::over(ours);
        let result = client.upload("x", "/1.0/images", &[("A", "b")], &mut |_| {}, |body| {
            copy(&mut io::repeat(7).take(size), body).map(|_| ())
        });
        drop(client);
        daemon.join().expect("the daemon");
        result
    }

    #[test]
    fn a_body_arrives_in_chunks_with_its_end() {
        let size = 2 * CHUNK as u64 + 5;
        let daemon = move |mut stream: UnixStream| {
            let mut all = Vec::new();
            while !all.ends_with(b"\r\n0\r\n\r\n") {
                let mut chunk = [0; 64 << 10];
                let count = stream.read(&mut chunk).expect("bytes");
                assert!(count > 0, "the end is missing");
                all.extend_from_slice(&chunk[..count]);
            }
            let head = b"POST /1.0/images HTTP/1.1\r\nHost: incus\r\nUser-Agent: incusbox\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n";
            assert!(all.starts_with(head), "{}", String::from_utf8_lossy(&all[..200]));
            assert_eq!(all.iter().filter(|byte| **byte == 7).count() as u64, size);
            assert!(all.ends_with(b"\r\n5\r\n\x07\x07\x07\x07\x07\r\n0\r\n\r\n"));
            stream
                .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
                .expect("room");
        };
        let response = upload(daemon, size).expect("an answer");
        assert_eq!((response.status, response.body.as_slice()), (202, &b"ok"[..]));
    }

    #[test]
    fn an_answer_before_the_end_is_heeded_whether_the_daemon_closes_or_not() {
        for closes in [true, false] {
            let (hold, held) = std::sync::mpsc::channel::<()>();
            let daemon = move |mut stream: UnixStream| {
                let mut chunk = [0; 1000];
                stream.read_exact(&mut chunk).expect("bytes");
                stream.write_all(REFUSAL).expect("room");
                if !closes {
                    let _until_the_client_is_done = held.recv_timeout(Duration::from_secs(10));
                }
            };
            let answer = upload(daemon, 1 << 30).expect("an answer");
            drop(hold);
            assert_eq!((answer.status, answer.body.as_slice()), (500, &b"full"[..]), "{closes}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_told_as_it_is() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut client = Client::over(ours);
        let make = |_: &mut Body<'_>| Err("damaged");
        let result = client.upload("x", "/", &[], &mut |_| {}, make);
        assert!(matches!(result, Err(Failure::Source("damaged"))));
    }
}
