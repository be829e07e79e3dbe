//! What is to be done, each by a process of its own, and one thing after the other for a box.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::names::BoxName;
use crate::sys::poll::growing;

/// A box may have a fifth of the time, whatever it says.
const REST: u32 = 4;
/// How much of that it may have in advance, so that a second change is seen as soon as the first.
const ADVANCE: Duration = Duration::from_secs(10);
/// How many processes there may be at once: a box that does not answer shall not hold up the others.
const MOST: usize = 4;
/// Between tries of what failed: the first, and the longest.
const TRIES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(3600)];

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// What is exported of a box is to be brought up to date.
    Changed {
        /// The box's project.
        project: String,
        /// Its name.
        name: BoxName,
        /// Incus's id of it.
        uuid: String,
    },
    /// The same for a box that is called so now; it is started for that.
    Renamed {
        /// The box's project.
        project: String,
        /// Its new name.
        name: BoxName,
    },
    /// Some box of a project is gone.
    Sweep {
        /// The project.
        project: String,
    },
}

impl Job {
    /// The project and the box that it is about.
    fn subject(&self) -> (&str, Option<&BoxName>) {
        match self {
            Job::Changed { project, name, .. } | Job::Renamed { project, name } => {
                (project, Some(name))
            }
            Job::Sweep { project } => (project, None),
        }
    }

    /// The words for this program.
    fn words(&self) -> Vec<&str> {
        let (project, own) = match self {
            Job::Changed { project, name, .. } => (project, vec!["--box", name.as_str()]),
            Job::Renamed { project, name } => (project, vec!["--box", name.as_str(), "--start"]),
            Job::Sweep { project } => (project, vec!["--sweep"]),
        };
        let mut words = vec!["watch", "--project", project];
        words.extend(own);
        words
    }
}

/// All of it.
#[derive(Default)]
pub struct Jobs {
    waiting: VecDeque<Job>,
    running: Vec<Running>,
    /// What is not begun before then, and how often it failed.
    pauses: BTreeMap<Job, Pause>,
    /// Variables for the processes.
    pub environment: BTreeMap<String, String>,
}

struct Running {
    job: Job,
    child: Child,
    /// Readable once the process ended.
    ended: OwnedFd,
    since: Instant,
}

struct Pause {
    until: Instant,
    /// When its share of the time makes up for all that it had.
    paid: Instant,
    failures: u32,
    /// Whether it is to be done then, although nobody asks any more.
    is_wanted: bool,
}

impl Pause {
    /// Not before this, whatever happens.
    fn at_least(&self) -> Instant {
        self.paid.checked_sub(ADVANCE).unwrap_or(self.paid)
    }
}

/// This program, also if another version has taken its place: then its own path ends in
/// ` (deleted)`.
///
/// # Errors
/// Where the kernel does not tell.
pub fn own_program() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("incusbox"))
}

impl Jobs {
    /// Adds something, unless it waits already.
    pub fn add(&mut self, job: Job) {
        let is_changed = matches!(job, Job::Changed { .. });
        // A box may change again while it is looked at; what is renamed or gone is so once.
        let is_running = self.running.iter().any(|running| running.job == job);
        let is_tried_again = self.pauses.get(&job).is_some_and(|pause| pause.is_wanted);
        if self.waiting.contains(&job) || !is_changed && (is_running || is_tried_again) {
            return;
        }
        // There is news, so what failed may not fail again.
        if let Some(pause) = self.pauses.get_mut(&job).filter(|pause| pause.failures > 0) {
            pause.until = pause.until.min(pause.at_least().max(Instant::now() + TRIES[0]));
        }
        self.waiting.push_back(job);
    }

    /// Whether nothing is done at present.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether nothing is done for the same box.
    fn is_free(&self, job: &Job) -> bool {
        self.running.iter().all(|running| running.job.subject() != job.subject())
    }

    /// When something can be begun.
    pub fn next(&self) -> Option<Instant> {
        let is_asked_for = |job: &Job, pause: &Pause| pause.is_wanted || self.waiting.contains(job);
        let asked_for = self.pauses.iter().filter(|(job, pause)| is_asked_for(job, pause));
        let next = asked_for.filter(|(job, _)| self.is_free(job)).map(|(_, pause)| pause.until);
        next.min().filter(|_| self.running.len() < MOST)
    }

