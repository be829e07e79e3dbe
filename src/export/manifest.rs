//! Which files on the host stand for something in a box: the one list of them, in
//! `$XDG_STATE_HOME/incusbox/exports.json`.
//!
//! It is written before anything is changed, with what shall be, and again after it; so a file that
//! is there is ours if its hash is either.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::failed::at;
use super::tree::{self, Seen};
use crate::agent::protocol::service::ServiceName;
use crate::desktop::hosted::digest;

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
    /// The files that the desktop was not told of yet.
    #[serde(default)]
    pub untold: BTreeSet<PathBuf>,
    /// Files that somebody had changed and the user was not told of yet: what they were called, by
    /// what they are called now. It is said before it is so.
    #[serde(default)]
    pub aside: BTreeMap<PathBuf, PathBuf>,
    /// The variables that say where files go and which desktop is told, as they were when somebody
    /// exported something: a service that follows boxes starts before a session sets them.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The boxes.
    pub boxes: Vec<Exports>,
}

/// What a box has on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exports {
    /// The name of the box.
    pub name: String,
    /// What it is called in its files.
    #[serde(default)]
    pub called: String,
    /// Its project.
    pub project: String,
    /// The fingerprint of the daemon that has it.
    pub daemon: String,
    /// Incus's id of it, which outlives a change of the name and is no other box's.
    pub uuid: String,
    /// What was chosen.
    pub chosen: Chosen,
    /// The MIME types of its programs that the host did not know.
    #[serde(default)]
    pub types: BTreeSet<String>,
    /// The files, by their paths.
    pub files: BTreeMap<PathBuf, Record>,
    /// What these are the whole outcome of.
    #[serde(default)]
    pub settled: Option<Settled>,
}

/// What the files of a box followed from, where nothing stood in the way of any. As long as it is so,
/// there is nothing to do but to look whether they are in their places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// The hash of what was on the host, and of what was chosen.
    pub asked: String,
    /// What told the box's answers from others.
    pub answered: u64,
}

/// What shall be on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// All programs that menus show, and how.
    pub all: Option<Look>,
    /// Programs by their ids in the box, and how.
    pub apps: BTreeMap<String, Look>,
    /// Which programs `all` means, by patterns of their ids or names; empty for all.
    #[serde(default)]
    pub only: BTreeSet<String>,
    /// Programs that are not meant by `all`, by their ids or patterns of these or of names.
    pub except: BTreeSet<String>,
    /// Commands by the paths of their shims.
    pub commands: BTreeMap<PathBuf, Shimmed>,
    /// Services by their names.
    #[serde(default)]
    pub services: BTreeSet<ServiceName>,
}

impl Exports {
    /// What has files on the host: kind and name of each, once.
    pub fn what(&self) -> BTreeSet<(&str, &str)> {
        let users = self.files.values().flat_map(|record| &record.users);
        users.map(|user| self.named(user)).collect()
    }

    /// Kind and name of what a file is for. A command is called as in the box, not by its shim.
    pub fn named<'a>(&'a self, user: &'a str) -> (&'a str, &'a str) {
        let (kind, what) = user.split_once(':').unwrap_or_default();
        let shimmed = self.chosen.commands.get(Path::new(what)).filter(|_| kind == "command");
        (kind, shimmed.map_or(what, |shimmed| &shimmed.command))
    }
}

impl Chosen {
    /// Whether `all` means this program, by its id and its name without a language.
    pub fn all_means(&self, id: &str, name: &str) -> bool {
        let is_it = |pattern: &String| {
            let pattern = WildMatch::new_case_insensitive(pattern);
            let stem = id.strip_suffix(".desktop").unwrap_or(id);
            [id, stem, name].into_iter().any(|text| pattern.matches(text))
        };
        let is_one = self.only.is_empty() || self.only.iter().any(is_it);
        is_one && !self.except.contains(id) && !self.except.iter().any(is_it)
    }
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
    /// Whether the box is shown what it opens.
    #[serde(default, skip_serializing_if = "Sharing::is_no")]
    pub files: Sharing,
}

/// What becomes of a file that a program shall open and its box does not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// It is refused.
    #[default]
    No,
    /// The box is shown it, read-only and for this run.
    PerRun,
}

