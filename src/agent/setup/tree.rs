//! The box's files, below a directory that stands for its root.
//!
//! In a box that directory is `/`; in tests it is a tree of fixtures. Every path is resolved by the
//! kernel as if the directory were the root (openat2(2), RESOLVE_IN_ROOT), so a link never leads
//! out of it. A file is replaced whole or not at all, and only if its content changes: a temporary
//! name in the same directory, fsync, rename. What is no regular file is never written. In a box
//! that is thrown away if its set-up does not end, the fsyncs wait until then: one commit of the
//! file system's journal instead of one for each file.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

pub use super::access::{Access, give};
use super::failure::Failure;

/// Files of /etc that are larger than this are not what their names say.
const MOST_BYTES: u64 = 16 << 20;
/// As many links as the kernel follows, see path_resolution(7).
const MOST_LINKS: usize = 40;

/// The root of a box.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// Files whose fsync waits for the end; `None` where each has it at once.
    unsynced: RefCell<Option<Vec<File>>>,
}

/// Whether a file had to be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was as wanted.
    Kept,
    /// It is now.
    Made,
}

impl Change {
    /// Whether one of two had to be.
    pub fn or(self, other: Change) -> Change {
        if self == Change::Made { self } else { other }
    }
}

/// A name in a directory, with all links before it and behind it followed.
struct Place {
    directory: OwnedFd,
    name: OsString,
    /// What is there; links are followed, so this is none.
    found: Option<Stat>,
}

