//! The programs of the host's own. One that comes later has its id to itself: the user's directory
//! comes before the host's, so what a box has there under that id would be started in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchDescriptor, WatchMask};

/// How long after a change boxes are looked at: a package manager writes many entries.
const QUIET: Duration = Duration::from_secs(1);
/// Where they are if nothing says so (XDG Base Directory Specification).
const USUAL: &str = "/usr/local/share:/usr/share";

/// The host's directories of entries.
pub struct Hosts {
    inotify: Inotify,
    followed: BTreeMap<PathBuf, WatchDescriptor>,
    due: Option<Instant>,
}

impl Hosts {
    /// Of no directories yet.
    ///
    /// # Errors
    /// inotify(7)'s.
    pub fn new() -> io::Result<Hosts> {
        Ok(Hosts { inotify: Inotify::init()?, followed: BTreeMap::new(), due: None })
    }

    /// Follows the directories that the variable `XDG_DATA_DIRS` names, of those that are there.
    pub fn follow(&mut self, data_dirs: Option<&str>) {
        let named = data_dirs.filter(|dirs| !dirs.is_empty()).unwrap_or(USUAL);
        let named = named.split(':').map(PathBuf::from).filter(|path| path.is_absolute());
        let wanted: BTreeSet<PathBuf> = named.map(|path| path.join("applications")).collect();
        let mut watches = self.inotify.watches();
        self.followed.retain(|path, watch| {
            // One whose directory is gone is so too.
            let stays = wanted.contains(path) && path.is_dir();
            if !stays {
                let _gone_with_its_directory = watches.remove(watch.clone());
            }
            stays
        });
        let changes = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::DELETE
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
                // Of more than the kernel tells of, nothing has a name.
                let is_entry =
                    |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(b".desktop");
                if event.name.is_none_or(is_entry) {
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
        self.due.take_if(|due| *due <= Instant::now()).is_some()
    }
}

impl AsFd for Hosts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
