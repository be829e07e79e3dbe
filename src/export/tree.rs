//! Files on the host, each old or new and never half: written beside their place, flushed, renamed.
//!
//! A directory is opened once and all that happens in it is told by its descriptor, so nothing that
//! moves meanwhile leads anywhere else. Links to directories are followed, for people keep such in
//! their homes; a file's place is never followed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::desktop::hosted::digest;

/// No file of ours is larger, in bytes: a picture.
const MOST_BYTES: u64 = 8 << 20;
/// From how many files on the whole file system is flushed at once, which is quicker then.
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

/// The directories that were opened.
#[derive(Debug, Default)]
pub struct Tree {
    directories: BTreeMap<PathBuf, OwnedFd>,
    /// Files that were written and are not in their places yet.
    written: Vec<Written>,
    /// How many names of temporary files were used.
    count: usize,
    /// What tells whether files that were put into their places are still the same.
    stamps: BTreeMap<PathBuf, String>,
    /// Directories with changes to flush.
    changed: Vec<PathBuf>,
}

#[derive(Debug)]
struct Written {
    path: PathBuf,
    temporary: String,
    file: File,
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
            other => other?,
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
        File::from(opened).take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(There::File(Seen { hash: digest(&bytes), stamp: stamp(&stat) }))
    }

    /// Writes files and puts them into their places: path, content, mode, and whether nothing may be
    /// in its place.
    ///
    /// # Errors
    /// The first that occurs. Before all are written none is in its place; what is not there then is
    /// taken away again.
    pub fn write_all<'a>(
        &mut self,
        files: impl IntoIterator<Item = (&'a Path, &'a [u8], u32, bool)>,
    ) -> io::Result<()> {
        let mut files = files.into_iter();
        let written =
            files.try_for_each(|(path, bytes, mode, is_new)| self.write(path, bytes, mode, is_new));
        let all = std::mem::take(&mut self.written);
        let done = written.and_then(|()| self.put(&all));
        if done.is_err() {
            self.discard(&all);
        }
        let flushed = self.flush_directories();
        done.and(flushed)
    }

    /// Writes a file beside its place.
    fn write(&mut self, path: &Path, bytes: &[u8], mode: u32, is_new: bool) -> io::Result<()> {
        let (parent, _) = split(path)?;
        let first = self.count;
        let mut number = first;
        let directory = self.directory(parent, true)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // Of a name that nobody made: somebody else, or one who crashed.
        let (temporary, opened) = loop {
            let name = format!(".incusbox-{}-{number}.tmp", std::process::id());
            match rustix::fs::openat(directory, &name, flags, Mode::from_raw_mode(mode)) {
                Err(Errno::EXIST) if number < first + MOST_TRIES => number += 1,
                other => break (name, other?),
            }
        };
        self.count = number + 1;
        let mut file = File::from(opened);
        let done = file.write_all(bytes);
        self.written.push(Written { path: path.to_owned(), temporary, file, is_new });
        done
    }

    fn put(&mut self, written: &[Written]) -> io::Result<()> {
        match written {
            [one, ..] if written.len() >= MANY => rustix::fs::syncfs(&one.file)?,
            few => few.iter().try_for_each(|one| one.file.sync_all())?,
        }
        for Written { path, temporary, file, is_new } in written {
            let (parent, name) = split(path)?;
            let directory = self.directory(parent, false)?;
            let flags = if *is_new { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
            match rustix::fs::renameat_with(directory, temporary, directory, name, flags) {
                // Not all file systems know it; the place was looked at a moment ago.
                Err(Errno::INVAL) => rustix::fs::renameat(directory, temporary, directory, name)?,
                other => other?,
            }
            self.stamps.insert(path.clone(), stamp(&rustix::fs::fstat(file)?));
            self.note(parent);
        }
        Ok(())
    }

    /// Takes away what was written and is not in its place.
    fn discard(&mut self, written: &[Written]) {
        for Written { path, temporary, .. } in written {
            let Ok((parent, _)) = split(path) else { continue };
            if let Ok(directory) = self.directory(parent, false) {
                let _in_its_place = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
            }
        }
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
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Renames what is at `path` so that no desktop reads it, and says how it is called now.
    ///
    /// # Errors
    /// Of the directory and the file.
    pub fn set_aside(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = split(path)?;
        let directory = self.directory(parent, false)?;
        for number in 1..MOST_TRIES {
            let mut aside = name.to_owned();
            aside.push(format!(".changed-{number}"));
            if rustix::fs::statat(directory, &aside, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                continue;
            }
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(directory, name, directory, &aside, flags) {
                Err(Errno::EXIST) => continue,
                // Not all file systems know it.
                Err(Errno::INVAL) => rustix::fs::renameat(directory, name, directory, &aside)?,
                other => other?,
            }
            self.note(parent);
            return Ok(parent.join(aside));
        }
        Err(io::Error::other("there are a thousand others already"))
    }

    /// Flushes what was removed or renamed.
    ///
    /// # Errors
    /// Of flushing.
    pub fn flush_directories(&mut self) -> io::Result<()> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().try_for_each(|path| Ok(rustix::fs::fsync(self.directory(path, false)?)?))
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
                    std::fs::create_dir_all(path)?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Ok(place.insert(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
            }
        }
    }
}

/// Directory and name.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let none = || io::Error::other(format!("`{}` is no path of a file", path.display()));
    Ok((path.parent().ok_or_else(none)?, path.file_name().ok_or_else(none)?))
}

fn stamp(stat: &Stat) -> String {
    format!("{}:{}:{}.{:09}", stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}
