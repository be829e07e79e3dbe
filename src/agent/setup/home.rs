//! The home directory.
//!
//! A home of the host's is mounted before we run and is not ours to change. One of the box's own
//! is filled beside its place and then renamed, so that a home that exists is a whole one, and
//! what the user deleted later does not come back.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::accounts::Moved;
use super::failure::Failure;
use super::tree::{self, Access, Tree};
use super::wanted::{HomeKind, Wanted};

/// Where patterns for a new home are; openSUSE keeps the distribution's apart from the
/// administrator's.
const PATTERNS: &[&str] = &["/etc/skel", "/usr/etc/skel"];
const MOST_DEPTH: usize = 16;

/// Sees to it that the user has a home. Returns what is odd about it.
///
/// # Errors
/// It, or a directory on the way, cannot be made.
pub fn settle(tree: &Tree, user: &Wanted) -> Result<Option<String>, Failure> {
    let path = Path::new(user.home.trim_end_matches('/'));
    let found = tree.stat(path);
    if let Some(stat) = found.filter(|stat| tree::kind(stat) != FileType::Directory) {
        let what =
            if tree::kind(&stat) == FileType::RegularFile { "a file" } else { "no directory" };
        return Err(Failure::NotAFile { path: path.to_owned(), what });
    }
    let is_empty = tree.names(path).is_empty();
    match (user.home_kind, found) {
        (HomeKind::Mounted, Some(_)) => Ok(None),
        (HomeKind::Mounted, None) => {
            tree.make_directory(path, owned(user, 0o700))?;
            Ok(Some(format!(
                "the home of `{}` is not mounted at `{}`: an empty directory is there now",
                user.name, user.home
            )))
        }
        // Something made the way to a mount below it, or the mount point itself.
        (HomeKind::Own, Some(stat)) if stat.st_uid == user.uid || !is_empty => {
            Ok((stat.st_uid != user.uid).then(|| {
                format!(
                    "the home `{}` was there already and belongs to the user id {}, not to `{}`",
                    user.home, stat.st_uid, user.name
                )
            }))
        }
        (HomeKind::Own, _) => make(tree, path, user).map(|()| None),
    }
}

/// Makes a home from the patterns.
fn make(tree: &Tree, path: &Path, user: &Wanted) -> Result<(), Failure> {
    let failed = || Failure::io::<Errno>("making", path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed()(Errno::INVAL));
    };
    let parent = tree.directory(parent)?;
    let temporary = [b".", name.as_bytes(), b".incusbox"].concat();
    let temporary = OsStr::from_bytes(&temporary);
    match rustix::fs::mkdirat(&parent, temporary, Mode::from_raw_mode(0o700)) {
        // Left by an earlier try that was interrupted: go on with it.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed()(error)),
    }
    let home =
        open_below(&parent, temporary, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed())?;
    // Whoever may write to the parent may have been there first, with a trap in it.
    let owner = rustix::fs::fstat(&home).map_err(failed())?.st_uid;
    if owner != user.uid && owner != rustix::process::geteuid().as_raw() {
        return Err(failed()(Errno::EXIST));
    }
    let copier = Copier { uid: user.uid, gid: user.gid };
    for pattern in PATTERNS {
        if let Ok(from) = tree.open_path(Path::new(pattern), OFlags::RDONLY | OFlags::DIRECTORY) {
            copier.directory(&from, &home, 0).map_err(failed())?;
        }
    }
    tree::give(&home, owned(user, mode(tree))).map_err(failed())?;
    rustix::fs::renameat(&parent, temporary, &parent, name).map_err(failed())
}

fn owned(user: &Wanted, mode: u32) -> Access {
    Access { mode, uid: user.uid, gid: user.gid }
}

/// HOME_MODE of login.defs(5), else private.
fn mode(tree: &Tree) -> u32 {
    ["/etc/login.defs", "/usr/etc/login.defs"]
        .iter()
        .find_map(|path| {
            tree.text(path).lines().find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                (words.next() == Some("HOME_MODE")).then(|| words.next().map(str::to_owned))?
            })
        })
        .and_then(|mode| u32::from_str_radix(&mode, 8).ok())
        .map_or(0o700, |mode| mode & 0o777)
}

