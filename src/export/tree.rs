//! Files on the host, each old or new and never half: written beside their place, flushed, renamed.
//!
//! A directory is opened once and all that happens in it is told by its descriptor, so nothing that
//! moves meanwhile leads anywhere else. Links to directories are followed, for people keep such in
//! their homes; a file's place is never followed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::failed::at;
use crate::desktop::hosted::digest;

/// No file of ours is larger, in bytes: a picture.
/// The end of a stamp of what can be run.
const RUNS: &str = ":x";
const MOST_BYTES: u64 = 8 << 20;
/// For more files than these the whole file system is flushed at once, which is quicker then.
const MANY: usize = 32;
/// How many names are tried.
const MOST_TRIES: usize = 1000;

/// What is in a file's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A regular file.
    File(Seen),
    /// Something else, or what nobody may read.
    Other,
}

/// A regular file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The SHA-256 of what is in it.
    pub hash: String,
    /// What tells without reading whether it is still the same.
    pub stamp: String,
}

impl Seen {
    /// Whether it could be run.
    pub fn is_executable(&self) -> bool {
        self.stamp.ends_with(RUNS)
    }
}

/// A file that shall be.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Its place.
    pub path: &'a Path,
    /// What is in it.
    pub bytes: &'a [u8],
    /// What names its temporary file: the hash in the list, so that the list tells of what a crash
    /// left.
    pub mark: &'a str,
    /// Its permissions.
    pub mode: u32,
    /// Whether nothing may be in its place.
    pub is_new: bool,
}

/// The directories that were opened.
#[derive(Debug, Default)]
pub struct Tree {
    directories: BTreeMap<PathBuf, OwnedFd>,
    /// Files that were written and are not in their places yet.
    written: Vec<Written>,
    /// What tells whether files that were put into their places are still the same.
    stamps: BTreeMap<PathBuf, String>,
    /// Directories with changes to flush.
    changed: Vec<PathBuf>,
}

#[derive(Debug)]
struct Written {
    path: PathBuf,
    temporary: String,
    /// As long as it is to be flushed alone.
    file: Option<File>,
    is_new: bool,
}

impl Tree {
    /// What is at `path`. The stamp of what was seen there last spares reading it.
    ///
    /// # Errors
    /// Of opening its directory.
    pub fn look(&mut self, path: &Path, last: Option<&Seen>) -> io::Result<There> {
        let (parent, name) = split(path)?;
        let directory = match self.directory(parent, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
            other => other?,
        };
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(There::Nothing),
            other => other.map_err(|error| at(path)(error.into()))?,
        };
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        if !is_file || u64::try_from(stat.st_size).is_ok_and(|size| size > MOST_BYTES) {
            return Ok(There::Other);
        }
        if let Some(seen) = last.filter(|seen| seen.stamp == stamp(&stat)) {
            return Ok(There::File(seen.clone()));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(opened) = rustix::fs::openat(directory, name, flags, Mode::empty()) else {
            return Ok(There::Other);
        };
        let mut bytes = Vec::new();
        File::from(opened).take(MOST_BYTES).read_to_end(&mut bytes).map_err(at(path))?;
        Ok(There::File(Seen { hash: digest(&bytes), stamp: stamp(&stat) }))
    }

