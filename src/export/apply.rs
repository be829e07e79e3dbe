//! Makes the files on the host what a plan says, and no others.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::defaults;
use super::kept::Kept;
use super::manifest::{Exports, Record};
use super::plan::{Content, Plan, Wanted};
use super::tree::{New, Seen, There, Tree};
use crate::desktop::hosted::digest;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that are new or were written anew.
    pub written: Vec<PathBuf>,
    /// Files that are gone.
    pub removed: Vec<PathBuf>,
    /// Files that somebody had changed, and what they are called now.
    pub aside: Vec<(PathBuf, PathBuf)>,
    /// Places that have something else, which was left alone.
    pub foreign: Vec<PathBuf>,
    /// Places that have something of another box's, and of which.
    pub of_others: Vec<(PathBuf, String)>,
}

impl Done {
    /// Whether nothing had to be done.
    pub fn is_nothing(&self) -> bool {
        *self == Done::default()
    }

    /// What is to be said of files that somebody had changed.
    pub fn said_of_aside(&self) -> impl Iterator<Item = String> {
        self.aside.iter().map(|(path, now)| {
            let (path, now) = (path.display(), now.display());
            format!("`{path}` was changed by somebody; it is kept as `{now}`")
        })
    }
}

/// How closely is looked at what should be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At its size and times.
    Quick,
    /// At every byte.
    Close,
}

/// A file to write.
struct ToWrite {
    path: PathBuf,
    wanted: Wanted,
    hash: String,
    bytes: Rc<[u8]>,
    /// What of ours is there now; nobody's file may be there otherwise.
    there: Option<Seen>,
}

impl ToWrite {
    fn file(&self) -> New<'_> {
        let ToWrite { path, hash, bytes, wanted, there } = self;
        New { path, bytes, mark: hash, mode: wanted.mode, is_new: there.is_none() }
    }
}

/// Whether it can be run, if it shall be.
fn has_mode(there: &There, mode: u32) -> bool {
    mode & 0o111 == 0 || matches!(there, There::File(seen) if seen.is_executable())
}

