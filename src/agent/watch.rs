//! Tells the host that programs of the box came, went or changed.
//!
//! A process of its own, which the first question of the host's leaves behind: an exec that stays
//! would hold up the daemon for minutes when that is restarted. What it has to say, it says by the
//! socket that every box has (`guest`).
//!
//! A package manager changes thousands of files within seconds. What is told is that it is done:
//! after a quiet moment, and not while it holds the lock of its data base.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::fs::FlockOperation;

use super::apps::{DEEPEST, Surroundings};
use super::guest::{self, Guest};
use crate::desktop::entry::SERVICES;
use crate::sys::poll::{Interest, PollSet, growing};
use crate::sys::{process, signals};

/// Where locks and word of who watches are, a file for each user.
const STATE: &str = "/run/incusbox";
/// How long who watched before may take to go.
const GOING: Duration = Duration::from_secs(2);
/// Between tries to tell what the daemon did not hear: the first, and the longest.
const TRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How long nothing must happen.
const QUIET: Duration = Duration::from_millis(300);
/// How long something may happen without a pause, when nothing is being installed.
const RESTLESS: Duration = Duration::from_millis(1200);
/// How long an installation is waited for. A lock may have been left behind.
const INSTALLING: Duration = Duration::from_secs(60);
/// Between two looks at the locks.
const PAUSE: Duration = Duration::from_millis(100);
/// The most directories that are watched. All themes and programs of Debian have less.
const MOST: usize = 4000;

/// What is watched of a directory.
const ALL: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVE)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::MASK_ADD);
/// What is watched of one in which another is waited for.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::MASK_ADD);

/// What package managers lock.
const LOCKS: [&str; 7] = [
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/rpm/.rpm.lock",
    "usr/lib/sysimage/rpm/.rpm.lock",
    "lib/apk/db/lock",
    "usr/lib/apk/db/lock",
    "run/zypp.pid",
];
/// What pacman has as long as it works.
const PACMAN: &str = "var/lib/pacman/db.lck";

