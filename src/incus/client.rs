//! Requests to the daemon: one kept connection, and a connection for each websocket.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::error::Error;
use super::http::{self, Body, Response};
use super::socket::{self, Daemon};
use super::types::{Envelope, Exec, Operation};
use super::wire::{broken, has_news, is_over, read_response, write_all};

/// How long an answer may take. Incus answers in milliseconds; a loaded machine, or a daemon that
/// is just starting, may need many seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Incus ends a connection that was silent for 30 s.
const SILENCE: Duration = Duration::from_secs(28);

/// A connection to the daemon, in one project.
#[derive(Debug)]
pub struct Client {
    pub(super) daemon: Daemon,
    project: Option<String>,
    pub(super) stream: UnixStream,
    /// Bytes that arrived and are not used yet.
    inbox: Vec<u8>,
    /// How many requests have no answer yet; `None` before the first request.
    awaited: Option<usize>,
    /// When a request was sent or an answer came.
    used: Instant,
}

/// A command that Incus was asked to run.
#[derive(Debug)]
pub struct Started {
    /// The path of the operation, `/1.0/operations/UUID`.
    pub operation: String,
    /// The secrets of its websockets.
    pub secrets: std::collections::BTreeMap<String, String>,
}

impl Client {
    /// Finds the daemon and connects to it. `project` is what the user named; else the socket may
    /// imply one.
    ///
    /// # Errors
    /// See [`socket::find`].
    pub fn connect(project: Option<String>) -> Result<Client, Error> {
        let (daemon, stream) = socket::find()?;
        let project = project.or_else(|| daemon.implied_project());
        Ok(Client {
            daemon,
            project,
            stream,
            inbox: Vec::new(),
            awaited: None,
            used: Instant::now(),
        })
    }

    /// A client on a connection that a test made.
    #[cfg(test)]
    pub(crate) fn over(stream: UnixStream) -> Client {
        let daemon = Daemon { socket: "/nonexistent".into(), restricted: false };
        Client {
            daemon,
            project: None,
            stream,
            inbox: Vec::new(),
            awaited: None,
            used: Instant::now(),
        }
    }

    /// The daemon that this client talks to.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The project's name.
    #[cfg(feature = "cli")]
    pub fn project_name(&self) -> &str {
        self.project().unwrap_or("default")
    }

    /// The project, when it is not the default one.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// A path with `project=` and `query` (already encoded, without `?`) behind it.
    pub fn target(&self, path: &str, query: &str) -> String {
        let mut target = path.to_owned();
        let mut separator = '?';
        if let Some(project) = &self.project {
            target.push_str("?project=");
            target.push_str(&percent_encode(project));
            separator = '&';
        }
        if !query.is_empty() {
            target.push(separator);
            target.push_str(query);
        }
        target
    }

