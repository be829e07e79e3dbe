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
        let doing = "connecting the command's streams";
        let deadline = Instant::now() + PATIENCE;
        let mut opened = Vec::with_capacity(N);
        for name in names {
            let secret =
                started.secrets.get(name).ok_or_else(|| missing(doing, "a websocket secret"))?;
            let query = format!("secret={}", percent_encode(secret));
            let target = self.target(&format!("{}/websocket", started.operation), &query);
            let mut socket = self.daemon.connect().map_err(|source| broken(doing, source))?;
            let (request, key) = websocket::upgrade(&target);
            write_all(&mut socket, &request).map_err(|source| broken(doing, source))?;
            let is_relayed = self.daemon.restricted;
            opened.push((Stream { socket, rest: Vec::new(), is_relayed }, key));
        }
        for (Stream { socket, rest, .. }, key) in &mut opened {
            await_grant(socket, rest, key, doing, deadline)?;
        }
        let streams: Vec<Stream> = opened.into_iter().map(|(stream, _)| stream).collect();
        streams.try_into().map_err(|_| missing(doing, "a websocket"))
    }
}
