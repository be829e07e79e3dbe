//! One maker at a time for a box: a lock that goes with its holder, however that ends.
//!
//! It holds among the programs of one login, and spares them work. Others have directories of their
//! own; what keeps all from each other's boxes is the maker's mark on the instance (`maker`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::FlockOperation;

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock for making `name` in `project`; `None` when somebody else holds it.
    ///
    /// # Errors
    /// When there is no place for the file.
    pub fn take(project: Option<&str>, name: &str) -> io::Result<Option<Lock>> {
        let directories = xdg::BaseDirectories::with_prefix("incusbox");
        let file = format!("create-{}-{name}.lock", project.unwrap_or("default"));
        // The runtime directory is missing in `su` and cron.
        let path = match directories.place_runtime_file(&file) {
            Ok(path) => path,
            Err(_) => directories.place_state_file(&file)?,
        };
        loop {
            let open = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)?;
            match rustix::fs::flock(&open, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // A holder removes the file before it lets go: then this lock is on nothing.
            let is_same = std::fs::metadata(&path)
                .is_ok_and(|meta| open.metadata().is_ok_and(|own| own.ino() == meta.ino()));
            if is_same {
                return Ok(Some(Lock { path, _file: open }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _the_next_one_uses_it = std::fs::remove_file(&self.path);
    }
}
