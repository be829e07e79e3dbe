//! Shims of a home that the box shares: their interpreter is `incusbox-run` at its path on the host,
//! and in the box this program stands there for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::protocol::BOX;
use crate::exit;
use crate::message;
use crate::run::agent_file::PLACES;
use crate::run::{inside, shim};

/// The name that it is called by.
pub const NAME: &str = "incusbox-run";

/// Has `runner`, a path of the host's, be this program in the box. What else is there stays, and
/// nothing is made in a directory that is not root's: a home.
pub fn offer(runner: &[u8]) {
    let runner = Path::new(OsStr::from_bytes(runner));
    let is_name = runner.is_absolute() && runner.file_name().is_some_and(|name| name == NAME);
    if !is_name {
        return;
    }
    let Ok(own) = std::env::current_exe() else { return };
    let is_ours = |target: &Path| PLACES.iter().any(|place| target.starts_with(place));
    match std::fs::read_link(runner) {
        Ok(target) if target == own || !is_ours(&target) => return,
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A program: the host's own in a shared directory, or one of the box's.
        Err(_) => return,
    }
    // Shims are a convenience, so its failure is nobody's business.
    let _so = make(runner, &own);
}

fn make(runner: &Path, own: &Path) -> io::Result<()> {
    let parent = runner.parent().ok_or(io::ErrorKind::NotFound)?;
    let nearest = parent.ancestors().find_map(|path| path.metadata().ok());
    if nearest.is_none_or(|meta| meta.uid() != 0) {
        return Ok(());
    }
    std::fs::create_dir_all(parent)?;
    let temporary = parent.join(format!(".{NAME}.{}", std::process::id()));
    std::os::unix::fs::symlink(own, &temporary)?;
    let moved = std::fs::rename(&temporary, runner);
    if moved.is_err() {
        let _so = std::fs::remove_file(&temporary);
    }
    moved
}

/// Runs a shim: `incusbox-run --shim FILE ARGUMENT…`.
pub fn main(arguments: &[OsString]) -> u8 {
    let (Some(path), true) =
        (arguments.get(2), arguments.get(1).is_some_and(|option| option == "--shim"))
    else {
        return fail("boxes are run from the host; in a box it runs shims alone");
    };
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(shim::MOST_BYTES as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return fail(format!("`{}`: {error}", path.to_string_lossy()));
    }
    let shim = match shim::parse(&bytes) {
        Ok(shim) => shim,
        Err(bad) => return fail(format!("`{}`: {bad}", path.to_string_lossy())),
    };
    let here = std::env::var_os(BOX).unwrap_or_default();
    let hindrance = inside::run(shim, arguments[3..].iter().cloned(), &here);
    message::say(NAME, &hindrance);
    hindrance.exit_code()
}

fn fail(text: impl std::fmt::Display) -> u8 {
    message::say(NAME, text);
    exit::FAILURE
}
