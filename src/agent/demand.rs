//! Whether a program in the box waits for the keyboard.
//!
//! In `incusbox-run box -- git log | less` the host's terminal belongs to the pager: reading keys
//! or switching it to raw mode would take it away. Locally the kernel sorts that out because only
//! a program that reads gets keys. Here the agent looks for the same thing: somebody changed the
//! terminal's settings (fzf, vim, a password prompt), or sits in a read(2) of it. Only runs whose
//! stdin *and* stdout are not both terminals need this.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::protocol::Output;
use crate::sys::process;
use crate::sys::terminal::{self, Settings};

/// Watches one terminal.
#[derive(Debug)]
pub struct Demand {
    before: Settings,
    /// What the host was told.
    told: Option<Output>,
    next: Instant,
    pause: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl Demand {
    /// Starts to watch a terminal that began with the settings `before`.
    pub fn new(before: Settings) -> Demand {
        Demand { before, told: None, next: Instant::now() + FIRST_PAUSE, pause: FIRST_PAUSE }
    }

    /// When to look again; `None` once the terminal is the program's.
    pub fn next(&self) -> Option<Instant> {
        self.told.is_none().then_some(self.next)
    }

    /// Looks at the settings: cheap, so it is asked before any output passes. A program sends its
    /// queries after it has changed the settings, and their answers must meet a terminal in raw
    /// mode. Gives what the host has to be told, if anything is new.
    pub fn look_at_settings(&mut self, master: impl AsFd) -> Option<Output> {
        let now = terminal::settings(master).ok()?;
        let output = if now.processes_output() { Output::Processed } else { Output::Raw };
        let is_wanted = self.told.is_some() || now.is_line_mode() != self.before.is_line_mode();
        (is_wanted && self.told != Some(output)).then(|| self.tell(output))
    }

    /// Looks, when it is time to, at the settings and at what the processes below `pid` do.
    pub fn look(&mut self, master: impl AsFd, pid: i32) -> Option<Output> {
        if self.told.is_some() || Instant::now() < self.next {
            return None;
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next = Instant::now() + self.pause;
        self.look_at_settings(master).or_else(|| {
            let is_read = process::descendants(pid).into_iter().any(reads_terminal);
            is_read.then(|| self.tell(Output::Processed))
        })
    }

    fn tell(&mut self, output: Output) -> Output {
        self.told = Some(output);
        output
    }
}

/// Whether a thread of `pid` is blocked in a read of a terminal, by /proc/PID/task/TID/syscall.
fn reads_terminal(pid: i32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().any(|task| {
        let syscall = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        let mut fields = syscall.split_ascii_whitespace();
        let number = fields.next().and_then(|field| field.parse::<i64>().ok());
        let fd = fields.next().and_then(|field| field.strip_prefix("0x"));
        let fd = fd.and_then(|field| i32::from_str_radix(field, 16).ok());
        let (Some(number), Some(fd)) = (number, fd) else { return false };
        if number != libc::SYS_read && number != libc::SYS_readv {
            return false;
        }
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        target.starts_with("/dev/pts/") || target.as_os_str() == "/dev/tty"
    })
}
