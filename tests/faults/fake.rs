//! A fake daemon: a unix socket that speaks as much of Incus's API as `incusbox-run` uses, and as
//! wrongly as its [`Script`] says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;

use crate::directory::Directory;
use crate::script::{Act, Do, Script};
use crate::wire;

/// Nothing waits longer than this for something that a client should have done.
const LONGEST: Duration = Duration::from_secs(120);

/// A fake daemon; gone when dropped.
pub struct Fake {
    shared: Arc<Shared>,
    _directory: Directory,
}

struct Shared {
    script: Script,
    socket: PathBuf,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// The kind of each request.
    asked: Vec<String>,
    /// The streams that are connected.
    connected: Vec<String>,
    /// How many bytes of a flood the client took.
    flooded: usize,
    open: Vec<UnixStream>,
    operation_ended: bool,
    listens: bool,
    dying: bool,
}

struct Request {
    method: String,
    target: String,
    key: Option<String>,
}

impl Fake {
    /// Starts one.
    pub fn new(script: Script) -> Fake {
        let directory = Directory::new();
        let socket = directory.path.join("unix.socket");
        let listener = UnixListener::bind(&socket).expect("binding a socket");
        let state = Mutex::new(State { listens: true, ..State::default() });
        let shared = Arc::new(Shared { script, socket, state, news: Condvar::new() });
        let server = Arc::clone(&shared);
        thread::spawn(move || server.listen(listener));
        Fake { shared, _directory: directory }
    }

    /// Its socket.
    pub fn socket(&self) -> &PathBuf {
        &self.shared.socket
    }

    /// How many requests of a kind came.
    pub fn count(&self, kind: &str) -> usize {
        self.shared.count(kind)
    }

    /// The kinds of all requests.
    pub fn asked(&self) -> Vec<String> {
        self.shared.state().asked.clone()
    }

    /// How many bytes of floods the client took.
    pub fn flooded(&self) -> usize {
        self.shared.state().flooded
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.die();
    }
}

