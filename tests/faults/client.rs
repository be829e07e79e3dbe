//! Runs `incusbox-run` and looks at everything that a user would: status, stdout, stderr, the time
//! it took, and the state of the terminal.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Termios, tcgetattr};

use crate::fake::Fake;
use crate::script::Way;

/// After this a run counts as hung and is killed.
const HUNG: Duration = Duration::from_secs(90);
/// What a run may take of address space, in bytes: far more than it needs.
const MOST_MEMORY: &str = "--as=536870912";

/// A run to be.
pub struct Client {
    command: Command,
    input: Vec<u8>,
}

/// A run that goes on.
pub struct Running {
    child: Child,
    began: Instant,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    terminal: Option<Pty>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Seen {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    /// The terminal's settings before and after, and whether it was in raw mode between.
    pub terminal: Option<Settings>,
}

#[derive(Debug)]
pub struct Settings {
    before: String,
    after: String,
    was_raw: bool,
}

struct Pty {
    slave: OwnedFd,
    before: String,
    was_raw: bool,
}

/// The path of the program under test.
pub fn program() -> String {
    std::env::var("IBX_BIN").expect("IBX_BIN names incusbox-run")
}

impl Client {
    /// The program with these arguments, and the test bed's daemon.
    pub fn new(arguments: &[&str]) -> Client {
        // Leads its session, and has its stdin, if that is a terminal, as the controlling one.
        let mut command = Command::new("setsid");
        // Memory that grows without end shall end the program and not the machine.
        command
            .args(["prlimit", MOST_MEMORY])
            .arg(program())
            .args(arguments)
            .env("TERM", "xterm")
            .env_remove("INCUS_SOCKET");
        Client { command, input: Vec::new() }
    }

    /// The same with a fake daemon.
    pub fn of(fake: &Fake, arguments: &[&str]) -> Client {
        let mut client = Client::new(arguments).env("INCUS_SOCKET", fake.socket());
        client.command.env_remove("INCUS_DIR").env_remove("INCUS_PROJECT");
        client
    }

    /// With a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Client {
        self.command.env(name, value);
        self
    }

    /// In this directory.
    pub fn within(mut self, directory: &std::path::Path) -> Client {
        self.command.current_dir(directory);
        self
    }

    /// Without a variable.
    pub fn without(mut self, name: &str) -> Client {
        self.command.env_remove(name);
        self
    }

    /// With this on stdin, when that is no terminal.
    pub fn input(mut self, bytes: &[u8]) -> Client {
        self.input = bytes.to_vec();
        self
    }

    /// Runs to the end.
    pub fn run(self, way: Way) -> Seen {
        self.start(way).wait()
    }

    /// Starts it. On a terminal, stderr is a pipe all the same.
    pub fn start(self, way: Way) -> Running {
        self.start_with(way, Stdio::piped())
    }

    /// Runs to the end with all three descriptors on the terminal; its screen is `stdout`.
    pub fn run_all_on_terminal(mut self) -> Seen {
        let mut pty = Pty::open();
        let stderr = pty.1.stdio();
        self.terminal(&pty.1);
        let child = self.command.stderr(stderr).spawn().expect("the program starts");
        let stdout = collect(std::fs::File::from(pty.0));
        pty.1.look();
        let stderr = thread::spawn(Vec::new);
        // What it holds of the terminal would keep that open.
        drop(self.command);
        Running { child, began: Instant::now(), stdout, stderr, terminal: Some(pty.1) }.wait()
    }

    fn terminal(&mut self, pty: &Pty) {
        // The first argument of setsid(1).
        let program = self.command.get_args().map(ToOwned::to_owned).collect::<Vec<_>>();
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(program).stdin(pty.stdio()).stdout(pty.stdio());
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
    }