    /// Begins what can be begun.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start_due(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let failed: Vec<Job> = self
            .pauses
            .iter_mut()
            .filter(|(_, pause)| pause.is_wanted && pause.until <= now)
            .map(|(job, pause)| {
                pause.is_wanted = false;
                job.clone()
            })
            .collect();
        failed.into_iter().for_each(|job| self.add(job));
        while self.running.len() < MOST {
            let is_due = |job: &Job| {
                self.is_free(job) && self.pauses.get(job).is_none_or(|pause| pause.until <= now)
            };
            let Some(at) = self.waiting.iter().position(is_due) else { return Ok(()) };
            let Some(job) = self.waiting.remove(at) else { return Ok(()) };
            let mut command = Command::new(own_program()?);
            let child =
                command.args(job.words()).envs(&self.environment).stdin(Stdio::null()).spawn()?;
            let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            self.running.push(Running { job, child, ended, since: now });
        }
        Ok(())
    }

    /// What is readable once one of the processes ended.
    pub fn ended(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.iter().map(|running| running.ended.as_fd())
    }

    /// Sees how processes ended. What failed is tried again.
    ///
    /// # Errors
    /// waitid(2)'s.
    pub fn reap(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some(running) = self.running.get_mut(at) {
            match running.child.try_wait()? {
                None => at += 1,
                Some(status) => {
                    let Running { job, since, .. } = self.running.swap_remove(at);
                    self.note_end(job, status.success(), since);
                }
            }
        }
        Ok(())
    }

    fn note_end(&mut self, job: Job, is_done: bool, since: Instant) {
        let now = Instant::now();
        let failures = match (is_done, self.pauses.get(&job)) {
            (true, _) => 0,
            (false, before) => before.map_or(0, |pause| pause.failures) + 1,
        };
        let owed = self.pauses.get(&job).map_or(now, |pause| pause.paid.max(now));
        let is_wanted = failures > 0;
        let mut pause =
            Pause { until: now, paid: owed + (now - since) * REST, failures, is_wanted };
        let tried = if is_wanted { now + growing(TRIES, failures - 1) } else { now };
        pause.until = pause.at_least().max(tried);
        let (waiting, running) = (&self.waiting, &self.running);
        self.pauses.retain(|job, pause| {
            pause.until.max(pause.paid) > now
                || pause.is_wanted
                || running.iter().any(|running| running.job == *job)
                || pause.failures > 0 && waiting.contains(job)
        });
        self.pauses.insert(job, pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_hastened_by_news_alone_and_never_beyond_a_fair_share() {
        let name = || BoxName::new("dev").expect("a name");
        let project = || "default".to_owned();
        let renamed = Job::Renamed { project: project(), name: name() };
        let changed = Job::Changed { project: project(), name: name(), uuid: "x".to_owned() };
        let now = Instant::now();
        let (hour, minute) = (now + Duration::from_secs(3600), now + Duration::from_secs(60));
        let paid = minute + ADVANCE;
        let mut jobs = Jobs::default();
        for job in [&renamed, &changed] {
            let pause = Pause { until: hour, paid, failures: 9, is_wanted: true };
            jobs.pauses.insert(job.clone(), pause);
            jobs.add(job.clone());
        }
        assert!(
            jobs.waiting.len() == 1 && jobs.waiting.contains(&changed),
            "a name is no news twice"
        );
        assert_eq!((jobs.pauses[&renamed].until, jobs.pauses[&changed].until), (hour, minute));
        jobs.add(changed);
        assert_eq!(jobs.waiting.len(), 1);
        assert_eq!(jobs.next(), Some(minute));
    }

    #[test]
    fn a_box_that_does_not_answer_holds_up_no_other_and_is_asked_once_at_a_time() {
        let changed = |name: &str| Job::Changed {
            project: "default".to_owned(),
            name: BoxName::new(name).expect("a name"),
            uuid: name.to_owned(),
        };
        let mut jobs = Jobs::default();
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a descriptor");
        jobs.running.push(Running { job: changed("mute"), child, ended, since: Instant::now() });
        for name in ["mute", "other"] {
            jobs.add(changed(name));
        }
        assert!(!jobs.is_free(&changed("mute")) && jobs.is_free(&changed("other")));
        let pause =
            || Pause { until: Instant::now(), paid: Instant::now(), failures: 1, is_wanted: true };
        jobs.pauses.insert(changed("mute"), pause());
        assert_eq!(jobs.next(), None, "its end is waited for, and not slept away");
        jobs.pauses.insert(changed("other"), pause());
        assert!(jobs.next().is_some());
        jobs.reap().expect("a look");
        assert_eq!(jobs.running.len(), 1);
        jobs.running[0].child.kill().expect("a child");
        jobs.running[0].child.wait().expect("its end");
        jobs.reap().expect("its end");
        assert!(jobs.is_idle() && jobs.next().is_some());
    }

    #[test]
    fn a_second_change_is_not_made_to_wait_and_the_tenth_is() {
        let job = Job::Sweep { project: "default".to_owned() };
        let mut jobs = Jobs::default();
        let waits: Vec<Duration> = (0..10)
            .map(|_| {
                jobs.note_end(job.clone(), true, Instant::now() - Duration::from_secs(1));
                jobs.pauses.values().next().expect("a pause").until - Instant::now()
            })
            .collect();
        assert_eq!(waits[0], Duration::ZERO);
        assert_eq!(waits[1], Duration::ZERO);
        let (last, second) = (waits[9], Duration::from_secs(1));
        assert!(last > 25 * second && last < 50 * second, "{waits:?}");
    }
}
