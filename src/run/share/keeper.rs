//! Who takes shared files away from the box again: a process of its own, so that a launcher is told
//! at once how the command ended, and that a client which is killed leaves nothing.
//!
//! It learns of the client's end by the end of a pipe. Files stay for [`LINGER`] from their start on:
//! many programs hand over what they shall open to one of theirs that runs already, and end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::DIRECTORY;
use super::owner::{Owner, id, is_left};
use crate::incus::Client;
use crate::sys::pipes;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::process::{self, Forked};
use crate::sys::signals::Signals;

/// How long a file is shared at least, if the command was started.
pub const LINGER: Duration = Duration::from_secs(60);
/// How often taking them away is tried; a daemon may just be restarted.
const TRIES: u32 = 10;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(6);

/// The keeper of a run, as the client sees it. Dropped, it has the keeper take away at once what it
/// keeps.
#[derive(Debug)]
pub struct Keeper {
    /// Whose the devices are.
    pub owner: Owner,
    /// Closed is how the client says that it ended; a byte before says that nothing was started.
    pipe: Option<OwnedFd>,
}

impl Keeper {
    /// Starts one for the box `name`, which has `files` open as long as it is there.
    ///
    /// # Errors
    /// fork(2)'s and pipe(2)'s.
    pub fn start(
        name: &str,
        project: Option<&str>,
        files: &[BorrowedFd<'_>],
    ) -> std::io::Result<Keeper> {
        let (read, write) = pipes::pipe()?;
        match process::fork()? {
            Forked::Child => {
                // Else the pipe, or one to whoever waits for the client's output, would never end.
                process::keep_only(&[files, &[read.as_fd()]].concat());
                let _leads_one_already = process::start_session();
                let project = project.map(str::to_owned);
                if let Some(owner) = Owner::of(std::process::id() as i32) {
                    wait(&read);
                    take_away(name, project, &owner);
                }
                process::exit_now(0)
            }
            Forked::Parent(pid) => {
                drop(read);
                let owner = Owner::of(pid).ok_or(std::io::ErrorKind::NotFound)?;
                Ok(Keeper { owner, pipe: Some(write) })
            }
        }
    }

    /// The command was started, and ended: what it opened stays for a while.
    pub fn linger(mut self) {
        self.pipe = None;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(pipe) = &self.pipe {
            let _it_takes_all_away_then = rustix::io::write(pipe, b"!");
        }
    }
}

/// Waits until nothing has to be kept any more.
fn wait(pipe: &OwnedFd) {
    let began = Instant::now();
    // A session that ends, or who manages it, says so by these.
    let signals = Signals::catch(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
    let (mut deadline, mut is_ended) = (None, false);
    loop {
        let mut set = PollSet::new();
        if let Ok(signals) = &signals {
            set.add(0, signals.as_fd(), Interest::Read);
        }
        if !is_ended {
            set.add(1, pipe.as_fd(), Interest::Read);
        }
        let waited = set.wait(deadline);
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if waited.is_err() || is_late || set.ready(0).any() {
            return;
        }
        if set.ready(1).any() {
            if rustix::io::read(pipe, &mut [0; 1]) != Ok(0) {
                return;
            }
            is_ended = true;
            deadline = Some(began + LINGER);
        }
    }
}

fn take_away(name: &str, project: Option<String>, owner: &Owner) {
    for count in 0..TRIES {
        if count > 0 {
            std::thread::sleep(PAUSE);
        }
        let taken = Client::connect(project.clone())
            .and_then(|mut client| remove(&mut client, name, &|device| owner.has(device)));
        match taken {
            Err(error) if error.code() != Some(404) => {}
            _ => return,
        }
    }
}

/// Takes away shared files of this user whose keepers are gone.
///
/// # Errors
/// Everything in [`crate::incus::Error`].
pub fn sweep(client: &mut Client, name: &str) -> Result<(), crate::incus::Error> {
    remove(client, name, &|_| false)
}

/// Takes away the devices that `select` names and those whose keepers are gone, with what Incus
/// leaves of them: it removes what it mounted on, and not the directory that it made for that.
fn remove(
    client: &mut Client,
    name: &str,
    select: &dyn Fn(&str) -> bool,
) -> Result<(), crate::incus::Error> {
    let (taken, is_running) =
        client.take_devices(name, &|device| select(device) || is_left(device))?;
    for device in taken.iter().filter(|_| is_running) {
        let directory = format!("{DIRECTORY}/{}", id(device));
        // One that was hidden by a restart of the box is not there.
        let _is_gone_with_run = client.remove_file(name, &directory);
    }
    Ok(())
}
