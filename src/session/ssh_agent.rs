//! The way to an ssh-agent whose socket no box sees: some desktops put it into `/tmp`, and boxes have
//! one of their own.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use crate::agent::protocol::hand_over::{DIRECTORY, SSH_AGENT_LINK};

/// Moves bytes between a guest and the agent until one of them ends.
pub fn relay(guest: &UnixStream) {
    let agent = super::runtime_directory()
        .and_then(|at| UnixStream::connect(at.join(DIRECTORY).join(SSH_AGENT_LINK)));
    // The guest sees its connection closed, as by an agent that has gone.
    let Ok(agent) = agent else { return };
    // In /tmp anybody may have made a socket where one was.
    let own = rustix::process::getuid();
    if !rustix::net::sockopt::socket_peercred(&agent).is_ok_and(|peer| peer.uid == own) {
        return;
    }
    std::thread::scope(|scope| {
        let there = std::thread::Builder::new().spawn_scoped(scope, || pass(guest, &agent));
        if there.is_ok() {
            pass(&agent, guest);
        }
    });
}

fn pass(mut from: &UnixStream, mut to: &UnixStream) {
    let _whichever_end_was_lost = io::copy(&mut from, &mut to);
    let _already_gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
