//! Runs without a terminal: given descriptors in, exact results out, every wait bounded.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::outcome::{End, Outcome, shown};
use super::ways::{Way, home};

/// The longest that a run may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long output may follow the end. Something in the background may hold the pipes for longer.
const AFTER_END: Duration = Duration::from_secs(5);

/// What stdin is.
#[derive(Clone, Debug)]
pub enum Input {
    /// /dev/null.
    Null,
    /// A pipe with this in it, then its end.
    Bytes(Vec<u8>),
    /// A pipe with this in it that stays open.
    Open(Vec<u8>),
    /// A socket with this in it, then its end.
    Socket(Vec<u8>),
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// Variables to set for it, besides those of the tests.
    pub variables: Vec<(OsString, OsString)>,
    /// Where.
    pub directory: PathBuf,
    /// The longest that it may take.
    pub patience: Duration,
}

/// The words of a command line.
pub fn words<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Vec<OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}

impl Invocation {
    /// These words in the user's home.
    pub fn new<W: AsRef<OsStr>>(program_and_arguments: impl IntoIterator<Item = W>) -> Invocation {
        let words = words(program_and_arguments);
        let variables = vec![("TERM".into(), "dumb".into())];
        Invocation { words, variables, directory: home(), patience: PATIENCE }
    }

    /// A command by one of the ways.
    pub fn by<W: AsRef<OsStr>>(way: Way, command: impl IntoIterator<Item = W>) -> Invocation {
        let mut all = way.prefix(&[]);
        all.extend(words(command));
        Invocation::new(all)
    }

    /// A script of the host's bash, in which `"$@"` stands for the way.
    pub fn script(way: Way, text: &str) -> Invocation {
        let mut all = words(["bash", "-c", text, "script"]);
        all.extend(way.prefix(&[]));
        Invocation::new(all)
    }

    /// `incusbox-run` with these arguments.
    pub fn program<W: AsRef<OsStr>>(arguments: impl IntoIterator<Item = W>) -> Invocation {
        let mut all = vec![super::ways::program().to_owned()];
        all.extend(words(arguments));
        Invocation::new(all)
    }

    /// With a variable.
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Invocation {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// With more time.
    pub fn patience(mut self, seconds: u64) -> Invocation {
        self.patience = Duration::from_secs(seconds);
        self
    }

    /// In another directory.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Invocation {
        self.directory = directory.into();
        self
    }

    /// The words as one could type them.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for word in &self.words {
            let word = word.as_encoded_bytes();
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=./,:+@%".contains(byte);
            text += &if !word.is_empty() && word.iter().all(plain) {
                format!("{} ", String::from_utf8_lossy(word))
            } else {
                format!("{} ", shown(word, 0))
            };
        }
        text
    }

    /// The command to spawn.
    pub fn command(&self, before: &[&str]) -> Command {
        let mut words =
            before.iter().map(OsStr::new).chain(self.words.iter().map(OsString::as_ref));
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).current_dir(&self.directory);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end with an empty stdin.
    pub fn run(&self) -> Outcome {
        self.run_with(Input::Null)
    }

    /// Runs it to its end.
    pub fn run_with(&self, input: Input) -> Outcome {
        self.start(input).end()
    }

    /// Starts it, stdout and stderr being pipes; sockets where stdin is one.
    pub fn start(&self, input: Input) -> Running {
        let mut command = self.command(&[]);
        // A group of its own, so that a script that hangs can be ended with all that it runs.
        command.process_group(0);
        let is_socket = matches!(input, Input::Socket(_));
        let mut held = None;
        match input {
            Input::Null => drop(command.stdin(Stdio::null())),
            Input::Bytes(bytes) => drop(command.stdin(filled(pipe(), bytes, false).0)),
            Input::Open(bytes) => {
                let (read, write) = filled(pipe(), bytes, true);
                command.stdin(read);
                held = write;
            }
            Input::Socket(bytes) => drop(command.stdin(filled(UnixStream::pair(), bytes, false).0)),
        }
        let (stdout, write_stdout) = output(is_socket);
        let (stderr, write_stderr) = output(is_socket);
        command.stdout(write_stdout).stderr(write_stderr);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", self.shown()));
        // With the command go our copies of the ends that the child has.
        drop(command);
        Running {
            shown: self.shown(),
            patience: self.patience,
            child,
            _held: held,
            stdout: Collected::new(stdout),
            stderr: Collected::new(stderr),
        }
    }
}

