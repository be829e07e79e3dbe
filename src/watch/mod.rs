//! Keeps true what boxes have on the host: follows the list of it, and what Incus tells of boxes. An
//! agent in each of them has Incus tell that something in it changed.
//!
//! One thread that sleeps in poll(2). What is to be done is done by a process of its own (`jobs`), so
//! that a box that does not answer, and the memory that a large one takes, are not this program's.

mod hosts;
mod jobs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchMask};
use rustix::fs::FlockOperation;

use crate::boxes::error::Error;
use crate::export::apply::Look;
use crate::export::failed::at;
use crate::export::kept::Kept;
use crate::export::manifest::{self, Listed, Listing};
use crate::export::plan::Plan;
use crate::export::refresh;
use crate::export::sync::{self, host};
use crate::incus::Client;
use crate::incus::events::Events;
use crate::incus::objects::FullInstance;
use crate::message;
use crate::names::BoxName;
use crate::sys::poll::{Interest, PollSet, growing};
use crate::sys::signals::Signals;
use hosts::Hosts;
pub use jobs::own_program;
use jobs::{Job, Jobs};

const PROGRAM: &str = "incusbox watch";
/// Several things happen together when a box starts or goes.
const SHORTLY: Duration = Duration::from_millis(100);
/// Between tries to reach a daemon that is gone: the first, and the longest.
const TRIES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];

/// What a box says of itself when something in it changed.
const READY: &str = "instance-ready";
/// What happens to an instance after which it has to be asked again.
const BEGINNINGS: [&str; 4] =
    ["instance-started", "instance-restarted", "instance-resumed", "instance-restored"];
/// What else makes instances worth a look.
const ACTIONS: [&str; 4] =
    ["instance-stopped", "instance-shutdown", "instance-deleted", "instance-renamed"];

/// The lock of who follows boxes for this user.
const LOCK: &str = "watch.lock";

fn lock() -> io::Result<File> {
    let path = manifest::directory()?.join(LOCK);
    let opened =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    opened.map_err(at(&path))
}

/// Whether somebody follows boxes for this user.
///
/// # Errors
/// Of the lock's file.
pub fn is_at_work() -> io::Result<bool> {
    match rustix::fs::flock(&lock()?, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        other => Ok(other.map(|()| false)?),
    }
}

/// The unit that follows boxes.
pub const UNIT: &str = "incusbox-watch.service";

