//! What the host's session does for boxes: it speaks on the bus for programs that some services
//! refuse to answer, opens what they hand over, and leads to an ssh-agent that they do not see.
//!
//! A service of the user's, started by its sockets in the runtime directory, that ends when nobody
//! has been there for a while. Boxes see the sockets where they see the rest of that directory;
//! without them a program in a box speaks on the bus itself.

mod bus;
mod export;
mod message;
mod open;
mod ssh_agent;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent::protocol::desktop::{Switch, host_runtime};
use crate::agent::protocol::hand_over::{BUS, DIRECTORY, OPEN, SSH_AGENT};
use crate::sys::activation;
use crate::sys::poll::{Interest, PollSet};

/// How long nobody has to be there.
const IDLE: Duration = Duration::from_secs(60);
/// Before somebody who could not be let in is looked at again.
const PAUSE: Duration = Duration::from_millis(100);
/// More than these at a time are turned away.
const MOST: usize = 512;

/// Serves until nobody has been there for a while, or for ever where no service manager holds the
/// sockets.
///
/// # Errors
/// Where there are no sockets, and none can be made.
pub fn serve() -> io::Result<()> {
    let (listeners, is_held) = match held()? {
        listeners if listeners.is_empty() => (made()?, false),
        listeners => (listeners, true),
    };
    let bus = Arc::new(bus::Bus::of_session()?);
    let guests = Arc::new(());
    let mut left = Instant::now();
    loop {
        let mut set = PollSet::new();
        for (at, (listener, _)) in listeners.iter().enumerate() {
            set.add(at, listener.as_fd(), Interest::Read);
        }
        set.wait(Some(Instant::now() + IDLE))?;
        let ready: Vec<usize> = (0..listeners.len()).filter(|at| set.ready(*at).any()).collect();
        drop(set);
        for at in ready {
            let (listener, service) = &listeners[at];
            match listener.accept() {
                Ok((guest, _)) => receive(guest, *service, &bus, &guests),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Out of descriptors, most likely: somebody will leave.
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        if Arc::strong_count(&guests) > 1 {
            left = Instant::now();
        } else if is_held && left.elapsed() >= IDLE {
            return Ok(());
        }
    }
}

pub use export::FOR_A_BOX;

/// The unit that makes the sockets.
pub const UNIT: &str = "incusbox-session.socket";

/// The switches that the sockets serve.
pub const SERVED: [Switch; 2] = [Switch::Bus, Switch::SshAgent];

/// Where the sockets of the user `uid` are.
pub fn sockets(uid: u32) -> String {
    format!("{}/{DIRECTORY}", host_runtime(uid))
}

/// Has the sockets made in a session that is older than this program. Without them boxes speak on
/// the bus themselves, so its failure is only what `doctor` tells.
pub fn wake(uid: u32) {
    if !Path::new(&sockets(uid)).join(BUS).exists() && Path::new(&host_runtime(uid)).exists() {
        let mut command = std::process::Command::new("systemctl");
        command.args(["--user", "--quiet", "start", UNIT]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _told_by_doctor = command.status();
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Bus,
    Open,
    SshAgent,
}

/// The sockets that the service manager holds.
fn held() -> io::Result<Vec<(UnixListener, Service)>> {
    let mut listeners = Vec::new();
    for socket in activation::sockets() {
        let listener = UnixListener::from(socket);
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
        let name = path.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        let service = match name {
            Some(BUS) => Service::Bus,
            Some(OPEN) => Service::Open,
            Some(SSH_AGENT) => Service::SshAgent,
            _ => continue,
        };
        listener.set_nonblocking(true)?;
        listeners.push((listener, service));
    }
    Ok(listeners)
}

/// Sockets of our own, where no service manager has made them.
fn made() -> io::Result<Vec<(UnixListener, Service)>> {
    use std::os::unix::fs::DirBuilderExt;
    let directory = runtime_directory()?.join(DIRECTORY);
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&directory)?;
    let make = |name: &str, service| {
        let path = directory.join(name);
        if UnixStream::connect(&path).is_ok() {
            let text = format!("`{}` is served already", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        let _of_one_that_has_ended = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok((listener, service))
    };
    Ok(vec![
        make(BUS, Service::Bus)?,
        make(OPEN, Service::Open)?,
        make(SSH_AGENT, Service::SshAgent)?,
    ])
}

fn runtime_directory() -> io::Result<PathBuf> {
    let path = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    path.map(PathBuf::from)
        .ok_or_else(|| io::Error::other("XDG_RUNTIME_DIR is not set: there is no session here"))
}

/// Serves a guest, if it is a program of the session's user: root of a box can open the socket, too.
fn receive(guest: UnixStream, service: Service, bus: &Arc<bus::Bus>, guests: &Arc<()>) {
    let own = rustix::process::getuid();
    let is_own = rustix::net::sockopt::socket_peercred(&guest).is_ok_and(|peer| peer.uid == own);
    if !is_own || Arc::strong_count(guests) > MOST || guest.set_nonblocking(false).is_err() {
        return;
    }
    let (bus, presence) = (Arc::clone(bus), Arc::clone(guests));
    let serve = move || {
        match service {
            Service::Bus => bus.relay(guest),
            Service::Open => open::answer(guest),
            Service::SshAgent => ssh_agent::relay(&guest),
        }
        drop(presence);
    };
    // Without a thread to serve it the guest sees its connection closed.
    let _too_many = std::thread::Builder::new().spawn(serve);
}