/// Copies patterns: directories, files and links; what is there already stays.
struct Copier {
    uid: u32,
    gid: u32,
}

impl Copier {
    fn directory(&self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
        if depth > MOST_DEPTH {
            return Err(Errno::LOOP);
        }
        for name in tree::names_in(from)? {
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let access = Access { mode: stat.st_mode & 0o777, uid: self.uid, gid: self.gid };
            match tree::kind(&stat) {
                FileType::Directory => {
                    exists(rustix::fs::mkdirat(to, &name, Mode::from_raw_mode(0o700)))?;
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let below = open_below(to, &name, flags)?;
                    self.directory(&open_below(from, &name, flags)?, &below, depth + 1)?;
                    tree::give(&below, access)?;
                }
                FileType::RegularFile => self.file(from, to, &name, access)?,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(from, &name, Vec::new())?;
                    exists(rustix::fs::symlinkat(target, to, &name))?;
                    self.give_link(to, &name)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &OsStr,
        access: Access,
    ) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = match rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600)) {
            Err(Errno::EXIST) => return Ok(()),
            other => other?,
        };
        let mut source = std::fs::File::from(open_below(from, name, OFlags::RDONLY)?);
        let mut made = std::fs::File::from(made);
        std::io::copy(&mut source, &mut made)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        tree::give(&made, access)
    }

    fn give_link(&self, directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags) {
            Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
            other => other,
        }
    }
}

/// Gives the files in the home of an account that moved to its new ids, as `usermod -u` does: those
/// that had the old ones, and nothing that is mounted there or linked from there.
///
/// # Errors
/// chown(2)'s. A home that is not the account's, or not the box's, is left alone.
pub fn follow(tree: &Tree, moved: &Moved) -> Result<(), Failure> {
    let path = Path::new(&moved.home);
    // `/` and `/usr` are nobody's home, whatever a line says.
    if path.components().count() < 3 {
        return Ok(());
    }
    let Ok(home) = tree.open_unmounted(path, OFlags::RDONLY | OFlags::DIRECTORY) else {
        return Ok(());
    };
    let is_theirs = rustix::fs::fstat(&home).is_ok_and(|stat| stat.st_uid == moved.uid.0);
    if !is_theirs {
        return Ok(());
    }
    follow_below(&home, moved, 0).map_err(Failure::io("changing the owner of", path))
}

fn follow_below(directory: &OwnedFd, moved: &Moved, depth: usize) -> Result<(), Errno> {
    /// Deeper than anything real: PATH_MAX allows half as many names of one letter.
    const MOST_DEPTH: usize = 512;
    for name in tree::names_in(directory)? {
        let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if tree::kind(&stat) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match open_below(directory, &name, flags) {
                Ok(below) if depth < MOST_DEPTH => follow_below(&below, moved, depth + 1)?,
                // Another mount.
                Ok(_) | Err(Errno::XDEV) => {}
                Err(error) => return Err(error),
            }
        } else if let Some((uid, gid)) = new_owner(&stat, moved) {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(directory, &name, uid, gid, flags)?;
        }
    }
    // The directory last: an interrupted run finds it as it was, and begins anew.
    let stat = rustix::fs::fstat(directory)?;
    if let Some((uid, gid)) = new_owner(&stat, moved) {
        rustix::fs::fchown(directory, uid, gid)?;
    }
    Ok(())
}

fn new_owner(stat: &rustix::fs::Stat, moved: &Moved) -> Option<(Option<Uid>, Option<Gid>)> {
    let changed = |(old, new): (u32, u32), has: u32| (old != new && has == old).then_some(new);
    let uid = changed(moved.uid, stat.st_uid).map(Uid::from_raw);
    let gid = changed(moved.gid, stat.st_gid).map(Gid::from_raw);
    (uid.is_some() || gid.is_some()).then_some((uid, gid))
}

/// Opens a name of a directory that is there itself: no link, no other mount.
fn open_below(directory: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat2(directory, name, flags, Mode::empty(), how)
}

fn exists(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}
