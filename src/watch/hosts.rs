//! The programs of the host's own. One that comes later has its id to itself: the user's directory
//! comes before the host's, so what a box has there under that id would be started in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

/// How long after a change boxes are looked at: a package manager writes many entries.
const QUIET: Duration = Duration::from_secs(1);
/// Where they are if nothing says so (XDG Base Directory Specification).
const USUAL: &str = "/usr/local/share:/usr/share";

/// How many directories below one of entries are followed.
const MOST_BELOW: usize = 64;

/// What counts whatever its name: a directory, and more than the kernel tells of.
const ALWAYS: EventMask = EventMask::ISDIR
    .union(EventMask::DELETE_SELF)
    .union(EventMask::MOVE_SELF)
    .union(EventMask::Q_OVERFLOW);

/// The host's directories of entries.
pub struct Hosts {
    inotify: Inotify,
    /// Where entries are, or would be.
    places: BTreeSet<PathBuf>,
    followed: BTreeMap<PathBuf, WatchDescriptor>,
    due: Option<Instant>,
}

impl Hosts {
    /// Of no directories yet.
    ///
    /// # Errors
    /// inotify(7)'s.
    pub fn new() -> io::Result<Hosts> {
        let (places, followed) = (BTreeSet::new(), BTreeMap::new());
        Ok(Hosts { inotify: Inotify::init()?, places, followed, due: None })
    }

    /// Follows the directories that the variable `XDG_DATA_DIRS` names.
    pub fn follow(&mut self, data_dirs: Option<&str>) {
        let named = data_dirs.filter(|dirs| !dirs.is_empty()).unwrap_or(USUAL);
        let named = named.split(':').map(PathBuf::from).filter(|path| path.is_absolute());
        self.places = named.map(|path| path.join("applications")).collect();
        self.renew();
    }

    /// Follows what there is now: of a directory that is not there, the one where it will be made.
    fn renew(&mut self) {
        let mut wanted = BTreeSet::new();
        for place in &self.places {
            match std::fs::read_dir(place) {
                Ok(there) => {
                    let directories =
                        there.flatten().filter(|one| one.file_type().is_ok_and(|one| one.is_dir()));
                    wanted.extend(directories.map(|one| one.path()).take(MOST_BELOW));
                    wanted.insert(place.clone());
                }
                Err(_) => {
                    let nearest = place.ancestors().find(|above| above.is_dir());
                    wanted.extend(nearest.map(Path::to_owned));
                }
            }
        }
        let mut watches = self.inotify.watches();
        self.followed.retain(|path, watch| {
            let stays = wanted.contains(path);
            if !stays {
                let _gone_with_its_directory = watches.remove(watch.clone());
            }
            stays
        });
        let changes = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        for path in wanted {
            // One that is followed already stays so.
            if let Ok(watch) = watches.add(&path, changes) {
                self.followed.insert(path, watch);
            }
        }
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn hear(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let events = match self.inotify.read_events(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                events => events?,
            };
            for event in events {
                let is_entry =
                    |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(b".desktop");
                if event.mask.intersects(ALWAYS) || event.name.is_some_and(is_entry) {
                    self.due.get_or_insert_with(|| Instant::now() + QUIET);
                }
            }
        }
    }

    /// When to ask what is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Whether boxes are to be looked at now. It is said once.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.due.take_if(|due| *due <= Instant::now()).is_some();
        if is_due {
            self.renew();
        }
        is_due
    }
}

impl AsFd for Hosts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_into_a_place_that_was_not_there_is_seen() {
        let base = std::env::temp_dir().join(format!("incusbox-hosts-{}", std::process::id()));
        std::fs::create_dir(&base).expect("a directory");
        let mut hosts = Hosts::new().expect("inotify");
        let share = base.join("exports/share");
        hosts.follow(share.to_str());
        let mut sees = || {
            hosts.hear().expect("a look");
            let due = hosts.due.as_mut().map(|due| *due = Instant::now()).is_some();
            assert_eq!(hosts.is_due(), due);
            due
        };
        std::fs::write(base.join("a file"), "").expect("a file");
        assert!(!sees());
        for part in ["exports", "exports/share", "exports/share/applications"] {
            std::fs::create_dir(base.join(part)).expect("a directory");
            assert!(sees(), "{part}");
        }
        let place = share.join("applications");
        std::fs::write(place.join("mimeinfo.cache"), "").expect("a file");
        assert!(!sees());
        std::fs::write(place.join("a.desktop"), "").expect("a file");
        assert!(sees());
        std::fs::create_dir(place.join("kde")).expect("a directory");
        assert!(sees());
        std::fs::write(place.join("kde/a.desktop"), "").expect("a file");
        assert!(sees());
        std::fs::remove_file(place.join("kde/a.desktop")).expect("a file");
        assert!(sees() && !sees());
        std::fs::remove_dir_all(base).expect("a directory");
    }
}