/// Sees to it that somebody watches for this user. From then on everything is told.
///
/// # Errors
/// Where nobody can, and why.
pub fn ensure(uid: u32, home_is_hosts: bool, agent: &OsStr) -> io::Result<()> {
    if !guest::is_there() {
        return Err(io::Error::other("it has no /dev/incus (security.guestapi is off)"));
    }
    std::fs::create_dir_all(STATE)?;
    let path = Path::new(STATE).join(format!("watch-{uid}"));
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let mut file = options.open(&path)?;
    let mut said = String::new();
    file.read_to_string(&mut said)?;
    let wanted = wanted(agent, home_is_hosts);
    let deadline = Instant::now() + GOING;
    while let Err(rustix::io::Errno::WOULDBLOCK) =
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
    {
        let (pid, work) = said.split_once(' ').unwrap_or_default();
        if work == wanted {
            return Ok(());
        }
        // Of another version, or as the box was set up before.
        if let Ok(pid @ 2..) = pid.parse() {
            let _gone_already = process::signal_process(pid, libc::SIGTERM);
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("who watched before does not go"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // The lock goes with it: it is its stdin.
    let mut command = Command::new(agent);
    command.args(["watch", &uid.to_string(), &home_is_hosts.to_string()]);
    command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    let mut child = command.spawn()?;
    let mut ready = String::new();
    child.stdout.take().map(|mut out| out.read_to_string(&mut ready)).transpose()?;
    if ready != READY {
        let _it_said_why = child.wait();
        return Err(io::Error::other(if ready.is_empty() { "it does not start" } else { &ready }));
    }
    Ok(())
}

/// What the file of a lock says behind the process: which program watches, and how.
fn wanted(agent: &OsStr, home_is_hosts: bool) -> String {
    format!("{} {home_is_hosts}", agent.to_string_lossy())
}

/// What who watches says once it does.
const READY: &str = "ready";

/// Watches, as [`ensure`] started it.
///
/// # Errors
/// Of inotify(7), and for words that are not those of [`ensure`].
pub fn run(words: &[OsString], own_path: &OsStr) -> io::Result<()> {
    let text = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let (Ok(uid), Ok(home_is_hosts)) = (text(0).parse(), text(1).parse()) else {
        return Err(io::Error::other("started by incusbox-agent, never by hand"));
    };
    process::start_session()?;
    signals::unblock_all();
    let mut out = File::from(process::take_standard(1)?);
    // The lock is there as long as this is.
    let lock = File::from(process::take_standard(0)?);
    let line = format!("{} {}", std::process::id(), wanted(own_path, home_is_hosts));
    lock.set_len(0)?;
    lock.write_all_at(line.as_bytes(), 0)?;
    let places = || places(&Surroundings::of(uid, home_is_hosts, own_path));
    let begun = Inotify::init().and_then(|inotify| {
        let mut watch = Watch { inotify, known: BTreeMap::new() };
        watch.renew(&places()).map(|()| watch)
    });
    let mut watch = match begun {
        Ok(watch) => watch,
        Err(error) => return write!(out, "{error}"),
    };
    out.write_all(READY.as_bytes())?;
    drop(out);
    watch.follow(&places)
}

struct Unrest {
    /// When it began.
    first: Instant,
    /// When it is looked whether it is over.
    until: Instant,
}

/// A directory, and how deep what is below it counts.
type Place = (PathBuf, usize);

/// Where what is exported is, or comes from.
fn places(surroundings: &Surroundings) -> Vec<Place> {
    let mut places = Vec::new();
    for data in &surroundings.directories {
        places.push((data.join("applications"), DEEPEST));
        places.push((data.join("icons/hicolor"), 2));
        places.push((data.join("pixmaps"), 0));
        places.push((data.join("mime/packages"), 0));
        let flat = [SERVICES, "bash-completion/completions", "man/man1", "man/man8", "man/man6"];
        places.extend(flat.map(|below| (data.join(below), 0)));
    }
    if let Some(home) = &surroundings.home {
        places.push((home.join(".icons/hicolor"), 2));
    }
    // Commands in a home that is the host's are the host's; shims are written there, too.
    let shared = surroundings.shared.as_ref();
    let is_boxes = |path: &&PathBuf| !shared.is_some_and(|home| path.starts_with(home));
    for units in ["/etc/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"] {
        let own = ["system", "user"].map(|scope| (Path::new(units).join(scope), 1));
        places.extend(own);
    }
    places.extend(surroundings.path.iter().filter(is_boxes).map(|path| (path.clone(), 0)));
    places
}

struct Watch {
    inotify: Inotify,
    known: BTreeMap<WatchDescriptor, Known>,
}

/// What counts of a directory.
#[derive(Default)]
struct Known {
    everything: bool,
    names: BTreeSet<OsString>,
}

impl Watch {
    /// Tells of all that changes, for as long as the box runs.
    fn follow(&mut self, places: &dyn Fn() -> Vec<Place>) -> io::Result<()> {
        let mut since: Option<Unrest> = None;
        // When to tell again what the daemon did not hear, and how often that was tried.
        let mut untold: Option<(Instant, u32)> = None;
        let mut guest = Guest::default();
        loop {
            let mut set = PollSet::new();
            set.add(0, self.inotify.as_fd(), Interest::Read);
            let deadlines = [since.as_ref().map(|unrest| unrest.until), untold.map(|(at, _)| at)];
            set.wait(deadlines.into_iter().flatten().min())?;
            let changed = set.ready(0).any();
            drop(set);
            let now = Instant::now();
            if changed && self.take()? {
                let unrest = since.get_or_insert(Unrest { first: now, until: now });
                unrest.until = (now + QUIET).min(unrest.first + RESTLESS).max(now);
            }
            if let Some(unrest) = since.as_mut().filter(|unrest| unrest.until <= now) {
                if unrest.first + INSTALLING > now && is_installing(Path::new("/")) {
                    unrest.until = now + PAUSE;
                    continue;
                }
                since = None;
                // First, so that what changes while the host looks is told again.
                if let Err(error) = self.renew(&places()) {
                    // The host asks again then, and hears why.
                    let _nobody_listens = guest.announce();
                    return Err(error);
                }
                untold = Some((now, 0));
            }
            if let Some((_, count)) = untold.filter(|(at, _)| *at <= now) {
                let again = growing(TRIES, count);
                untold = guest.announce().err().map(|_| (Instant::now() + again, count + 1));
            }
        }
    }

    /// Watches these places, and nothing else. One that is not there is waited for.
    fn renew(&mut self, places: &[Place]) -> io::Result<()> {
        let before: BTreeSet<WatchDescriptor> =
            std::mem::take(&mut self.known).into_keys().collect();
        for (place, depth) in places {
            let added = match place.is_dir() {
                true => self.add_tree(place, *depth),
                false => self.await_place(place, *depth),
            };
            added?;
        }
        for gone in before.into_iter().filter(|one| !self.known.contains_key(one)) {
            // The kernel forgot it with the directory, mostly.
            let _forgotten = self.inotify.watches().remove(gone);
        }
        Ok(())
    }

    fn add_tree(&mut self, directory: &Path, depth: usize) -> io::Result<()> {
        let Some(known) = self.add(directory, ALL)? else { return Ok(()) };
        known.everything = true;
        if depth == 0 {
            return Ok(());
        }
        let Ok(there) = std::fs::read_dir(directory) else { return Ok(()) };
        for entry in there.flatten() {
            // Not through links, which may lead anywhere.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add_tree(&entry.path(), depth - 1)?;
            }
        }
        Ok(())
    }

    /// Waits for the first directory on the way that is missing.
    fn await_place(&mut self, place: &Path, depth: usize) -> io::Result<()> {
        let mut missing = place;
        while let (Some(above), Some(name)) = (missing.parent(), missing.file_name()) {
            if above.is_dir() {
                if let Some(known) = self.add(above, NAMES)? {
                    known.names.insert(name.to_owned());
                }
                // It may have been made just before.
                return match missing.is_dir() && missing != place {
                    true => self.await_place(place, depth),
                    false if missing.is_dir() => self.add_tree(place, depth),
                    false => Ok(()),
                };
            }
            missing = above;
        }
        Ok(())
    }

    /// `None` for a directory that is just gone.
    fn add(&mut self, directory: &Path, mask: WatchMask) -> io::Result<Option<&mut Known>> {
        if self.known.len() >= MOST {
            return Err(io::Error::other(format!("there are more than {MOST} directories")));
        }
        match self.inotify.watches().add(directory, mask) {
            Ok(descriptor) => Ok(Some(self.known.entry(descriptor).or_default())),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Err(io::Error::other(
                "the system's limit is reached (sysctl fs.inotify.max_user_watches)",
            )),
            Err(_) => Ok(None),
        }
    }

    /// Takes what happened; whether any of it counts.
    fn take(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let mut counts = false;
        loop {
            let events = match self.inotify.read_events(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(counts),
                other => other?,
            };
            for event in events {
                if event.mask.contains(EventMask::IGNORED) {
                    continue;
                }
                counts |= event.mask.intersects(
                    EventMask::Q_OVERFLOW | EventMask::DELETE_SELF | EventMask::MOVE_SELF,
                ) || self.known.get(&event.wd).is_some_and(|known| {
                    let name = event.name;
                    known.everything || name.is_some_and(|name| known.names.contains(name))
                });
            }
        }
    }
}

/// Whether a package manager is at work.
fn is_installing(root: &Path) -> bool {
    if root.join(PACMAN).exists() {
        return true;
    }
    let locked = std::fs::read_to_string(root.join("proc/locks")).unwrap_or_default();
    let locked: BTreeSet<u64> = locked.lines().filter_map(locked_inode).collect();
    let inode = |path: &str| std::fs::metadata(root.join(path)).map(|meta| meta.ino());
    LOCKS.iter().any(|path| inode(path).is_ok_and(|inode| locked.contains(&inode)))
}

/// The inode of a line of /proc/locks: `1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF`.
fn locked_inode(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| {
        let mut parts = word.split(':');
        let (major, minor, inode) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str| !text.is_empty() && u32::from_str_radix(text, 16).is_ok();
        (is_hex(major) && is_hex(minor) && parts.next().is_none()).then(|| inode.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_told_by_its_inode() {
        let line = "1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF";
        assert_eq!(locked_inode(line), Some(2_531_452));
        assert_eq!(locked_inode("2: -> FLOCK  ADVISORY  WRITE 3568 00:2e:77 0 EOF"), Some(77));
        assert_eq!(locked_inode("3: POSIX ADVISORY WRITE 1 <none>:0 0 EOF"), None);
    }

    fn scratch(name: &str) -> PathBuf {
        let name = format!("incusbox-watch-{name}-{}", std::process::id());
        let base = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&base).expect("a directory");
        base
    }

    #[test]
    fn what_is_made_in_a_place_counts_and_what_is_beside_it_does_not() {
        let base = scratch("places");
        let place = base.join("share/applications");
        let mut watch =
            Watch { inotify: Inotify::init().expect("inotify"), known: BTreeMap::new() };
        let places = [(place.clone(), DEEPEST)];
        watch.renew(&places).expect("a watch");
        std::fs::write(base.join("beside"), "").expect("a file");
        assert!(!watch.take().expect("events"));
        // The way to it, step by step.
        std::fs::create_dir(base.join("share")).expect("a directory");
        assert!(watch.take().expect("events"));
        watch.renew(&places).expect("a watch");
        std::fs::create_dir_all(place.join("kde")).expect("a directory");
        assert!(watch.take().expect("events"));
        watch.renew(&places).expect("a watch");
        std::fs::write(base.join("share/beside"), "").expect("a file");
        assert!(!watch.take().expect("events"), "what was waited for is there");
        std::fs::write(place.join("kde/a.desktop"), "").expect("a file");
        assert!(watch.take().expect("events"));
        std::fs::remove_dir_all(base.join("share")).expect("it goes");
        assert!(watch.take().expect("events"));
        std::fs::remove_dir_all(base).expect("it goes");
    }

    #[test]
    fn who_holds_a_lock_is_at_work() {
        let base = scratch("locks");
        std::fs::create_dir_all(base.join("var/lib/dpkg")).expect("a directory");
        std::fs::create_dir_all(base.join("proc")).expect("a directory");
        let lock = base.join("var/lib/dpkg/lock-frontend");
        std::fs::write(&lock, "").expect("a file");
        assert!(!is_installing(&base));
        let inode = std::fs::metadata(&lock).expect("a file").ino();
        let line = format!("1: POSIX  ADVISORY  WRITE 9 fd:00:{inode} 0 EOF\n");
        std::fs::write(base.join("proc/locks"), line).expect("a file");
        assert!(is_installing(&base));
        std::fs::write(base.join("proc/locks"), "").expect("a file");
        std::fs::create_dir_all(base.join("var/lib/pacman")).expect("a directory");
        std::fs::write(base.join(PACMAN), "").expect("a file");
        assert!(is_installing(&base));
        std::fs::remove_dir_all(base).expect("it goes");
    }
}
