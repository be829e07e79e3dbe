//! Running a helper in an instance: stdin from memory, stdout line by line, stderr as a whole.
//!
//! For set-up, not for users' commands: those are `run`'s.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::client::Client;
use super::error::Error;
use super::manage::Interrupted;
use super::streams::Stream;
use super::types::{Exec, Operation};
use super::websocket::{self, Decoder, Event};
use crate::buffer::Buffer;
use crate::sys::fds::{self, Got, Put};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::Signals;

/// Read at once.
const CHUNK: usize = 32 << 10;
/// More than this in one line is no answer of a helper's, in bytes.
pub const MOST_LINE: usize = 1 << 20;
/// More than this is no answer either: an upgrade of a distribution writes a thousandth of it.
const MOST_OUTPUT: usize = 1 << 30;
/// What is kept of stderr, in bytes.
const MOST_STDERR: usize = 16 << 10;
/// How long the daemon may take to tell the exit status after the streams ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether the command still runs, where its end may not be told.
const LOOK: Duration = Duration::from_secs(1);

/// How a helper ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; 128 + N for a death by signal N.
    pub status: Option<i32>,
    /// What it said on stderr, at most 16 KiB.
    pub stderr: Vec<u8>,
}

/// A stream from the daemon.
pub(super) struct Down {
    socket: std::os::unix::net::UnixStream,
    decoder: Decoder,
    is_over: bool,
    is_relayed: bool,
}

impl Down {
    fn new(stream: Stream) -> Down {
        Down::over(Decoder::new(&stream.rest), stream)
    }

    /// A stream of messages.
    pub(super) fn of_messages(stream: Stream) -> Down {
        Down::over(Decoder::of_messages(&stream.rest), stream)
    }

    fn over(decoder: Decoder, stream: Stream) -> Down {
        let Stream { socket, is_relayed, .. } = stream;
        Down { decoder, socket, is_over: false, is_relayed }
    }

    /// Whether nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Answers a ping, or shows that we are there.
    pub(super) fn pong(&self, payload: &[u8]) {
        let mut pong = Vec::new();
        websocket::pong(&mut pong, payload);
        let _nobody_waits_for_it = fds::write_own(&self.socket, &pong);
    }

