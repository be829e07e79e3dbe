//! Which files on the host stand for something in a box: the one list of them, in
//! `$XDG_STATE_HOME/incusbox/exports.json`.
//!
//! It is written before anything is changed, with what shall be, and again after it; so a file that
//! is there is ours if its hash is either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::digest::digest;
use super::tree::{Seen, Tree};

/// The form of the list.
const VERSION: u32 = 1;

/// What all boxes have on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// Whether entries changed since the lists of defaults were looked at.
    #[serde(default)]
    pub defaults_are_due: bool,
    /// The boxes.
    pub boxes: Vec<Exports>,
}

/// What a box has on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exports {
    /// The name of the box.
    pub name: String,
    /// Its project.
    pub project: String,
    /// The fingerprint of the daemon that has it.
    pub daemon: String,
    /// Incus's id of it, which outlives a change of the name and is no other box's.
    pub uuid: String,
    /// What was chosen.
    pub chosen: Chosen,
    /// The files, by their paths.
    pub files: BTreeMap<PathBuf, Record>,
}

/// What shall be on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// All programs that menus show, and how.
    pub all: Option<Look>,
    /// Programs by their ids in the box, and how.
    pub apps: BTreeMap<String, Look>,
    /// Programs that are not meant by `all`.
    pub except: BTreeSet<String>,
    /// Commands by the paths of their shims.
    pub commands: BTreeMap<PathBuf, Shimmed>,
}

/// How a program is shown and run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// What is put behind its name; where there is none, the box's name if the host has the program
    /// too.
    pub label: Option<String>,
    /// More arguments.
    pub flags: Vec<String>,
}

/// A command with a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shimmed {
    /// Its name or path in the box.
    pub command: String,
    /// Whether root runs it.
    pub sudo: bool,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What is in it, as it was when it was put there; `None` for one that is not there yet.
    pub seen: Option<Seen>,
    /// The hash of what is being put there.
    pub next: Option<String>,
    /// Whose it is: `app:ID`, `command:PATH`.
    pub users: BTreeSet<String>,
    /// Which picture of the box's it is.
    pub source: Option<Source>,
}

/// A picture in a box.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What entries there call the icon.
    pub icon: String,
    /// The picture's path there.
    pub path: String,
    /// What tells whether it is still the same.
    pub stamp: String,
}

impl Record {
    /// Whether this was in it when it was put there.
    pub fn has(&self, bytes: &[u8]) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.hash == digest(bytes))
    }

    /// Whether a file with this hash is ours.
    pub fn is_ours(&self, hash: &str) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.hash == hash)
            || self.next.as_deref() == Some(hash)
    }
}

/// The list, which nobody else changes as long as this is there.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    tree: Tree,
    /// What is in the file.
    saved: Vec<u8>,
    /// What it says.
    pub manifest: Manifest,
    _lock: File,
}

impl Kept {
    /// Takes the list; `None` when somebody else has it.
    ///
    /// # Errors
    /// Of the file, and for one that is none of ours.
    pub fn take() -> io::Result<Option<Kept>> {
        let directories = xdg::BaseDirectories::with_prefix("incusbox");
        Kept::take_in(&directories.create_state_directory("")?)
    }

    /// Takes the list in this directory; `None` when somebody else has it.
    ///
    /// # Errors
    /// Of the file, and for one that is none of ours.
    pub fn take_in(directory: &Path) -> io::Result<Option<Kept>> {
        let (lock, path) = (directory.join("exports.lock"), directory.join("exports.json"));
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        let manifest = read(&path)?;
        let saved = serde_json::to_vec(&manifest)?;
        Ok(Some(Kept { path, tree: Tree::default(), saved, manifest, _lock: lock }))
    }

    /// Writes the list, if anything in it changed.
    ///
    /// # Errors
    /// Of the file; it is as it was then.
    pub fn save(&mut self) -> io::Result<()> {
        self.manifest.tidy();
        let bytes = serde_json::to_vec(&self.manifest)?;
        if bytes != self.saved {
            self.tree.write_all([(&*self.path, &*bytes, 0o600, false)])?;
            self.saved = bytes;
        }
        Ok(())
    }
}

/// Reads the list, to look at.
///
/// # Errors
/// Of the file, and for one that is none of ours.
pub fn look() -> io::Result<Manifest> {
    let directories = xdg::BaseDirectories::with_prefix("incusbox");
    match directories.get_state_file("exports.json") {
        Some(path) => read(&path),
        None => Ok(Manifest::empty()),
    }
}

fn read(path: &Path) -> io::Result<Manifest> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Manifest::empty());
        }
        other => other?,
    };
    let bad = |why: String| {
        io::Error::other(format!(
            "{why}\nif it is damaged, move it away; incusbox then leaves the files alone that it lists"
        ))
    };
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    match manifest.version {
        VERSION => Ok(manifest),
        version => {
            Err(bad(format!("it is of version {version}, which this incusbox does not know")))
        }
    }
}

impl Manifest {
    fn empty() -> Manifest {
        Manifest { version: VERSION, defaults_are_due: false, boxes: Vec::new() }
    }

    /// What the box has, by its id; one that was renamed gets its new name.
    pub fn exports(&mut self, name: &str, project: &str, uuid: &str) -> &mut Exports {
        let found = self.boxes.iter().position(|one| one.uuid == uuid);
        let at = found.unwrap_or_else(|| {
            self.boxes.push(Exports { uuid: uuid.to_owned(), ..Exports::default() });
            self.boxes.len() - 1
        });
        let one = &mut self.boxes[at];
        (one.name, one.project) = (name.to_owned(), project.to_owned());
        one
    }

    /// Forgets boxes that have nothing and want nothing.
    fn tidy(&mut self) {
        self.boxes.retain(|one| !one.files.is_empty() || one.chosen != Chosen::default());
    }
}