/// The read end of a pair that a thread fills; the write end too, if it shall stay open.
fn filled<R: Into<OwnedFd>, W: Into<OwnedFd>>(
    pair: Result<(R, W), impl std::fmt::Debug>,
    bytes: Vec<u8>,
    stays_open: bool,
) -> (OwnedFd, Option<OwnedFd>) {
    let (read, write) = pair.expect("a pair of descriptors");
    let write: OwnedFd = write.into();
    let held = stays_open.then(|| write.try_clone().expect("a duplicate"));
    std::thread::spawn(move || {
        let _reader_has_had_enough = std::fs::File::from(write).write_all(&bytes);
    });
    (read.into(), held)
}

fn pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
}

fn output(is_socket: bool) -> (OwnedFd, OwnedFd) {
    if is_socket {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        return (ours.into(), theirs.into());
    }
    pipe().expect("a pipe")
}

/// Output that a thread reads.
struct Collected {
    bytes: Vec<u8>,
    is_over: bool,
    from: Receiver<Vec<u8>>,
}

impl Collected {
    fn new(fd: OwnedFd) -> Collected {
        let (to, from) = channel();
        let mut file = std::fs::File::from(fd);
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(count @ 1..) = file.read(&mut chunk) {
                if to.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Collected { bytes: Vec::new(), is_over: false, from }
    }

    /// Takes what came until `deadline`, or until the end; stops early when `enough`.
    fn take(&mut self, deadline: Instant, enough: impl Fn(&[u8]) -> bool) {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        while !self.is_over && !enough(&self.bytes) {
            match self.from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.bytes.extend(bytes),
                Err(Disconnected) => self.is_over = true,
                Err(Timeout) => return,
            }
        }
    }
}

/// A run that goes on.
pub struct Running {
    shown: String,
    patience: Duration,
    child: Child,
    /// The write end of a stdin that stays open.
    _held: Option<OwnedFd>,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits until stdout has `text` in it.
    pub fn wait_for(&mut self, text: &str) {
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        self.stdout.take(Instant::now() + self.patience, has);
        if !has(&self.stdout.bytes) {
            let stderr = self.stderr_so_far();
            panic!(
                "{}\n  waited in vain for {text:?} on stdout: {}\n  stderr: {}",
                self.shown,
                shown(&self.stdout.bytes, 0),
                shown(&stderr, 0)
            );
        }
    }

    fn stderr_so_far(&mut self) -> Vec<u8> {
        self.stderr.take(Instant::now(), |_| false);
        self.stderr.bytes.clone()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for the process to end; its output may still be on the way.
    pub fn wait(&mut self) -> End {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status.into();
            }
            if began.elapsed() > self.patience {
                let errors = self.stderr_so_far();
                self.stdout.take(Instant::now(), |_| false);
                panic!(
                    "{}\n  did not end in {:?}\n  stdout: {}\n  stderr: {}",
                    self.shown,
                    self.patience,
                    shown(&self.stdout.bytes, 0),
                    shown(&errors, 0)
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end.
    pub fn end(mut self) -> Outcome {
        // Large outputs first, so that the queue does not grow.
        self.stdout.take(Instant::now() + self.patience, |_| false);
        let end = self.wait();
        for output in [&mut self.stdout, &mut self.stderr] {
            output.take(Instant::now() + AFTER_END, |_| false);
        }
        let take = |output: &mut Collected| std::mem::take(&mut output.bytes);
        Outcome { end, stdout: take(&mut self.stdout), stderr: take(&mut self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Ok(None), Some(group)) = (self.child.try_wait(), Pid::from_raw(self.pid())) {
            let _has_ended = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _was_waited_for = self.child.wait();
    }
}