    /// Sends a request without waiting for its answer. Incus closes a connection that was silent for
    /// 30 s, which a question to the user or a command in the box easily is; a new one is opened then.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, doing: &'static str, request: &[u8]) -> Result<(), Error> {
        let is_idle = self.awaited.unwrap_or(0) == 0;
        // incus-user does not pass on that the daemon ended a connection.
        let is_spent = self.daemon.restricted && self.used.elapsed() >= SILENCE;
        let was_ended =
            self.awaited == Some(0) && has_news(&self.stream).map_err(|e| broken(doing, e))?;
        if was_ended || (is_idle && is_spent) {
            self.reconnect()?;
        }
        self.awaited = Some(self.awaited.unwrap_or(0) + 1);
        self.used = Instant::now();
        write_all(&mut self.stream, request).map_err(|source| broken(doing, source))
    }

    /// Whether the daemon ended this connection, and not because it was silent.
    pub fn was_cut(&self) -> bool {
        let is_busy = self.awaited.is_some_and(|count| count > 0) || self.used.elapsed() < SILENCE;
        is_busy && self.inbox.is_empty() && is_over(&self.stream).unwrap_or(true)
    }

    /// Opens a new connection in place of one that is spent.
    ///
    /// # Errors
    /// connect(2)'s.
    pub fn reconnect(&mut self) -> Result<(), Error> {
        let connected = self.daemon.connect();
        self.stream = connected.map_err(|source| broken("connecting again", source))?;
        self.inbox.clear();
        self.awaited = None;
        self.used = Instant::now();
        Ok(())
    }

    /// An operation as it is now, asked over a connection of its own. `None` where the daemon takes its
    /// time for the answer.
    ///
    /// # Errors
    /// Everything else in [`Error`].
    pub fn look_at(
        &self,
        doing: &'static str,
        operation: &str,
    ) -> Result<Option<Operation>, Error> {
        match Client::connect(self.project.clone())?.operation(doing, operation) {
            Err(Error::Stalled { .. }) => Ok(None),
            asked => asked.map(Some),
        }
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// No answer within `patience`, a closed connection, or one that does not speak HTTP.
    pub fn receive(&mut self, doing: &'static str, patience: Duration) -> Result<Response, Error> {
        self.receive_body(Body::Expected, doing, patience)
    }

    /// Waits for the answer to a HEAD request.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn receive_head(&mut self, doing: &'static str) -> Result<Response, Error> {
        self.receive_body(Body::None, doing, PATIENCE)
    }

    fn receive_body(
        &mut self,
        body: Body,
        doing: &'static str,
        patience: Duration,
    ) -> Result<Response, Error> {
        let deadline = Instant::now() + patience;
        let answer = read_response(&mut self.stream, &mut self.inbox, body, doing, deadline)?;
        self.awaited = self.awaited.map(|count| count.saturating_sub(1));
        self.used = Instant::now();
        Ok(answer)
    }

    /// Takes the answer that was asked for with [`Client::send`] if it has arrived; for use with
    /// [`AsFd`] in a poll set.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn try_receive(&mut self, doing: &'static str) -> Result<Option<Response>, Error> {
        match self.receive(doing, Duration::ZERO) {
            Ok(response) => Ok(Some(response)),
            Err(Error::Stalled { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a request and reads what it answers with.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn call<T: DeserializeOwned>(
        &mut self,
        doing: &'static str,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<Envelope<T>, Error> {
        self.call_within(PATIENCE, doing, method, target, body)
    }

    /// [`Client::call`] for what may take its time.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn call_within<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
        doing: &'static str,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<Envelope<T>, Error> {
        self.send(
            doing,
            &http::request(method, target, &[("Content-Type", "application/json")], body),
        )?;
        let response = self.receive(doing, patience)?;
        decode(doing, &response)
    }

    /// Asks for an operation's end without waiting for the answer, which [`Client::ended`] reads.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send_wait(&mut self, doing: &'static str, operation: &str) -> Result<(), Error> {
        let target = self.target(&format!("{}/wait", checked_operation(doing, operation)?), "");
        self.send(doing, &http::request("GET", &target, &[], b""))
    }

    /// Reads the answer to `/wait`: the operation as it ended. For one that failed Incus answers
    /// with its error alone, so the operation is asked about once more.
    ///
    /// # Errors
    /// Everything in [`Error`], but for the operation's own failure.
    pub fn ended(
        &mut self,
        doing: &'static str,
        operation: &str,
        answer: &Response,
    ) -> Result<Operation, Error> {
        let (code, text) = match decode::<Operation>(doing, answer) {
            Ok(envelope) => {
                let told = envelope.metadata.ok_or_else(|| missing(doing, "metadata"))?;
                // One that goes down answers whoever waits, although nothing has ended (Incus 7).
                return if told.has_ended() { Ok(told) } else { Err(Error::Closed { doing }) };
            }
            Err(Error::Refused { code, text, .. }) => (code, text),
            Err(error) => return Err(error),
        };
        // Incus forgets an operation 5 s after its end.
        let forgotten = |_| Operation { status_code: code, err: text, metadata: None };
        Ok(self.operation(doing, operation).unwrap_or_else(forgotten))
    }

    /// An operation as it is now.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn operation(&mut self, doing: &'static str, operation: &str) -> Result<Operation, Error> {
        let target = self.target(checked_operation(doing, operation)?, "");
        let envelope = self.call::<Operation>(doing, "GET", &target, b"")?;
        envelope.metadata.ok_or_else(|| missing(doing, "metadata"))
    }

    /// Waits until an operation ended, however it did.
    ///
    /// # Errors
    /// Everything in [`Error`], but for the operation's own failure.
    pub fn wait(
        &mut self,
        doing: &'static str,
        operation: &str,
        patience: Duration,
    ) -> Result<Operation, Error> {
        self.send_wait(doing, operation)?;
        let answer = self.receive(doing, patience)?;
        self.ended(doing, operation, &answer)
    }

    /// Asks Incus to run a command in the instance `name`.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn exec(&mut self, name: &str, exec: &Exec) -> Result<Started, Error> {
        let doing = "asking it to run a command";
        let body = serde_json::to_vec(exec)
            .map_err(|error| Error::Malformed { doing, what: error.to_string() })?;
        let target = self.target(&format!("/1.0/instances/{name}/exec"), "");
        let envelope: Envelope<Operation> = self.call(doing, "POST", &target, &body)?;
        let operation = checked_operation(doing, &envelope.operation)?.to_owned();
        let metadata = envelope.metadata.and_then(|operation| operation.metadata);
        let secrets = metadata.ok_or_else(|| missing(doing, "websocket secrets"))?.fds;
        Ok(Started { operation, secrets })
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Reads the JSON of an answer; an error that Incus reports becomes [`Error::Refused`].
///
/// # Errors
/// [`Error::Malformed`] and [`Error::Refused`].
pub fn decode<T: DeserializeOwned>(
    doing: &'static str,
    response: &Response,
) -> Result<Envelope<T>, Error> {
    // First without the metadata: an error's is null, or of another shape.
    let bare: Envelope<serde::de::IgnoredAny> =
        serde_json::from_slice(&response.body).map_err(|error| Error::Malformed {
            doing,
            what: format!("its answer is not JSON as expected ({error})"),
        })?;
    if bare.kind == "error" {
        let (code, text) = (bare.error_code, bare.error);
        return Err(Error::Refused { doing, code, text });
    }
    serde_json::from_slice(&response.body).map_err(|error| Error::Malformed {
        doing,
        what: format!("its answer is not as expected ({error})"),
    })
}

