//! Running `incusbox`, and boxes that go away.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest that anything may take, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(180);

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Asserts success.
    #[track_caller]
    pub fn succeeds(self) -> Outcome {
        assert_eq!(self.status, Some(0), "{self:#?}");
        self
    }

    /// Asserts a failure with this status whose message has all of `words`.
    #[track_caller]
    pub fn fails(self, status: i32, words: &[&str]) -> Outcome {
        assert_eq!(self.status, Some(status), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in {self:#?}");
        }
        assert!(self.stderr.lines().all(|line| line.starts_with("incusbox")), "{self:#?}");
        self
    }
}

/// A variable that `make test` sets.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by `make test`"))
}

/// The image that boxes are made from.
pub fn image() -> String {
    variable("IBX_IMAGE")
}

/// The user's home.
pub fn home() -> PathBuf {
    variable("HOME").into()
}

/// A program that is installed beside `incusbox-run`.
pub fn program(name: &str) -> PathBuf {
    Path::new(&variable("IBX_BIN")).with_file_name(name)
}

/// `incusbox` with these words.
pub fn incusbox(words: &[&str]) -> Outcome {
    run(command("incusbox", words))
}

/// A program of ours, not started yet, without a terminal anywhere.
pub fn command(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program(name));
    command.args(words).stdin(Stdio::null()).current_dir(home());
    command
}

/// `incus` with these words.
pub fn incus(words: &[&str]) -> Outcome {
    let mut command = Command::new("incus");
    command.args(words).stdin(Stdio::null());
    run(command)
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Outcome {
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    finish(&command, started.unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// Waits for what was started with pipes as stdout and stderr. One that does not end fails
/// the test, with all that can be known of it.
pub fn finish(command: &Command, mut child: Child) -> Outcome {
    let out = Reader::of(child.stdout.take().expect("a pipe"));
    let err = Reader::of(child.stderr.take().expect("a pipe"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > deadline {
            let processes = Command::new("ps").args(PROCESSES).output().expect("ps");
            child.kill().expect("a child can be killed");
            panic!(
                "{command:?}\ndid not end within {PATIENCE:?}\nstdout: {}\nstderr: {}\n{}",
                out.so_far(),
                err.so_far(),
                String::from_utf8_lossy(&processes.stdout)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Outcome { status: status.code(), stdout: out.all(), stderr: err.all() }
}

/// Those of hosts in boxes too, and what they wait for.
const PROCESSES: [&str; 4] = ["-ww", "--forest", "-eo", "pid,user:12,stat,etimes,wchan:20,args"];

/// What comes through a pipe, read by a thread of its own.
struct Reader {
    text: Arc<Mutex<Vec<u8>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Reader {
    fn of(mut pipe: impl Read + Send + 'static) -> Reader {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut part = [0; 8192];
            loop {
                match pipe.read(&mut part).expect("a pipe can be read") {
                    0 => break,
                    count => shared.lock().expect("a lock").extend_from_slice(&part[..count]),
                }
            }
        });
        Reader { text, thread }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("a lock")).into_owned()
    }

    fn all(self) -> String {
        let Reader { text, thread } = self;
        thread.join().expect("a reader");
        let text = text.lock().expect("a lock");
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// A box of a name of its own, removed at the end, whoever made it.
pub struct Name(String);

impl Name {
    pub fn new(what: &str) -> Name {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        Name(format!("{}-{what}{unique}", variable("IBX_BOX")))
    }

    /// Makes the box from the test bed's image.
    pub fn create(what: &str, words: &[&str]) -> Name {
        let name = Name::new(what);
        incusbox(&[&["create", &name, "--image", &image()], words].concat()).succeeds();
        name
    }

    /// Runs a shell script in the box as the user.
    pub fn sh(&self, script: &str) -> Outcome {
        run(command("incusbox-run", &[self, "--", "sh", "-c", script]))
    }

    /// Runs a shell script in the box as root. (On a busy machine `incus exec` may lose the output.)
    pub fn root(&self, script: &str) -> Outcome {
        let words = ["--root", "--cwd", "/", self, "--", "sh", "-c", script];
        run(command("incusbox-run", &words))
    }

    /// Whether packages can be had in the box; that they cannot is said. It is a failure where the
    /// machine itself reaches the place that they come from.
    pub fn reaches_packages(&self) -> bool {
        let told = self.root("apt-get update --quiet=2");
        if told.status == Some(0) {
            return true;
        }
        let source = self
            .root("sed -n 's|.*http://\\([^/ ]*\\)/.*|\\1|p' /etc/apt/sources.list | head -n 1");
        let source = source.succeeds().stdout.trim().to_owned();
        let place = if source.contains(':') { source } else { format!("{source}:80") };
        assert!(TcpStream::connect(&place).is_err(), "{place} answers the host: {told:#?}");
        eprintln!("not tested: boxes of this machine reach no packages, nor does it");
        false
    }

    /// Whether there is an instance of this name.
    pub fn exists(&self) -> bool {
        let listed = incus(&["list", "--format", "csv", "--columns", "n"]).succeeds();
        listed.stdout.lines().any(|line| line == self.0)
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.exists() {
            let _said_by_incus = incus(&["delete", "--force", &self.0]);
        }
    }
}

/// A directory that goes away.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(what: &str) -> Scratch {
        let path = home().join(format!(".boxes-{}-{what}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _is_left = std::fs::remove_dir_all(&self.0);
    }
}