/// Makes it so, for the box with this id. The list is saved before and after.
///
/// # Errors
/// Of files; what was done by then is in the list, and the next time goes on from there.
pub fn apply(kept: &mut Kept, uuid: &str, plan: Plan, look: Look) -> io::Result<Done> {
    let others = kept.manifest.boxes.iter().filter(|one| one.uuid != uuid);
    let others: BTreeMap<PathBuf, String> = others
        .flat_map(|one| one.files.keys().map(|path| (path.clone(), one.name.clone())))
        .collect();
    kept.sweep()?;
    let Some(at) = kept.manifest.boxes.iter().position(|one| one.uuid == uuid) else {
        return Ok(Done::default());
    };
    let mut tree = Tree::default();
    let mut done = Done::default();
    let mut aside = Vec::new();
    let mut to_write = Vec::new();
    let mut gone: BTreeMap<PathBuf, Record> = kept.manifest.boxes[at].files.clone();
    for (path, wanted) in plan.files {
        let record = gone.remove(&path);
        if let (None, Some(name)) = (&record, others.get(&path)) {
            done.of_others.push((path, name.clone()));
            continue;
        }
        let last = record.as_ref().and_then(|record| record.seen.as_ref());
        let there = tree.look(&path, last.filter(|_| look == Look::Quick))?;
        let state = state(&there, record.as_ref());
        let exports = &mut kept.manifest.boxes[at];
        let Content::Bytes(bytes) = wanted.content.clone() else {
            // Whatever became of it: there is nothing to put in its place.
            share(exports, &path, wanted, matches!(state, State::Ours(_)));
            continue;
        };
        let hash = digest(&bytes);
        match state {
            State::Foreign => {
                done.foreign.push(path);
                continue;
            }
            State::Changed => aside.push(path.clone()),
            State::Absent => {}
            State::Ours(has) if has == hash && has_mode(&there, wanted.mode) => {
                keep(exports, path, wanted, there);
                continue;
            }
            State::Ours(_) => {}
        }
        let there = match (state, there) {
            (State::Ours(_), There::File(seen)) => Some(seen),
            _ => None,
        };
        to_write.push(ToWrite { path, wanted, hash, bytes, there });
    }
    let mut to_remove = Vec::new();
    for (path, record) in gone {
        let last = record.seen.as_ref().filter(|_| look == Look::Quick);
        match state(&tree.look(&path, last)?, Some(&record)) {
            State::Ours(_) | State::Absent => to_remove.push(path),
            State::Changed => {
                aside.push(path.clone());
                to_remove.push(path);
            }
            // It was announced and never written.
            State::Foreign => {
                kept.manifest.boxes[at].files.remove(&path);
            }
        }
    }
    // An entry comes after its icon, and goes before it.
    to_write.sort_by_key(|one| is_entry(&one.path));
    to_remove.sort_by_key(|path| !is_entry(path));
    if to_write.is_empty() && to_remove.is_empty() && aside.is_empty() {
        return kept.save().map(|()| done);
    }
    let aside = aside
        .into_iter()
        .map(|path| Ok((tree.free_name(&path)?, path)))
        .collect::<io::Result<Vec<_>>>()?;
    kept.manifest.defaults_are_due |= uuid != defaults::OWNER;
    kept.manifest.untold.extend(to_write.iter().map(|one| one.path.clone()));
    kept.manifest.untold.extend(to_remove.iter().cloned());
    kept.manifest.aside.extend(aside.iter().cloned());
    // Until it is done it follows from nothing.
    kept.manifest.boxes[at].settled = None;
    announce(&mut kept.manifest.boxes[at], &to_write);
    kept.save()?;
    tree.write(to_write.iter().map(ToWrite::file))?;
    // Once nothing but their places is wanting, so that nobody's file makes room for none.
    if let Err(error) = aside.iter().try_for_each(|(now, path)| tree.set_aside(path, now)) {
        tree.discard();
        return Err(error);
    }
    tree.put()?;
    let exports = &mut kept.manifest.boxes[at];
    for ToWrite { path, wanted, hash, .. } in to_write {
        let stamp = tree.stamp(&path);
        let seen = Some(Seen { hash, stamp });
        let record = Record { seen, next: None, users: wanted.users, source: wanted.source };
        exports.files.insert(path.clone(), record);
        done.written.push(path);
    }
    for path in to_remove {
        tree.remove(&path)?;
        exports.files.remove(&path);
        done.removed.push(path);
    }
    tree.flush_directories()?;
    done.aside = aside.into_iter().map(|(now, path)| (path, now)).collect();
    kept.save().map(|()| done)
}

/// Whether a file is an entry.
pub fn is_entry(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "desktop")
}

/// Says in the list what is about to be written.
fn announce(exports: &mut Exports, to_write: &[ToWrite]) {
    for one in to_write {
        let record = exports.files.entry(one.path.clone()).or_default();
        // Also what one announced and put there who did not come to saying so.
        record.seen = one.there.clone().or(record.seen.take());
        record.next = Some(one.hash.clone());
        record.users.extend(one.wanted.users.iter().cloned());
    }
}

/// What is at a path, as to whom it belongs.
enum State {
    Absent,
    /// Ours, with this hash.
    Ours(String),
    /// It was ours, and somebody changed it.
    Changed,
    /// It never was.
    Foreign,
}

fn state(there: &There, record: Option<&Record>) -> State {
    match (there, record) {
        (There::Nothing, _) => State::Absent,
        (There::File(seen), Some(record)) if record.is_ours(&seen.hash) => {
            State::Ours(seen.hash.clone())
        }
        // What was announced and is not there was not written: nothing there is ours.
        (_, Some(record)) if record.seen.is_some() => State::Changed,
        _ => State::Foreign,
    }
}

/// Notes a file that is as it should be.
fn keep(exports: &mut Exports, path: PathBuf, wanted: Wanted, there: There) {
    let There::File(seen) = there else { return };
    let Wanted { users, source, .. } = wanted;
    let record = Record { seen: Some(seen), next: None, users, source };
    exports.files.insert(path, record);
}

/// Notes whose a file is that stays as it is.
fn share(exports: &mut Exports, path: &Path, wanted: Wanted, is_there: bool) {
    if let Some(record) = exports.files.get_mut(path) {
        record.users = wanted.users;
        // A picture that is gone or changed is to be sent the next time.
        record.source = wanted.source.filter(|_| is_there);
    }
}

#[cfg(test)]
mod tests;