pub(super) fn missing(doing: &'static str, what: &str) -> Error {
    Error::Malformed { doing, what: format!("its answer has no {what}") }
}

/// The path of an operation goes into further requests, so it must be one.
fn checked_operation<'a>(doing: &'static str, operation: &'a str) -> Result<&'a str, Error> {
    let id = operation.strip_prefix("/1.0/operations/");
    let id = id.map(|id| id.split('?').next().unwrap_or_default());
    match id {
        Some(id)
            if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
        {
            Ok(&operation[.."/1.0/operations/".len() + id.len()])
        }
        _ => Err(missing(doing, "operation")),
    }
}

/// `text` for use in a query (RFC 3986, 2.3: all but the unreserved characters are encoded).
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Response {
        Response { status: 200, accept: None, etag: None, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn incuss_own_words_are_kept_of_a_refusal() {
        let response = answer(
            r#"{"type":"error","error":"Instance not found","error_code":404,"metadata":null}"#,
        );
        let error = decode::<Operation>("x", &response).expect_err("an error");
        assert_eq!((error.code(), error.text()), (Some(404), Some("Instance not found")));
    }

    #[test]
    fn a_connection_that_the_daemon_closed_in_between_is_opened_anew() {
        use std::io::{Read, Write};
        let name = format!("incusbox-{}.socket", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let daemon = Daemon { socket: socket.clone(), restricted: false };
        let stream = daemon.connect().expect("a connection");
        let mut client = Client { daemon, ..Client::over(stream) };
        let (closed, is_closed) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut connection, _) = listener.accept().expect("a client");
                let _the_request = connection.read(&mut [0; 4096]).expect("a request");
                let body = r#"{"type":"sync","metadata":true}"#;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                connection.write_all((head + body).as_bytes()).expect("an answer");
                drop(connection);
                closed.send(()).expect("a test");
            }
        });
        for _ in 0..2 {
            let answer = client.call::<bool>("asking", "POST", "/1.0", b"").expect("an answer");
            assert_eq!(answer.metadata, Some(true));
            is_closed.recv().expect("a server");
        }
        server.join().expect("a server");
        let _left_in_tmp = std::fs::remove_file(socket);
    }

    #[test]
    fn an_operation_must_be_one() {
        assert_eq!(
            checked_operation("x", "/1.0/operations/ab-1?project=p").expect("one"),
            "/1.0/operations/ab-1"
        );
        for bad in [
            "",
            "/1.0/operations/",
            "/1.0/operations/../x",
            "/1.0/instances/x",
            "/1.0/operations/a b",
        ] {
            assert!(checked_operation("x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_goes_into_a_query_is_encoded() {
        assert_eq!(percent_encode("user-1000"), "user-1000");
        assert_eq!(percent_encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
