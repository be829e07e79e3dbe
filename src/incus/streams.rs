//! The websockets of a command: a connection for each.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::client::{Client, PATIENCE, Started, decode, missing, percent_encode};
use super::error::Error;
use super::http::Body;
use super::websocket;
use super::wire::{broken, read_response, write_all};

/// A websocket that is open: the connection, and what was read behind the handshake.
#[derive(Debug)]
pub struct Stream {
    /// The connection.
    pub socket: UnixStream,
    /// Bytes behind the handshake's answer.
    pub rest: Vec<u8>,
    /// Whether incus-user stands between, as for users of the restricted socket. It does not pass on
    /// that the daemon closed, before something is sent to the daemon that does not arrive; and then
    /// it passes on nothing more of what the daemon sent before.
    ///
    /// Source: lxc/incus 6.0.4 and 7.0.1, `cmd/incus-user/proxy.go`, `proxyConnection`.
    pub is_relayed: bool,
}

/// Reads the answer to an upgrade; what follows it stays in `rest`.
pub(super) fn await_grant(
    socket: &mut UnixStream,
    rest: &mut Vec<u8>,
    key: &str,
    doing: &'static str,
    deadline: Instant,
) -> Result<(), Error> {
    let response = read_response(socket, rest, Body::Expected, doing, deadline)?;
    if websocket::is_granted(&response, key) {
        return Ok(());
    }
    Err(match decode::<serde_json::Value>(doing, &response) {
        Err(error @ Error::Refused { .. }) => error,
        _ => Error::Malformed { doing, what: "it did not open a websocket".to_owned() },
    })
}

/// Websockets that were asked for, each with the key that its answer is known by.
#[derive(Debug)]
pub struct Asked<const N: usize>([(Stream, String); N]);

const DOING: &str = "connecting the command's streams";
/// Source: lxc/incus 6.0.4 and 7.0.1, `internal/server/operations/operations.go`, `Connect`.
const HAS_ENDED: &str = "Only running operations can be connected";

impl Client {
    /// Opens the websockets `names` of a command, all at once.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn open_streams<const N: usize>(
        &self,
        started: &Started,
        names: [&str; N],
    ) -> Result<[Stream; N], Error> {
        self.ask_for_streams(started, names)?.granted()
    }

    /// Asks for the websockets `names` of a command, all at once.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn ask_for_streams<const N: usize>(
        &self,
        started: &Started,
        names: [&str; N],
    ) -> Result<Asked<N>, Error> {
        let mut asked = Vec::with_capacity(N);
        for name in names {
            let secret =
                started.secrets.get(name).ok_or_else(|| missing(DOING, "a websocket secret"))?;
            let query = format!("secret={}", percent_encode(secret));
            let target = self.target(&format!("{}/websocket", started.operation), &query);
            let mut socket = self.daemon.connect().map_err(|source| broken(DOING, source))?;
            let (request, key) = websocket::upgrade(&target);
            write_all(&mut socket, &request).map_err(|source| broken(DOING, source))?;
            let is_relayed = self.daemon.restricted;
            asked.push((Stream { socket, rest: Vec::new(), is_relayed }, key));
        }
        asked.try_into().map(Asked).map_err(|_| missing(DOING, "a websocket"))
    }
}

impl<const N: usize> Asked<N> {
    /// Waits until all are open. One that came after the command's end reads as closed: a command
    /// begins without its stream of control messages, and Incus opens none when it has ended.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn granted(mut self) -> Result<[Stream; N], Error> {
        let deadline = Instant::now() + PATIENCE;
        for (stream, key) in &mut self.0 {
            let Stream { socket, rest, .. } = stream;
            match await_grant(socket, rest, key, DOING, deadline) {
                Err(error) if error.text() == Some(HAS_ENDED) => stream.close()?,
                result => result?,
            }
        }
        Ok(self.0.map(|(stream, _)| stream))
    }
}

impl Stream {
    fn close(&mut self) -> Result<(), Error> {
        let (end, _closed) = UnixStream::pair().map_err(|source| broken(DOING, source))?;
        end.set_nonblocking(true).map_err(|source| broken(DOING, source))?;
        self.socket = end;
        Ok(())
    }
}
