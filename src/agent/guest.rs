//! The socket that Incus gives every instance, by which it can say of itself that it is ready. Whoever
//! follows what happens to instances is told.
//!
//! One connection is kept for all: where such connections come and go, Incus 6.0.4 reads a map that
//! it writes at that moment (`pidMapper`, mended in 7), and the Go runtime ends the daemon.
//!
//! Source: lxc/incus 6.0.4, `doc/dev-incus.md`, `cmd/incusd/dev_incus.go`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::incus::http::{self, Body, Response};

const SOCKET: &str = "/dev/incus/sock";
/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than this is no answer, in bytes.
const MOST: usize = 64 << 10;

/// Whether the box has the socket.
pub fn is_there() -> bool {
    std::path::Path::new(SOCKET).exists()
}

/// The way to the daemon.
#[derive(Default)]
pub struct Guest(Option<UnixStream>);

impl Guest {
    /// Has the host be told `instance-ready`, without changing whether the box is.
    ///
    /// # Errors
    /// When the daemon does not answer, or does not allow it.
    pub fn announce(&mut self) -> io::Result<()> {
        // A daemon that was restarted, or that closes what is idle, has ended the connection.
        let state = match self.ask("GET", "") {
            Err(_) => self.ask("GET", "")?,
            Ok(state) => state,
        };
        let was_ready = String::from_utf8_lossy(&state.body).contains("\"Ready\"");
        self.ask("PATCH", r#"{"state":"Ready"}"#)?;
        if !was_ready {
            self.ask("PATCH", r#"{"state":"Started"}"#)?;
        }
        Ok(())
    }

    fn ask(&mut self, method: &str, body: &str) -> io::Result<Response> {
        let mut socket = match self.0.take() {
            Some(socket) => socket,
            None => UnixStream::connect(SOCKET)?,
        };
        let answer = talk(&mut socket, method, body)?;
        // One that was refused can be used again, one in the middle of something cannot.
        self.0 = Some(socket);
        let refused = |kind, what: String| Err(io::Error::new(kind, what));
        match answer.status {
            200 => Ok(answer),
            403 => refused(io::ErrorKind::PermissionDenied, "security.guestapi is off".to_owned()),
            status => refused(io::ErrorKind::InvalidData, format!("status {status}")),
        }
    }
}

fn talk(socket: &mut UnixStream, method: &str, body: &str) -> io::Result<Response> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let headers = [("Content-Type", "application/json")];
    socket.write_all(&http::request(method, "/1.0", &headers, body.as_bytes()))?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let parsed = http::parse(&answer, Body::Expected).map_err(|error| malformed(error.0))?;
        if let Some((response, _)) = parsed {
            return Ok(response);
        }
        match socket.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&chunk[..count]),
        }
        if answer.len() > MOST {
            return Err(malformed("its answer has no end"));
        }
    }
}