impl Tree {
    /// The tree below `root`.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(root: &Path) -> Result<Tree, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())
            .map_err(Failure::io("opening the root", root))?;
        Ok(Tree { root, unsynced: RefCell::new(None) })
    }

    /// From now on files count as written only after [`Tree::sync`].
    pub fn sync_at_the_end(&self) {
        self.unsynced.borrow_mut().get_or_insert_default();
    }

    /// Has all files that were written on the disk.
    ///
    /// # Errors
    /// fsync(2)'s.
    pub fn sync(&self) -> Result<(), Failure> {
        let waiting = self.unsynced.borrow_mut().take().unwrap_or_default();
        let synced = waiting.iter().try_for_each(File::sync_all);
        synced.map_err(Failure::io("writing", Path::new("/etc")))
    }

    /// Opens `path` with links resolved inside the tree.
    pub fn open_path(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT)
    }

    /// Opens `path` if no mount of its own lies on the way: a home of the host's is not the box's.
    pub fn open_unmounted(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV)
    }

    fn resolve(&self, path: &Path, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let how = how | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        // EAGAIN: something on the way was renamed meanwhile, see openat2(2).
        for _ in 0..100 {
            match rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// What `path` leads to; `None` when it leads to nothing.
    pub fn stat(&self, path: impl AsRef<Path>) -> Option<Stat> {
        rustix::fs::fstat(self.open_path(path.as_ref(), OFlags::PATH).ok()?).ok()
    }

    /// Whether `path` leads to anything.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.stat(path).is_some()
    }

    /// Whether `path` leads to a directory.
    pub fn is_directory(&self, path: impl AsRef<Path>) -> bool {
        self.stat(path).is_some_and(|stat| kind(&stat) == FileType::Directory)
    }

    /// Whether `path` leads to a regular file that may be executed.
    pub fn is_executable(&self, path: impl AsRef<Path>) -> bool {
        self.stat(path)
            .is_some_and(|stat| kind(&stat) == FileType::RegularFile && stat.st_mode & 0o111 != 0)
    }

    /// The first of the usual directories of programs that has `program`.
    pub fn program(&self, program: &str) -> Option<PathBuf> {
        const DIRECTORIES: &[&str] = &["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
        DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(program))
            .find(|path| self.is_executable(path))
    }

    /// What the link at `path` says; `None` when it is no link.
    pub fn link_target(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let path = path.as_ref();
        let directory = self.open_path(path.parent()?, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        let target = rustix::fs::readlinkat(&directory, path.file_name()?, Vec::new()).ok()?;
        Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// The names in a directory, sorted; none when it cannot be read.
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<OsString> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.open_path(path.as_ref(), flags).ok();
        directory.and_then(|directory| names_in(&directory).ok()).unwrap_or_default()
    }

    /// The content of a file; `None` when there is none.
    ///
    /// # Errors
    /// It is no regular file, or reading failed.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, Failure> {
        let path = path.as_ref();
        let Some(stat) = self.stat(path) else { return Ok(None) };
        refuse_others(path, &stat)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_path(path, flags).map_err(Failure::io("reading", path))?;
        let mut bytes = Vec::new();
        File::from(file)
            .take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(Failure::io("reading", path))?;
        Ok(Some(bytes))
    }

    /// The content of a file as text; nothing where there is none that can be read.
    pub fn text(&self, path: impl AsRef<Path>) -> String {
        let bytes = self.read(path).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Makes `bytes` the content of the file. One that exists keeps its owner and mode, a new one
    /// gets `access`; directories on the way are made.
    ///
    /// # Errors
    /// Something else than a regular file is there, or a call failed; the old content is whole.
    pub fn write(
        &self,
        path: impl AsRef<Path>,
        bytes: &[u8],
        access: Access,
    ) -> Result<Change, Failure> {
        let path = path.as_ref();
        if self.read(path)?.is_some_and(|old| old == bytes) {
            return Ok(Change::Kept);
        }
        let place = self.place(path)?;
        let access = match &place.found {
            None => access,
            Some(stat) => {
                refuse_others(path, stat)?;
                Access { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
            }
        };
        let temporary = temporary_name(&place.name);
        let replaced = self.fill(&place, &temporary, bytes, access);
        replaced.map_err(|error| {
            let _not_there = rustix::fs::unlinkat(&place.directory, &temporary, AtFlags::empty());
            Failure::io("writing", path)(error)
        })?;
        Ok(Change::Made)
    }

    fn fill(
        &self,
        place: &Place,
        temporary: &OsStr,
        bytes: &[u8],
        access: Access,
    ) -> Result<(), std::io::Error> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // What an earlier process of the same id left behind.
        let _usually_none = rustix::fs::unlinkat(&place.directory, temporary, AtFlags::empty());
        let file =
            rustix::fs::openat(&place.directory, temporary, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        give(&file, access)?;
        match &mut *self.unsynced.borrow_mut() {
            // By a descriptor that does not write: nobody can run what somebody writes to.
            Some(waiting) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let again = rustix::fs::openat(&place.directory, temporary, flags, Mode::empty())?;
                waiting.push(File::from(again));
            }
            None => file.sync_all()?,
        }
        rustix::fs::renameat(&place.directory, temporary, &place.directory, &place.name)?;
        Ok(())
    }

    /// Makes the link at `path`, in place of what is there if that is a file or a link.
    ///
    /// # Errors
    /// A directory is there, or a call failed.
    pub fn link(&self, path: impl AsRef<Path>, target: &Path) -> Result<Change, Failure> {
        let path = path.as_ref();
        if self.link_target(path).as_deref() == Some(target) {
            return Ok(Change::Kept);
        }
        let (parent, name) = split(path)?;
        let directory = self.directory(parent)?;
        let temporary = temporary_name(name);
        let linked = rustix::fs::symlinkat(target, &directory, &temporary)
            .and_then(|()| rustix::fs::renameat(&directory, &temporary, &directory, name));
        linked.map_err(|error| {
            let _not_there = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
            Failure::io("linking", path)(error)
        })?;
        Ok(Change::Made)
    }

    /// Removes a file or link; one that is not there is no error.
    ///
    /// # Errors
    /// unlink(2)'s.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<Change, Failure> {
        let path = path.as_ref();
        let (parent, name) = split(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let removed = self
            .open_path(parent, flags)
            .and_then(|directory| rustix::fs::unlinkat(directory, name, AtFlags::empty()));
        match removed {
            Ok(()) => Ok(Change::Made),
            Err(Errno::NOENT) => Ok(Change::Kept),
            Err(error) => Err(Failure::io("removing", path)(error)),
        }
    }

    /// Makes a directory with its parents (mode 755) where it is missing; links that lead nowhere
    /// yet get what they lead to (`/home` to `var/home` in images of ostree systems).
    ///
    /// # Errors
    /// Something else is there, or a call failed.
    pub fn make_directory(
        &self,
        path: impl AsRef<Path>,
        access: Access,
    ) -> Result<Change, Failure> {
        self.make_directory_after(path.as_ref(), access, 0)
    }

    fn make_directory_after(
        &self,
        path: &Path,
        access: Access,
        links: usize,
    ) -> Result<Change, Failure> {
        match self.stat(path) {
            Some(stat) if kind(&stat) == FileType::Directory => return Ok(Change::Kept),
            Some(stat) => {
                return Err(Failure::NotAFile { path: path.to_owned(), what: describe(&stat) });
            }
            None => {}
        }
        let (parent, name) = split(path)?;
        self.make_directory_after(parent, Access::root(0o755), links)?;
        if let Some(target) = self.link_target(path) {
            if links >= MOST_LINKS {
                return Err(Failure::io("making", path)(Errno::LOOP));
            }
            return self.make_directory_after(&parent.join(target), access, links + 1);
        }
        let directory = self.directory(parent)?;
        let made = rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o700))
            .and_then(|()| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&directory, name, flags, Mode::empty())
            })
            .and_then(|made| give(&made, access));
        made.map_err(Failure::io("making", path))?;
        Ok(Change::Made)
    }

    /// Opens the directory of a name, made where it is missing.
    pub fn directory(&self, path: &Path) -> Result<OwnedFd, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.open_path(path, flags) {
            Err(Errno::NOENT) => {
                self.make_directory(path, Access::root(0o755))?;
                self.open_path(path, flags)
            }
            other => other,
        }
        .map_err(Failure::io("opening", path))
    }

    /// Follows the links at the end of `path` to the name that a new file has to take.
    fn place(&self, path: &Path) -> Result<Place, Failure> {
        let mut at = path.to_owned();
        for links in 0..MOST_LINKS {
            let (parent, name) = split(&at)?;
            let directory = self.directory(parent)?;
            match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) if links > 0 => {
                    let what = "a link that leads nowhere";
                    return Err(Failure::NotAFile { path: path.to_owned(), what });
                }
                Err(Errno::NOENT) => {
                    return Ok(Place { directory, name: name.to_owned(), found: None });
                }
                Err(error) => return Err(Failure::io("opening", path)(error)),
                Ok(stat) if kind(&stat) == FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&directory, name, Vec::new())
                        .map_err(Failure::io("reading", &at))?;
                    // An absolute target replaces the whole path, as it shall.
                    at = parent.join(OsString::from_vec(target.into_bytes()));
                }
                Ok(stat) => {
                    return Ok(Place { directory, name: name.to_owned(), found: Some(stat) });
                }
            }
        }
        Err(Failure::io("opening", path)(Errno::LOOP))
    }
}

/// The names in an open directory, sorted.
pub fn names_in(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// What kind of file a `Stat` tells of.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn describe(stat: &Stat) -> &'static str {
    match kind(stat) {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a link",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

fn refuse_others(path: &Path, stat: &Stat) -> Result<(), Failure> {
    match kind(stat) {
        FileType::RegularFile => Ok(()),
        _ => Err(Failure::NotAFile { path: path.to_owned(), what: describe(stat) }),
    }
}

fn split(path: &Path) -> Result<(&Path, &OsStr), Failure> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Failure::io("opening", path)(Errno::INVAL)),
    }
}

fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".incusbox-{}", std::process::id()));
    temporary
}