/// What a request is about: `exec`, `wait`, `operation`, `instance`, `instances`, `state`,
/// `METHOD files`, `stream NAME`.
fn kind(request: &Request) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
    match parts[..] {
        ["instances", _, "files"] => format!("{} files", request.method),
        ["instances", _, what @ ("exec" | "state")] => what.to_owned(),
        ["instances", _] => "instance".to_owned(),
        ["instances"] => "instances".to_owned(),
        ["operations", _, "wait"] => "wait".to_owned(),
        ["operations", _, "websocket"] => {
            let secret = query.split('&').find_map(|part| part.strip_prefix("secret=secret-"));
            format!("stream {}", secret.unwrap_or_default())
        }
        ["operations", _] => "operation".to_owned(),
        _ => path.to_owned(),
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked")
    }

    fn count(&self, kind: &str) -> usize {
        self.state().asked.iter().filter(|asked| *asked == kind).count()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.news.notify_all();
    }

    /// Waits for a state; an error when the daemon goes first.
    fn await_state(&self, reached: impl Fn(&State) -> bool) -> io::Result<()> {
        let state = self.state();
        let waits = |state: &mut State| !reached(state) && !state.dying;
        let (state, _) =
            self.news.wait_timeout_while(state, LONGEST, waits).expect("no thread panicked");
        if reached(&state) { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }

    fn listen(self: Arc<Shared>, listener: UnixListener) {
        for stream in listener.incoming() {
            let mut state = self.state();
            let (Ok(stream), false) = (stream, state.dying) else { break };
            state.open.push(stream.try_clone().expect("a descriptor"));
            drop(state);
            let shared = Arc::clone(&self);
            thread::spawn(move || {
                let _client_or_daemon_left = shared.serve(stream);
            });
        }
        drop(listener);
        self.change(|state| state.listens = false);
    }

    fn die(&self) {
        self.change(|state| state.dying = true);
        // Wakes the listener.
        drop(UnixStream::connect(&self.socket));
        let state = self.state();
        let waits = |state: &mut State| state.listens;
        let waited = self.news.wait_timeout_while(state, LONGEST, waits);
        drop(waited.expect("no thread panicked"));
        self.drop_connections();
    }

    fn drop_connections(&self) {
        for stream in self.state().open.drain(..) {
            let _gone_already = stream.shutdown(Shutdown::Both);
        }
    }

    /// Serves a connection to its end.
    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        if let Some(act) = self.script.acts.get("connect") {
            return self.act(act, b"", &mut stream);
        }
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = read_request(&mut reader)? {
            let kind = kind(&request);
            self.change(|state| state.asked.push(kind.clone()));
            let act = match self.script.acts.get(&kind) {
                Some(Act::Then(first, act, _)) if self.count(&kind) <= *first => Some(&**act),
                Some(Act::Then(_, _, act)) => Some(&**act),
                act => act,
            };
            if let (Some(name), None) = (kind.strip_prefix("stream "), act) {
                let key = derive_accept_key(request.key.unwrap_or_default().as_bytes());
                stream.write_all(format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n").as_bytes())?;
                return self.serve_stream(name, stream, reader);
            }
            let usual = |shared: &Shared| shared.usual(&request.method, &kind);
            match act {
                None => stream.write_all(&usual(self)?)?,
                // An answer to HEAD has no body, whatever its length says.
                Some(Act::Answer(status, body)) if request.method == "HEAD" => {
                    let answer = wire::answer(*status, body);
                    let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
                    stream.write_all(&answer[..head.expect("an end of the head") + 4])?;
                }
                Some(act @ (Act::Late(_) | Act::Dripping | Act::Answer(..))) => {
                    self.act(act, &usual(self)?, &mut stream)?;
                }
                Some(act) => return self.act(act, b"", &mut stream),
            }
        }
        Ok(())
    }

    fn act(&self, act: &Act, usual: &[u8], stream: &mut UnixStream) -> io::Result<()> {
        match act {
            Act::Answer(status, body) => stream.write_all(&wire::answer(*status, body)),
            Act::Late(time) => {
                thread::sleep(*time);
                stream.write_all(usual)
            }
            Act::Dripping => usual.chunks(1).try_for_each(|byte| {
                thread::sleep(Duration::from_millis(1));
                stream.write_all(byte)
            }),
            Act::Bytes(bytes) => {
                stream.write_all(bytes)?;
                stream.shutdown(Shutdown::Both)
            }
            Act::BytesThenSilence(bytes) => {
                stream.write_all(bytes)?;
                self.await_state(|_| false)
            }
            Act::Flood(first, again) => {
                stream.write_all(first)?;
                self.flood(stream, again)
            }
            Act::Silence => self.await_state(|_| false),
            Act::Then(..) => unreachable!("one of its acts was chosen"),
        }
    }

    fn flood(&self, stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
        loop {
            stream.write_all(bytes)?;
            self.change(|state| state.flooded += bytes.len());
        }
    }

    /// What a healthy daemon answers.
    fn usual(&self, method: &str, kind: &str) -> io::Result<Vec<u8>> {
        let sync = |metadata: &Value| {
            wire::answer(200, &json!({"type": "sync", "status_code": 200, "metadata": metadata}))
        };
        let code = &self.script.end["status_code"];
        Ok(match kind {
            "exec" | "state" => {
                let secret = |name: &str| (name.to_owned(), json!(format!("secret-{name}")));
                let fds: serde_json::Map<String, Value> =
                    ["0", "1", "2", "control"].map(secret).into_iter().collect();
                let operation = json!({"id": "op-1", "status_code": 103, "metadata": {"fds": fds}});
                let body = json!({"type": "async", "status_code": 100, "operation": "/1.0/operations/op-1", "metadata": operation});
                wire::answer(202, &body)
            }
            "wait" => {
                self.await_state(|state| state.operation_ended)?;
                match code.as_u64() {
                    Some(200) => sync(&self.script.end),
                    _ => {
                        let text = self.script.end["err"].as_str().unwrap_or_default();
                        wire::answer(400, &wire::refusal(400, text))
                    }
                }
            }
            "operation" => sync(&self.script.end),
            "instance" => sync(&json!({
                "name": "dev", "status": self.script.status,
                "config": {"user.incusbox.box": "true"},
            })),
            "instances" => sync(&json!(["/1.0/instances/dev", "/1.0/instances/devel?project=x"])),
            "POST files" => sync(&Value::Null),
            // An answer to HEAD has no body.
            _ if method == "HEAD" => b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(),
            _ => wire::answer(404, &wire::refusal(404, "Not Found")),
        })
    }

    /// Takes the steps of a stream's script, then keeps it open.
    fn serve_stream(
        &self,
        name: &str,
        mut stream: UnixStream,
        mut reader: BufReader<UnixStream>,
    ) -> io::Result<()> {
        self.change(|state| state.connected.push(name.to_owned()));
        let all = self.script.streams();
        self.await_state(|state| all.iter().all(|one| state.connected.iter().any(|c| c == one)))?;
        let steps = self.script.steps.get(name).cloned().unwrap_or_default();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut chunk = vec![0; 64 << 10];
                while let Ok(1..) = reader.read(&mut chunk) {}
            });
            let result = steps.iter().try_for_each(|step| self.step(step, &mut stream));
            if result.is_ok() {
                let _until_the_end = self.await_state(|_| false);
            }
            let _gone_already = stream.shutdown(Shutdown::Both);
            result
        })
    }

    fn step(&self, step: &Do, stream: &mut UnixStream) -> io::Result<()> {
        match step {
            Do::Send(bytes) => stream.write_all(bytes)?,
            Do::Flood(bytes) => self.flood(stream, bytes)?,
            Do::Pause(time) => thread::sleep(*time),
            Do::PingForEver => loop {
                stream.write_all(&wire::ping())?;
                thread::sleep(Duration::from_secs(10));
            },
            Do::End => {
                stream.write_all(&wire::end())?;
                stream.shutdown(Shutdown::Write)?;
            }
            Do::Close => stream.shutdown(Shutdown::Both)?,
            Do::OperationEnds => self.change(|state| state.operation_ended = true),
            Do::Restart => self.drop_connections(),
            Do::Die => self.die(),
        }
        Ok(())
    }
}

/// Reads a request; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let pairs = head.iter().filter_map(|line| line.split_once(": "));
        pairs.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    };
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let key = header("sec-websocket-key").map(str::to_owned);
    let mut words = head.first().map(String::as_str).unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    Ok(Some(Request { method: word(), target: word(), key }))
}
