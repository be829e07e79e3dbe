//! The lock of the account files, as lckpwdf(3) takes it: a write lock on `/etc/.pwd.lock`.
//!
//! A box may still be booting while it is set up, and systemd-sysusers, a package's script or
//! useradd rewrite the same files; all of them take this lock. It is advisory and belongs to the
//! process, so whoever dies leaves nothing behind.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::failure::Failure;
use super::tree::Tree;

/// As long as lckpwdf(3) waits.
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN_TRIES: Duration = Duration::from_millis(25);

/// The lock; dropping it lets go.
#[derive(Debug)]
pub struct AccountLock {
    _file: Option<OwnedFd>,
}

/// Takes the lock.
///
/// # Errors
/// Somebody kept it for longer than `PATIENCE`, or the file cannot be made.
pub fn lock_accounts(tree: &Tree) -> Result<AccountLock, Failure> {
    lock_within(tree, PATIENCE)
}

fn lock_within(tree: &Tree, patience: Duration) -> Result<AccountLock, Failure> {
    let path = Path::new("/etc/.pwd.lock");
    let directory = tree.directory(Path::new("/etc"))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat(directory, ".pwd.lock", flags, Mode::from_raw_mode(0o600)) {
        // Nobody can write these files, so nobody does. All may be as wanted already.
        Err(Errno::ROFS) => return Ok(AccountLock { _file: None }),
        other => other.map_err(Failure::io("locking", path))?,
    };
    let deadline = Instant::now() + patience;
    loop {
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(AccountLock { _file: Some(file) }),
            Err(Errno::AGAIN | Errno::ACCESS | Errno::INTR) => {}
            Err(error) => return Err(Failure::io("locking", path)(error)),
        }
        if Instant::now() >= deadline {
            return Err(Failure::AccountsLocked { seconds: patience.as_secs() });
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}