    /// Writes files beside their places, and flushes them.
    ///
    /// # Errors
    /// The first that occurs; then none is there any more.
    pub fn write<'a>(&mut self, files: impl IntoIterator<Item = New<'a>>) -> io::Result<()> {
        let written = files.into_iter().try_for_each(|file| self.write_one(file));
        let done = written.and_then(|()| self.flush_written());
        if done.is_err() {
            self.discard();
        }
        done
    }

    fn write_one(&mut self, New { path, bytes, mark, mode, is_new }: New<'_>) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let temporary = temporary(name, mark);
        let directory = self.directory(parent, true)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(directory, &temporary, flags, Mode::from_raw_mode(mode));
        let opened = match open() {
            // Of one who crashed: nobody else makes files of such a name.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(directory, &temporary, AtFlags::empty()).and_then(|()| open())
            }
            other => other,
        };
        let mut file = File::from(opened.map_err(|error| at(path)(error.into()))?);
        let done = file.write_all(bytes);
        // A process may have a thousand files open, and a box more icons.
        let file = Some(file).filter(|_| self.written.len() < MANY);
        self.written.push(Written { path: path.to_owned(), temporary, file, is_new });
        done.map_err(at(path))
    }

    fn flush_written(&mut self) -> io::Result<()> {
        if self.written.len() <= MANY {
            let mut files =
                self.written.iter().filter_map(|one| Some((&one.path, one.file.as_ref()?)));
            return files.try_for_each(|(path, file)| file.sync_all().map_err(at(path)));
        }
        let parents = self.written.iter().filter_map(|one| one.path.parent().map(Path::to_owned));
        let parents: BTreeSet<PathBuf> = parents.collect();
        let mut flushed = BTreeSet::new();
        for parent in parents {
            let directory = self.directory(&parent, false)?;
            if flushed.insert(rustix::fs::fstat(directory)?.st_dev) {
                rustix::fs::syncfs(directory).map_err(|error| at(&parent)(error.into()))?;
            }
        }
        Ok(())
    }

    /// Puts what was written into its place, in that order, and flushes the directories.
    ///
    /// # Errors
    /// The first that occurs; what is not in its place then is taken away again.
    pub fn put(&mut self) -> io::Result<()> {
        let written = std::mem::take(&mut self.written);
        let mut done = Ok(());
        for (count, one) in written.iter().enumerate() {
            done = self.put_one(one);
            if done.is_err() {
                self.written.extend(written.into_iter().skip(count));
                self.discard();
                break;
            }
        }
        let flushed = self.flush_directories();
        done.and(flushed)
    }

    fn put_one(&mut self, Written { path, temporary, is_new, .. }: &Written) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let directory = self.directory(parent, false)?;
        let written = rustix::fs::statat(directory, temporary, AtFlags::SYMLINK_NOFOLLOW);
        let written = written.map_err(|error| at(path)(error.into()))?;
        let flags = if *is_new { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        let renamed = match rustix::fs::renameat_with(directory, temporary, directory, name, flags)
        {
            // Not all file systems know it; the place was looked at a moment ago.
            Err(Errno::INVAL) => rustix::fs::renameat(directory, temporary, directory, name),
            other => other,
        };
        renamed.map_err(|error| at(path)(error.into()))?;
        self.stamps.insert(path.clone(), stamp(&written));
        self.note(parent);
        Ok(())
    }

    /// Takes away what was written and is not in its place.
    pub fn discard(&mut self) {
        for Written { path, temporary, .. } in std::mem::take(&mut self.written) {
            let Ok((parent, _)) = split(&path) else { continue };
            if let Ok(directory) = self.directory(parent, false) {
                let _swept_the_next_time =
                    rustix::fs::unlinkat(directory, &temporary, AtFlags::empty());
            }
        }
    }

    /// Removes the temporary file of one who crashed when this was to be put to `path`.
    ///
    /// # Errors
    /// Of the directory and the file.
    pub fn remove_temporary(&mut self, path: &Path, mark: &str) -> io::Result<()> {
        let (parent, name) = split(path)?;
        self.remove(&parent.join(temporary(name, mark)))
    }

    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// Of the directory and the file.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let directory = match self.directory(parent, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) => self.note(parent),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(at(path)(error.into())),
        }
        Ok(())
    }

    /// A name beside `path` that nothing has and no desktop reads.
    ///
    /// # Errors
    /// When there are too many already.
    pub fn free_name(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = split(path)?;
        let directory = self.directory(parent, false)?;
        for number in 1..MOST_TRIES {
            let mut aside = name.to_owned();
            aside.push(format!(".changed-{number}"));
            if rustix::fs::statat(directory, &aside, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                return Ok(parent.join(aside));
            }
        }
        Err(at(path)(io::Error::other("there are a thousand others already")))
    }

    /// Renames what is at `path` to another name in its directory, which nothing has.
    ///
    /// # Errors
    /// Of the directory and the file.
    pub fn set_aside(&mut self, path: &Path, aside: &Path) -> io::Result<()> {
        let ((parent, name), (_, aside)) = (split(path)?, split(aside)?);
        let directory = self.directory(parent, false)?;
        let flags = RenameFlags::NOREPLACE;
        let renamed = match rustix::fs::renameat_with(directory, name, directory, aside, flags) {
            // Not all file systems know it.
            Err(Errno::INVAL) => rustix::fs::renameat(directory, name, directory, aside),
            other => other,
        };
        renamed.map_err(|error| at(path)(error.into()))?;
        self.note(parent);
        Ok(())
    }

    /// Flushes what was removed or renamed.
    ///
    /// # Errors
    /// Of flushing.
    pub fn flush_directories(&mut self) -> io::Result<()> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().try_for_each(|path| flush(self.directory(path, false)?).map_err(at(path)))
    }

    /// What tells whether the file that was put to `path` is still the same.
    pub fn stamp(&self, path: &Path) -> String {
        self.stamps.get(path).cloned().unwrap_or_default()
    }

    fn note(&mut self, directory: &Path) {
        if !self.changed.iter().any(|known| known == directory) {
            self.changed.push(directory.to_owned());
        }
    }

    fn directory(&mut self, path: &Path, is_made: bool) -> io::Result<&OwnedFd> {
        match self.directories.entry(path.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                if is_made {
                    make_directory(path)?;
                }
                Ok(place.insert(open_directory(path)?))
            }
        }
    }
}

/// Makes a directory where it is missing, and those above it, so that a crash does not take it away
/// again with what is put there.
///
/// # Errors
/// Of the first directory that cannot be made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
    make_directory(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.and_then(|()| flush(&open_directory(parent)?)).map_err(at(path)),
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| at(path)(error.into()))
}

fn flush(directory: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(directory) {
        // Some file systems of other machines cannot do that. (fsync(2))
        Err(Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// The name of the temporary file beside `name`: it follows from the list, so what a crash left is
/// found, and no file of anybody else's has it.
fn temporary(name: &OsStr, mark: &str) -> String {
    let key = [name.as_bytes(), b"\0", mark.as_bytes()].concat();
    format!(".incusbox-{}.tmp", &digest(&key)[..32])
}

/// Directory and name.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let none = || io::Error::other(format!("`{}` is no path of a file", path.display()));
    Ok((path.parent().ok_or_else(none)?, path.file_name().ok_or_else(none)?))
}

fn stamp(stat: &Stat) -> String {
    let runs = if stat.st_mode & 0o111 == 0 { "" } else { RUNS };
    let Stat { st_ino, st_size, st_mtime, st_mtime_nsec, .. } = stat;
    format!("{st_ino}:{st_size}:{st_mtime}.{st_mtime_nsec:09}{runs}")
}
