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
                self.send(signal);
            }
        }
    }

    /// Whether nothing is left to do: all steps were taken, or nobody is left to take them against.
    pub fn is_over(&self) -> bool {
        let is_empty = || match self.members() {
            Some(members) => members.is_empty(),
            None => !process::is_group(self.group),
        };
        self.steps.is_empty() || is_empty()
    }

    /// Without /proc to the whole group: nothing else tells who ignores SIGHUP, and what does not
    /// would stay for ever.
    fn send(&self, signal: i32) {
        let Some(members) = self.members() else {
            let _another_user_now = process::signal_group(self.group, signal);
            return;
        };
        for pid in members {
            let _another_user_now = process::signal_process(pid, signal);
        }
    }

    /// The processes of the group that do not ignore SIGHUP, if there is a /proc to ask.
    fn members(&self) -> Option<Vec<i32>> {
        let all = process::all_processes();
        // This one is there at least.
        (!all.is_empty()).then(|| {
            all.into_iter()
                .filter(|process| process.group == self.group && !process.ignores_hangup)
                .map(|process| process.pid)
                .collect()
        })
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
            self.hang_up();
        }
    }

    /// What a terminal that closes does to a group.
    pub fn terminal_is_gone(&mut self) {
        if !self.is_told() {
            self.hang_up();
        }
        self.send(libc::SIGCONT);
        self.is_gone = true;
    }

    fn is_told(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < SAME_EVENT)
    }

    fn hang_up(&mut self) {
        self.send(libc::SIGHUP);
        self.last = Some(Instant::now());
    }

    fn send(&self, signal: i32) {
        let _another_user_now = process::signal_group(self.group, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has this number: pid_max is 2^22 at most.
    const NOBODY: i32 = i32::MAX;

    #[test]
    fn a_closed_terminal_is_one_hangup_by_however_many_ways_it_is_told() {
        let mut by_signal_first = Hangups::new(NOBODY);
        by_signal_first.pass_on();
        let first = by_signal_first.last;
        assert!(first.is_some());
        by_signal_first.terminal_is_gone();
        by_signal_first.terminal_is_gone();
        assert_eq!(by_signal_first.last, first, "neither the hangup nor the client's end is news");
        let mut by_hangup_first = Hangups::new(NOBODY);
        by_hangup_first.terminal_is_gone();
        let first = by_hangup_first.last;
        assert!(first.is_some());
        by_hangup_first.pass_on();
        assert_eq!(by_hangup_first.last, first);
    }

    #[test]
    fn hangups_that_somebody_sends_all_arrive() {
        let mut hangups = Hangups::new(NOBODY);
        hangups.pass_on();
        let first = hangups.last;
        hangups.pass_on();
        assert!(hangups.last > first);
    }
}