impl Sharing {
    fn is_no(&self) -> bool {
        *self == Sharing::No
    }
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
    /// Whose it is: `app:ID`, `command:PATH`, `service:NAME`.
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

/// The directory of the list, which is made where it is missing.
///
/// # Errors
/// Of the directory.
pub fn directory() -> io::Result<PathBuf> {
    let home = xdg::BaseDirectories::with_prefix("incusbox").get_state_home();
    let directory = home.ok_or_else(|| io::Error::other("the variable HOME is not set"))?;
    tree::make_directory(&directory)?;
    Ok(directory)
}

/// The name of the list in it.
pub const FILE: &str = "exports.json";
/// What names its temporary file.
pub(super) const MARK: &str = "list";

/// What of the list is needed to follow boxes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Listing {
    /// Which have something on the host.
    pub boxes: Vec<Listed>,
    /// The variables of whoever exported something last.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// Which box has something on the host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// What it is called in its files.
    #[serde(default)]
    pub called: String,
    /// Its project.
    pub project: String,
    /// The fingerprint of its daemon.
    pub daemon: String,
    /// Incus's id of it.
    pub uuid: String,
}

/// Which boxes have something on the host. Nothing else of the list is read.
///
/// # Errors
/// Of the file, and for one that is none of ours.
pub fn listing() -> io::Result<Listing> {
    let directories = xdg::BaseDirectories::with_prefix("incusbox");
    let Some(path) = directories.get_state_file(FILE) else { return Ok(Listing::default()) };
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
        other => other?,
    };
    let mut listing: Listing = serde_json::from_slice(&bytes)?;
    // What is of no box is the lists of defaults.
    listing.boxes.retain(|one| !one.daemon.is_empty());
    Ok(listing)
}

/// Reads the list, to look at.
///
/// # Errors
/// Of the file, and for one that is none of ours.
pub fn look() -> io::Result<Manifest> {
    let directories = xdg::BaseDirectories::with_prefix("incusbox");
    match directories.get_state_file(FILE) {
        Some(path) => read(&path),
        None => Ok(Manifest::empty()),
    }
}

pub(super) fn read(path: &Path) -> io::Result<Manifest> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Manifest::empty());
        }
        other => other.map_err(at(path))?,
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
        Manifest {
            version: VERSION,
            defaults_are_due: false,
            untold: BTreeSet::new(),
            aside: BTreeMap::new(),
            environment: BTreeMap::new(),
            boxes: Vec::new(),
        }
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
    pub(super) fn tidy(&mut self) {
        self.boxes.retain(|one| !one.files.is_empty() || one.chosen != Chosen::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_box_has_is_told_once_and_a_command_as_it_is_called_there() {
        let record = |users: &[&str]| Record {
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            ..Record::default()
        };
        let shim = PathBuf::from("/home/u/bin/rg");
        let mut exports = Exports::default();
        let shimmed = Shimmed { command: "ripgrep".to_owned(), sudo: false };
        exports.chosen.commands.insert(shim.clone(), shimmed);
        exports.files.insert(shim, record(&["command:/home/u/bin/rg"]));
        exports.files.insert("/d/man/man1/rg.1".into(), record(&["command:/home/u/bin/rg"]));
        exports.files.insert("/d/a.desktop".into(), record(&["app:a.desktop"]));
        exports.files.insert("/d/a.png".into(), record(&["app:a.desktop", "app:b.desktop"]));
        let told = [("app", "a.desktop"), ("app", "b.desktop"), ("command", "ripgrep")];
        assert_eq!(exports.what(), told.into());
    }

    #[test]
    fn a_list_of_before_is_read_and_written_as_it_was() {
        let old = r#"{"label":null,"flags":["-x"]}"#;
        let look: Look = serde_json::from_str(old).expect("a look");
        assert_eq!(look.files, Sharing::No);
        assert_eq!(serde_json::to_string(&look).expect("text"), old);
        let new = Look { files: Sharing::PerRun, ..look };
        let written = serde_json::to_string(&new).expect("text");
        assert_eq!(serde_json::from_str::<Look>(&written).expect("a look"), new, "{written}");
    }
}