    fn start_with(mut self, way: Way, stderr: Stdio) -> Running {
        let mut terminal = None;
        let mut master = None;
        match way {
            Way::Pipes => {
                self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
            }
            Way::Terminal => {
                let (m, pty) = Pty::open();
                self.terminal(&pty);
                (master, terminal) = (Some(m), Some(pty));
            }
        }
        let mut child = self.command.stderr(stderr).spawn().expect("the program starts");
        let began = Instant::now();
        drop(self.command);
        if let Some(mut stdin) = child.stdin.take() {
            let input = self.input;
            thread::spawn(move || stdin.write_all(&input));
        }
        let stdout = match master {
            Some(master) => collect(std::fs::File::from(master)),
            None => collect(child.stdout.take().expect("a pipe")),
        };
        let stderr = collect(child.stderr.take().expect("a pipe"));
        Running { child, began, stdout, stderr, terminal }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        // A pty whose last user is gone answers EIO.
        let _until_the_end = from.read_to_end(&mut all);
        all
    })
}

impl Running {
    /// Waits for the end.
    pub fn wait(mut self) -> Seen {
        let status = loop {
            if let Some(terminal) = &mut self.terminal {
                terminal.look();
            }
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            if self.began.elapsed() > HUNG {
                let _ended_just_now = self.child.kill();
                let _reaped = self.child.wait();
                panic!("hung: no end after {} s", HUNG.as_secs());
            }
            thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.began.elapsed();
        let terminal = self.terminal.take().map(Pty::close);
        let text = |thread: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&thread.join().expect("a reader")).into_owned()
        };
        let (stdout, stderr) = (text(self.stdout), text(self.stderr));
        Seen { status, stdout, stderr, elapsed, terminal }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", name, &id]).status();
        assert!(killed.expect("kill").success(), "it has ended already");
    }
}

impl Pty {
    fn open() -> (OwnedFd, Pty) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).expect("a pty");
        rustix::pty::grantpt(&master).expect("a pty");
        rustix::pty::unlockpt(&master).expect("a pty");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("a pty");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).expect("a terminal");
        let before = described(&tcgetattr(&slave).expect("a terminal"));
        (master, Pty { slave, before, was_raw: false })
    }

    fn stdio(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().expect("a descriptor"))
    }

    fn look(&mut self) {
        let now = tcgetattr(&self.slave).expect("a terminal");
        self.was_raw |= !now.local_modes.contains(LocalModes::ICANON);
    }

    fn close(self) -> Settings {
        let after = described(&tcgetattr(&self.slave).expect("a terminal"));
        Settings { before: self.before, after, was_raw: self.was_raw }
    }
}

fn described(termios: &Termios) -> String {
    format!("{termios:?}")
}

impl Seen {
    /// The program itself failed, and said so as it should: this status, within this time, one
    /// clear message with these words, nothing else on stdout, the terminal as it was.
    pub fn assert_failed(&self, within: Duration, status: i32, words: &[&str]) {
        let told = format!("{self:#?}");
        assert_eq!(self.status.code(), Some(status), "{told}");
        assert!(self.elapsed < within, "not within {within:?}: {told}");
        self.assert_message(words);
        self.assert_terminal_restored();
    }

    /// The command ended like this, and the program had nothing to add.
    pub fn assert_ended(&self, within: Duration, status: i32) {
        let told = format!("{self:#?}");
        assert_eq!(self.status.code(), Some(status), "{told}");
        assert!(self.elapsed < within, "not within {within:?}: {told}");
        assert_eq!(self.stderr, "", "{told}");
        self.assert_terminal_restored();
    }

    /// stderr is one message of the program's own, with these words in it.
    pub fn assert_message(&self, words: &[&str]) {
        let told = format!("{self:#?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert!((1..=3).contains(&lines.len()), "one message of few lines: {told}");
        assert_eq!(crate::form::fault(&self.stderr), None, "{told}");
        for line in &lines {
            assert!(!line.contains(|c: char| c.is_control()), "control characters: {told}");
        }
        assert!(!self.stderr.contains("panicked"), "{told}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in: {told}");
        }
    }

    /// The terminal, if there was one, has the settings that it had.
    pub fn assert_terminal_restored(&self) {
        if let Some(Settings { before, after, .. }) = &self.terminal {
            assert_eq!(before, after, "the terminal's settings: {self:#?}");
        }
    }

    /// The terminal was in raw mode meanwhile.
    pub fn assert_was_raw(&self) {
        let was_raw = self.terminal.as_ref().is_some_and(|terminal| terminal.was_raw);
        assert!(was_raw, "never in raw mode: {self:#?}");
    }
}