/// Has boxes followed in a session whose manager did not start that by itself: one that is older
/// than this program, or that keeps its state elsewhere. Whether it worked.
///
/// # Errors
/// Of the lock's file.
pub fn wake() -> io::Result<bool> {
    if is_at_work()? {
        return Ok(true);
    }
    let mut command = Command::new("systemctl");
    command.args(["--user", "--quiet", "--no-block", "start", UNIT]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(refresh::has_manager() && command.status().is_ok_and(|status| status.success()))
}

/// Waits until nobody else follows boxes for this user; then it is up to who has what is returned.
///
/// # Errors
/// Of the lock's file.
pub fn take_turn() -> io::Result<File> {
    let lock = lock()?;
    if let Err(rustix::io::Errno::WOULDBLOCK) =
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
    {
        message::say(PROGRAM, "another one is at work; waiting for its end");
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    }
    Ok(lock)
}

/// Follows boxes until nothing of them is on the host any more, or a signal comes.
///
/// # Errors
/// Everything in [`Error`], for what no waiting mends.
pub fn serve(signals: &mut Signals) -> Result<(), Error> {
    let watching = host("watching the list of what is exported");
    let mut list = Inotify::init().map_err(&watching)?;
    let directory = manifest::directory().map_err(&watching)?;
    let changed = WatchMask::MOVED_TO | WatchMask::DELETE | WatchMask::CLOSE_WRITE;
    list.watches().add(&directory, changed).map_err(&watching)?;
    let mut watch = Watch {
        connections: BTreeMap::new(),
        greeted: BTreeSet::new(),
        jobs: Jobs::default(),
        hosts: Hosts::new().map_err(host("watching the host's programs"))?,
        look_at: Some(Instant::now()),
        tries: 0,
        trouble: String::new(),
    };
    loop {
        if watch.look_at.is_some_and(|at| at <= Instant::now()) {
            watch.look_at = None;
            if !watch.look()? && watch.jobs.is_idle() {
                return Ok(());
            }
        }
        watch.jobs.start_due().map_err(host("starting a process"))?;
        let mut set = PollSet::new();
        set.add(Key::Signal, signals.as_fd(), Interest::Read);
        set.add(Key::List, list.as_fd(), Interest::Read);
        set.add(Key::Hosts, watch.hosts.as_fd(), Interest::Read);
        for (at, connection) in watch.connections.values().enumerate() {
            set.add(Key::Events(at), connection.events.as_fd(), Interest::Read);
        }
        for (at, ended) in watch.jobs.ended().enumerate() {
            set.add(Key::Job(at), ended, Interest::Read);
        }
        let nudges = watch.connections.values().filter_map(|one| one.events.deadline());
        let deadlines = [watch.look_at, watch.jobs.next(), watch.hosts.deadline()];
        set.wait(deadlines.into_iter().flatten().chain(nudges).min()).map_err(host("waiting"))?;
        let [signalled, listed, hosts] =
            [Key::Signal, Key::List, Key::Hosts].map(|key| set.ready(key).any());
        let told: Vec<bool> =
            (0..watch.connections.len()).map(|at| set.ready(Key::Events(at)).any()).collect();
        let is_done = (0..watch.jobs.ended().count()).any(|at| set.ready(Key::Job(at)).any());
        drop(set);
        if signalled {
            if let Some(signal) = signals.take().map_err(host("catching signals"))? {
                return Err(Error::Signal(signal));
            }
        }
        if listed && list_changed(&mut list).map_err(&watching)? {
            watch.look_soon(Duration::ZERO);
        }
        if hosts {
            watch.hosts.hear().map_err(host("watching the host's programs"))?;
        }
        if watch.hosts.is_due() {
            watch.look_at_all();
        }
        if is_done {
            watch.jobs.reap().map_err(host("waiting for a process"))?;
            watch.look_soon(Duration::ZERO);
        }
        watch.hear(&told);
        watch.connections.values_mut().for_each(|one| one.events.nudge());
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    Signal,
    List,
    Hosts,
    Job(usize),
    Events(usize),
}

/// Whether anything happened to the list itself.
fn list_changed(list: &mut Inotify) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let mut is_it = false;
    loop {
        match list.read_events(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(is_it),
            events => {
                is_it |= events?.any(|event| event.name.is_none_or(|name| name == manifest::FILE));
            }
        }
    }
}

/// What is followed of a project.
struct Connection {
    client: Client,
    events: Events,
    /// The fingerprint of the daemon.
    daemon: String,
    /// The boxes that something is exported of, by their names, with Incus's ids of them.
    live: BTreeMap<String, (BoxName, String)>,
}

struct Watch {
    /// By the names of projects.
    connections: BTreeMap<String, Connection>,
    /// Boxes that were asked since they run, by Incus's ids of them.
    greeted: BTreeSet<String>,
    jobs: Jobs,
    hosts: Hosts,
    /// When boxes are looked at.
    look_at: Option<Instant>,
    /// How often the daemon could not be reached.
    tries: u32,
    /// What was said last of why.
    trouble: String,
}

impl Watch {
    fn look_soon(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.look_at = Some(self.look_at.map_or(at, |set| set.min(at)));
    }

    /// Sees to it that what is listed is followed. Returns whether anything is.
    fn look(&mut self) -> Result<bool, Error> {
        let listing = host("reading the list of what is exported");
        let Listing { boxes, environment } = manifest::listing().map_err(&listing)?;
        let own = std::env::var("XDG_DATA_DIRS").ok();
        self.hosts.follow(environment.get("XDG_DATA_DIRS").or(own.as_ref()).map(String::as_str));
        self.jobs.environment = environment;
        if boxes.is_empty() {
            self.connections.clear();
            // Somebody is about to change it, and looks after the rest.
            let Some(mut kept) = Kept::take().map_err(&listing)? else {
                self.look_soon(SHORTLY);
                return Ok(true);
            };
            // What was left of it, also after a crash, so that there is no list any more.
            kept.manifest.defaults_are_due = true;
            let outcome = sync::bring_about(&mut kept, "", Plan::default(), Look::Quick)?;
            for text in outcome.done.said_of_aside() {
                message::say(PROGRAM, text);
            }
            kept.told().and_then(|()| kept.save()).map_err(&listing)?;
            return Ok(false);
        }
        let projects: BTreeSet<&str> = boxes.iter().map(|one| &*one.project).collect();
        self.connections.retain(|project, _| projects.contains(&**project));
        let mut trouble = None;
        for project in projects {
            match self.look_into(project, &boxes) {
                Ok(()) => {}
                Err(Error::Incus(error)) => {
                    self.connections.remove(project);
                    trouble = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = trouble {
            // What a box tells until the connection is there again, nobody hears.
            self.greeted.clear();
            self.say_once(format!("{error}\ntrying again until it works"));
            let after = growing(TRIES, self.tries);
            self.tries += 1;
            self.look_soon(after);
            return Ok(true);
        }
        if self.tries > 0 && !std::mem::take(&mut self.trouble).is_empty() {
            message::say(PROGRAM, "the daemon answers again");
        }
        self.tries = 0;
        Ok(true)
    }

    fn look_into(&mut self, project: &str, boxes: &[Listed]) -> Result<(), Error> {
        if !self.connections.contains_key(project) {
            let mut client = Client::connect(Some(project.to_owned()))?;
            // A connection on which nothing was asked yet keeps Incus from answering another.
            let daemon = client.server()?.environment.certificate_fingerprint;
            // Before boxes are looked at, so that what happens meanwhile is told.
            let events = client.events()?;
            let connection = Connection { client, events, daemon, live: BTreeMap::new() };
            self.connections.insert(project.to_owned(), connection);
        }
        let Some(Connection { client, daemon, live: known, .. }) =
            self.connections.get_mut(project)
        else {
            return Ok(());
        };
        let live: BTreeMap<String, FullInstance> =
            client.instances()?.into_iter().map(|one| (one.uuid().to_owned(), one)).collect();
        let own = |one: &&Listed| one.project == project && one.daemon == *daemon;
        known.clear();
        for one in boxes.iter().filter(own) {
            let Some(there) = live.get(&one.uuid) else {
                self.jobs.add(Job::Sweep { project: project.to_owned() });
                continue;
            };
            let Ok(name) = BoxName::new(&there.name) else { continue };
            known.insert(there.name.clone(), (name.clone(), one.uuid.clone()));
            if !one.called.is_empty() && one.called != there.name {
                self.jobs.add(Job::Renamed { project: project.to_owned(), name: name.clone() });
            }
            if there.status != "Running" {
                self.greeted.remove(&one.uuid);
            } else if self.greeted.insert(one.uuid.clone()) {
                let (project, uuid) = (project.to_owned(), one.uuid.clone());
                self.jobs.add(Job::Changed { project, name, uuid });
            }
        }
        Ok(())
    }

    /// Has all boxes looked at that run.
    fn look_at_all(&mut self) {
        for (project, connection) in &self.connections {
            for (name, uuid) in connection.live.values() {
                let (project, name, uuid) = (project.clone(), name.clone(), uuid.clone());
                self.jobs.add(Job::Changed { project, name, uuid });
            }
        }
    }

    fn say_once(&mut self, text: String) {
        if self.trouble != text {
            message::say(PROGRAM, &text);
            self.trouble = text;
        }
    }

    /// Takes what the daemon told, of those connections where it told something.
    fn hear(&mut self, told: &[bool]) {
        let mut after = None;
        let mut lost = Vec::new();
        let connections = self.connections.iter_mut().zip(told).filter(|(_, told)| **told);
        for ((project, connection), _) in connections {
            let events = match connection.events.take() {
                Ok(events) => events,
                Err(error) => {
                    lost.push((project.clone(), error));
                    continue;
                }
            };
            for event in events {
                let live = event.instance().and_then(|name| connection.live.get(name));
                match (&*event.action, live) {
                    (READY, Some((name, uuid))) => self.jobs.add(Job::Changed {
                        project: project.clone(),
                        name: name.clone(),
                        uuid: uuid.clone(),
                    }),
                    (action, Some((_, uuid))) if BEGINNINGS.contains(&action) => {
                        self.greeted.remove(uuid);
                        after = Some(SHORTLY);
                    }
                    (action, _) if ACTIONS.contains(&action) => after = Some(SHORTLY),
                    _ => {}
                }
            }
        }
        for (project, error) in lost {
            self.connections.remove(&project);
            self.greeted.clear();
            self.say_once(format!("{error}\ntrying again until it works"));
            self.tries = 1;
            after = Some(TRIES[0]);
        }
        if let Some(after) = after {
            self.look_soon(after);
        }
    }
}
