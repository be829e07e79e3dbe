//! A run on a terminal, driven like a person would: type, look, resize, close the window.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

use super::outcome::{End, Outcome, shown};
use super::runner::{Invocation, PATIENCE};

/// The keys that a terminal makes signals of, and the end of a file.
pub const CTRL_C: &str = "\x03";
/// SIGQUIT.
pub const CTRL_BACKSLASH: &str = "\x1c";
/// SIGTSTP.
pub const CTRL_Z: &str = "\x1a";
/// The end of input.
pub const CTRL_D: &str = "\x04";

/// A terminal with a process that leads a session on it.
pub struct Pty {
    shown: String,
    master: Option<OwnedFd>,
    child: Child,
    seen: Vec<u8>,
    /// How much of `seen` was waited for already.
    cursor: usize,
    is_over: bool,
}

/// A terminal before anything runs on it.
pub struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// 80 columns by 24 rows.
    pub fn new() -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).expect("a pty");
        rustix::pty::grantpt(&master).expect("grantpt");
        rustix::pty::unlockpt(&master).expect("unlockpt");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("ptsname");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty()).expect("the pty's slave");
        let terminal = Terminal { master, slave };
        terminal.set_size(80, 24);
        terminal
    }

    /// Sets the size.
    pub fn set_size(&self, columns: u16, rows: u16) {
        set_size(&self.master, columns, rows);
    }

    /// Changes the settings.
    pub fn change(&self, change: impl FnOnce(&mut Termios)) {
        let mut settings = rustix::termios::tcgetattr(&self.slave).expect("tcgetattr");
        change(&mut settings);
        rustix::termios::tcsetattr(&self.slave, OptionalActions::Now, &settings)
            .expect("tcsetattr");
    }

    /// The settings.
    pub fn settings(&self) -> String {
        settings_of(&self.slave)
    }

    /// Starts a process that leads a session on it.
    pub fn start(self, invocation: &Invocation) -> Pty {
        // setsid(1) stays the same process, because it does not lead a process group here.
        let mut command = invocation.command(&["setsid", "--ctty"]);
        let slave = || self.slave.try_clone().expect("a duplicate");
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", invocation.shown()));
        Pty {
            shown: invocation.shown(),
            master: Some(self.master),
            child,
            seen: Vec::new(),
            cursor: 0,
            is_over: false,
        }
    }
}

fn set_size(master: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).expect("tcsetwinsize");
}

/// The settings in a form that can be compared and read.
pub fn settings_of(terminal: &OwnedFd) -> String {
    let settings = rustix::termios::tcgetattr(terminal).expect("tcgetattr");
    format!("{settings:?}")
}

impl Pty {
    /// Starts it on a new terminal of 80 columns by 24 rows.
    pub fn start(invocation: &Invocation) -> Pty {
        Terminal::new().start(invocation)
    }

    fn master(&self) -> &OwnedFd {
        self.master.as_ref().expect("the terminal is open")
    }

    /// The process id of what leads the session.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The terminal's settings.
    pub fn settings(&self) -> String {
        settings_of(self.master())
    }

    /// Types.
    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        let master = self.master().try_clone().expect("a duplicate");
        std::fs::File::from(master).write_all(text.as_ref()).expect("the terminal takes keys");
    }

    /// Changes the size.
    pub fn resize(&self, columns: u16, rows: u16) {
        set_size(self.master(), columns, rows);
    }

    /// Everything shown so far.
    pub fn seen(&mut self) -> &[u8] {
        self.read(Duration::ZERO);
        &self.seen
    }

    /// Reads what is shown within `wait`; false when nothing was.
    fn read(&mut self, wait: Duration) -> bool {
        let Some(master) = self.master.as_ref().filter(|_| !self.is_over) else { return false };
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        let wait = Timespec::try_from(wait).expect("a time");
        if poll(&mut fds, Some(&wait)).expect("poll") == 0 {
            return false;
        }
        let mut chunk = [0; 32 << 10];
        match rustix::io::read(master, &mut chunk) {
            Ok(count @ 1..) => self.seen.extend_from_slice(&chunk[..count]),
            // Nobody has the terminal open any more.
            _ => self.is_over = true,
        }
        !self.is_over
    }

    /// Waits until `text` is shown, behind what was waited for before.
    pub fn wait_for(&mut self, text: &str) -> &mut Pty {
        let began = Instant::now();
        loop {
            let unseen = &self.seen[self.cursor..];
            if let Some(at) = unseen.windows(text.len()).position(|part| part == text.as_bytes()) {
                self.cursor += at + text.len();
                return self;
            }
            let alive = self.read(Duration::from_millis(100)) || !self.is_over;
            if !alive || began.elapsed() > PATIENCE {
                let why = if alive { "in vain" } else { "until the terminal's end" };
                panic!("{}\n  waited {why} for {text:?}\n{}", self.shown, self.transcript());
            }
        }
    }

    /// Reads up to `most` bytes of what is shown, waits for the first, and forgets them.
    pub fn pass_over(&self, most: usize) -> usize {
        let mut left = most;
        let mut chunk = [0; 4 << 10];
        while left > 0 {
            let mut fds = [PollFd::new(self.master(), PollFlags::IN)];
            let wait = if left == most { PATIENCE } else { Duration::ZERO };
            let wait = Timespec::try_from(wait).expect("a time");
            if poll(&mut fds, Some(&wait)).expect("poll") == 0 {
                assert!(left < most, "{}\n  waited in vain for more", self.shown);
                break;
            }
            let few = left.min(chunk.len());
            left -= rustix::io::read(self.master(), &mut chunk[..few]).expect("more is shown");
        }
        most - left
    }

    fn transcript(&self) -> String {
        format!(
            "  before: {}\n  since:  {}",
            shown(&self.seen[..self.cursor], self.cursor),
            shown(&self.seen[self.cursor..], self.seen.len() - self.cursor)
        )
    }

    /// Reads for a while whatever comes.
    pub fn idle(&mut self, time: Duration) -> &mut Pty {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if !self.read(left) && self.is_over {
                std::thread::sleep(left);
            }
        }
        self
    }

    /// Sends a signal to what leads the session.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Closes the terminal, as a window's close button does.
    pub fn close(&mut self) {
        self.master = None;
        self.is_over = true;
    }

    /// Waits for the end of what leads the session, and leaves the terminal open.
    pub fn wait(&mut self) -> End {
        let began = Instant::now();
        loop {
            let status = self.child.try_wait().expect("wait");
            // Once it has ended, all that it wrote is there to be read.
            while self.read(Duration::ZERO) {}
            if let Some(status) = status {
                return status.into();
            }
            if began.elapsed() > PATIENCE {
                panic!("{}\n  did not end in {PATIENCE:?}\n{}", self.shown, self.transcript());
            }
            if !self.read(Duration::from_millis(5)) && self.is_over {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// The same, without reading anything that is shown.
    pub fn wait_unread(&mut self) -> End {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status.into();
            }
            assert!(began.elapsed() < PATIENCE, "{}\n  did not end in {PATIENCE:?}", self.shown);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end; stdout is all that was shown.
    pub fn end(mut self) -> Outcome {
        let end = self.wait();
        Outcome::new(end, std::mem::take(&mut self.seen))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _was_waited_for = self.child.wait();
    }
}
