//! Looking at a shared directory from inside: who owns a file that the host made, and one that the
//! user makes here for the host to look at.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::sys::process;

/// `probe UID GID SEEN MADE`: prints the owner of the file SEEN and makes the file MADE as UID.
///
/// # Errors
/// When one of them cannot be seen or made.
pub fn run(arguments: &[OsString]) -> io::Result<()> {
    let [uid, gid, seen, made] = arguments else {
        return Err(io::Error::other("probe needs UID GID SEEN MADE"));
    };
    let number = |text: &OsString| -> io::Result<u32> {
        let number = text.to_str().and_then(|text| text.parse().ok());
        number.ok_or_else(|| io::Error::other("an id must be a number"))
    };
    let (uid, gid) = (number(uid)?, number(gid)?);
    let told = |path: &OsString, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.to_string_lossy()))
    };
    let owner = std::fs::symlink_metadata(seen).map_err(|error| told(seen, error))?.uid();
    writeln!(io::stdout(), "{owner}")?;
    process::become_user(uid, gid, &[gid])?;
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(made);
    open.map(|_| ()).map_err(|error| told(made, error))
}
