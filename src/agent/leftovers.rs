//! What becomes of a command whose client is lost: killed, or its connection cut.
//!
//! First what a closed terminal does: SIGHUP, and SIGCONT so that a stopped process notices. What
//! wants to live on says so by ignoring SIGHUP (nohup) or by leaving the group (setsid), and does.
//! A process that catches SIGHUP to clean up has time to; one that stays all the same would be an
//! orphan that nobody can reach, so its group is terminated, then killed.

use std::time::{Duration, Instant};

use crate::sys::process;

const UNTIL_TERMINATE: Duration = Duration::from_secs(2);
const UNTIL_KILL: Duration = Duration::from_secs(5);

/// The ending of one process group.
#[derive(Debug)]
pub struct Ending {
    group: i32,
    began: Instant,
    /// The signals that are still to be sent, the next one last, with the time since the start.
    steps: Vec<(Duration, i32)>,
}

impl Ending {
    /// Hangs up.
    pub fn begin(hangups: &mut Hangups) -> Ending {
        hangups.terminal_is_gone();
        let group = hangups.group;
        let steps = vec![(UNTIL_KILL, libc::SIGKILL), (UNTIL_TERMINATE, libc::SIGTERM)];
        Ending { group, began: Instant::now(), steps }
    }

    /// When the next step is due; `None` once all were taken.
    pub fn next(&self) -> Option<Instant> {
        self.steps.last().map(|(after, _)| self.began + *after)
    }

    /// Takes the step that is due, if one is.
    pub fn go_on(&mut self) {
        if self.next().is_some_and(|next| Instant::now() >= next) {
            if let Some((_, signal)) = self.steps.pop() {
                for pid in self.members() {
                    let _another_user_now = process::signal_process(pid, signal);
                }
            }
        }
    }

    /// Whether nothing is left to do: all steps were taken, or nobody is left to take them against.
    pub fn is_over(&self) -> bool {
        self.steps.is_empty() || self.members().is_empty()
    }

    /// The processes of the group that do not ignore SIGHUP.
    fn members(&self) -> Vec<i32> {
        process::all_processes()
            .into_iter()
            .filter(|process| process.group == self.group && !process.ignores_hangup)
            .map(|process| process.pid)
            .collect()
    }
}

/// One event comes here by up to three ways: the client passes the SIGHUP on that its kernel sent
/// it, tells that its terminal is gone, and is gone itself.
const SAME_EVENT: Duration = Duration::from_secs(1);

/// The SIGHUPs to one process group. A closed terminal sends one; of two that come at once, bash
/// dies without having told its jobs.
#[derive(Debug)]
pub struct Hangups {
    group: i32,
    last: Option<Instant>,
    is_gone: bool,
}

impl Hangups {
    /// None was sent yet.
    pub fn new(group: i32) -> Hangups {
        Hangups { group, last: None, is_gone: false }
    }

    /// The client got a SIGHUP.
    pub fn pass_on(&mut self) {
        if !(self.is_gone && self.is_told()) {
            self.send(libc::SIGHUP);
            self.last = Some(Instant::now());
        }
    }

    /// What a terminal that closes does to a group.
    pub fn terminal_is_gone(&mut self) {
        if !self.is_told() {
            self.send(libc::SIGHUP);
            self.last = Some(Instant::now());
        }
        self.send(libc::SIGCONT);
        self.is_gone = true;
    }

    fn is_told(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < SAME_EVENT)
    }

    fn send(&self, signal: i32) {
        let _another_user_now = process::signal_group(self.group, signal);
    }
}