    /// Reads what is there and hands the payload to `take`.
    pub(super) fn receive(&mut self, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
        match fds::read_own(&self.socket, self.decoder.tail(), CHUNK) {
            Ok(Got::End) => self.is_over = true,
            Ok(Got::Bytes(_) | Got::Nothing) => {}
            // The daemon closed it with a pong of ours unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                self.is_over = true;
            }
            Err(error) => return Err(error),
        }
        loop {
            match self.decoder.event()? {
                Some(Event::Data(data)) => {
                    take(data);
                    let count = data.len();
                    self.decoder.consume(count);
                }
                // A pong to a stream that is closed already would lose what incus-user still has of it.
                Some(Event::Ping(_)) if self.is_relayed => {}
                Some(Event::Ping(payload)) => self.pong(&payload),
                Some(Event::End) => {
                    self.is_over = true;
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }
}

impl AsFd for Down {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Client {
    /// Runs `command` as root in the instance `name` with `stdin`, hands each line of its stdout to
    /// `line`, and waits for its end. A signal ends the waiting; the daemon then kills the command.
    ///
    /// # Errors
    /// Everything in [`Error`], and [`Error::Stalled`] when it takes longer than `patience`.
    pub fn run_helper(
        &mut self,
        name: &str,
        command: &[&str],
        stdin: &[u8],
        patience: Option<Duration>,
        signals: &mut Signals,
        line: &mut dyn FnMut(&[u8]),
    ) -> Result<Ended, Interrupted> {
        let doing = "talking to the agent in the box";
        let broken = |source| Interrupted::Error(Error::Io { doing, source });
        let deadline = patience.map(|patience| Instant::now() + patience);
        let started = self.exec(name, &Exec::as_root(command))?;
        let [up, out, err] = self.open_streams(&started, ["0", "1", "2"])?;
        let is_relayed = up.is_relayed;
        let mut echo = Down::new(Stream {
            socket: up.socket.try_clone().map_err(broken)?,
            rest: up.rest,
            is_relayed,
        });
        let (up, mut out, mut err) = (up.socket, Down::new(out), Down::new(err));
        let mut outbox = Buffer::default();
        websocket::binary_header(outbox.tail(), stdin.len());
        outbox.push(stdin);
        websocket::end_of_stream(outbox.tail());
        let (mut lines, mut stderr, mut count) = (Vec::new(), Vec::new(), 0);
        // Where incus-user stands between, streams that the daemon just closed stay open here.
        let mut look_at = is_relayed.then(|| Instant::now() + LOOK);
        let mut over: Option<Operation> = None;
        // What came along with the answers to the upgrades may be all that ever comes.
        let mut at_once = Some(Instant::now());
        while !(out.is_over && err.is_over) {
            while !outbox.is_empty() {
                match fds::write_own(&up, outbox.as_slice()).map_err(broken)? {
                    Put::Bytes(count) => outbox.consume(count),
                    Put::Full => break,
                    Put::Gone => outbox.clear(),
                }
            }
            let mut set = PollSet::new();
            set.add(0, signals.as_fd(), Interest::Read);
            if !outbox.is_empty() {
                set.add(1, up.as_fd(), Interest::Write);
            }
            for (key, down) in [(2, &echo), (3, &out), (4, &err)] {
                if !down.is_over {
                    set.add(key, down.socket.as_fd(), Interest::Read);
                }
            }
            set.wait([deadline, look_at, at_once].into_iter().flatten().min()).map_err(broken)?;
            if let Some(patience) = patience.filter(|_| deadline <= Some(Instant::now())) {
                return Err(Error::Stalled { doing, seconds: patience.as_secs() }.into());
            }
            let [signalled, echoed, said, erred] = [0, 2, 3, 4].map(|key| set.ready(key).any());
            drop(set);
            let is_new = at_once.take().is_some();
            let (echoed, said, erred) = (echoed || is_new, said || is_new, erred || is_new);
            if said || erred {
                look_at = is_relayed.then(|| Instant::now() + LOOK);
            } else if look_at.is_some_and(|at| Instant::now() >= at) {
                // Nothing came since it ended: nothing will.
                if over.is_some() {
                    break;
                }
                let now = self.look_at(doing, &started.operation)?;
                over = now.filter(Operation::has_ended);
                look_at = Some(Instant::now() + LOOK);
            }
            if signalled {
                if let Some(signal) = signals.take().map_err(broken)? {
                    return Err(Interrupted::Signal(signal));
                }
            }
            if echoed {
                echo.receive(|_| ()).map_err(broken)?;
            }
            if said {
                out.receive(|data| {
                    count += data.len();
                    lines.extend_from_slice(data);
                })
                .map_err(broken)?;
                take_lines(&mut lines, line);
                if lines.len() > MOST_LINE || count > MOST_OUTPUT {
                    let what = "what the agent says has no end".to_owned();
                    return Err(Error::Malformed { doing, what }.into());
                }
            }
            if erred {
                err.receive(|data| {
                    let room = MOST_STDERR - stderr.len();
                    stderr.extend_from_slice(&data[..data.len().min(room)]);
                })
                .map_err(broken)?;
            }
        }
        if !lines.is_empty() {
            line(&lines);
        }
        let operation = match over {
            Some(operation) => operation,
            None => self.wait(doing, &started.operation, PATIENCE)?,
        };
        Ok(Ended { status: operation.exit_status(), stderr })
    }
}

fn take_lines(buffer: &mut Vec<u8>, line: &mut dyn FnMut(&[u8])) {
    let mut from = 0;
    while let Some(length) = buffer[from..].iter().position(|byte| *byte == b'\n') {
        line(&buffer[from..from + length]);
        from += length + 1;
    }
    buffer.drain(..from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incus::socket::Daemon;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// Answers one request; everything of a stream comes along with the answer to its upgrade, and the
    /// connection is left open, as by incus-user.
    fn answer(connection: &mut UnixStream) {
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let count = connection.read(&mut chunk).expect("a request");
            request.extend_from_slice(&chunk[..count]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let json = |body: &str| {
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        };
        let answer = if request.starts_with("POST") {
            json(
                r#"{"type":"async","operation":"/1.0/operations/a","metadata":{"status_code":103,"metadata":{"fds":{"0":"0","1":"1","2":"2"}}}}"#,
            )
        } else if request.contains("/websocket") {
            let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let key = tungstenite::handshake::derive_accept_key(key.expect("a key").as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
            );
            let said: &[u8] =
                if request.contains("secret=1") { b"\x82\x03hi\n\x81\0" } else { b"\x81\0" };
            [head.as_bytes(), said].concat()
        } else {
            json(r#"{"type":"sync","metadata":{"status_code":200,"metadata":{"return":0}}}"#)
        };
        connection.write_all(&answer).expect("an answer");
    }

    #[test]
    fn what_came_along_with_the_answer_to_an_upgrade_is_not_waited_for() {
        let name = format!("incusbox-helper-{}.socket", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).expect("a socket");
        // Two requests on the first connection, then a connection for each stream.
        let server = std::thread::spawn(move || {
            let mut open: Vec<UnixStream> = Vec::new();
            for _ in 0..4 {
                let (mut connection, _) = listener.accept().expect("a client");
                answer(&mut connection);
                open.push(connection);
            }
            answer(&mut open[0]);
        });
        let daemon = Daemon { socket: socket.clone(), restricted: false };
        let mut client = Client::over(daemon.connect().expect("a connection"));
        client.daemon = daemon;
        let mut signals = Signals::catch(&[]).expect("signals");
        let mut said = Vec::new();
        let mut line = |line: &[u8]| said.push(line.to_vec());
        let patience = Some(Duration::from_secs(10));
        let ended = client.run_helper("a", &["x"], b"", patience, &mut signals, &mut line);
        assert_eq!(ended.expect("an end").status, Some(0));
        assert_eq!(said, [b"hi"]);
        server.join().expect("a server");
        let _left_in_tmp = std::fs::remove_file(socket);
    }

    #[test]
    fn whole_lines_are_handed_on_and_the_rest_waits() {
        let mut seen = Vec::new();
        let mut buffer = b"one\n\ntwo\nthr".to_vec();
        take_lines(&mut buffer, &mut |line| seen.push(line.to_vec()));
        assert_eq!(seen, [&b"one"[..], b"", b"two"]);
        assert_eq!(buffer, b"thr");
    }
}
