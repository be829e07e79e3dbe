//! `incusbox-agent setup`: makes a box its user's own, as root and from within.
//!
//! The agent is the only program that every box is known to have, so accounts, homes, sudo and the
//! rest are made by itself, on files: there may be no useradd (bare images), another one (Alpine's)
//! or one that does something else than wanted. What only the distribution can do, it is asked to:
//! installing packages, running hooks.
//!
//! Files come first and need nobody; waiting for the box's init comes as late as it can, and only
//! if a later step needs it. Each step leaves alone what is as wanted, so a set-up that was
//! interrupted is simply run again.

mod access;
mod accounts;
mod command;
mod database;
mod desktop;
pub(super) mod distribution;
mod failure;
mod home;
mod hooks;
mod hosts;
mod ids;
mod init;
mod locale;
mod lock;
mod managers;
mod membership;
mod nesting;
mod nvidia;
mod packages;
mod report;
mod session;
mod shells;
mod steps;
mod subordinate;
mod sudo;
mod surroundings;
mod table;
mod time_zone;
mod tree;
mod wanted;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::path::Path;

use failure::Failure;
use report::Report;
use steps::Steps;
use surroundings::Surroundings;
use tree::Tree;

use super::protocol::setup::{SetupEvent, SetupRequest, SetupResult};
use crate::sys::process;

/// A request is a few kilobytes.
const MOST_BYTES_OF_A_REQUEST: u64 = 1 << 20;

/// Whether systemd is through with what makes the system ready for any service: file systems,
/// temporary files, devices.
pub fn is_initialized() -> bool {
    init::is_active("sysinit.target")
}

/// Runs `incusbox-agent setup`: a request on stdin, events on stdout; the exit status is 0 after
/// `Done` and 1 after `Failed`.
pub fn main() -> u8 {
    run(|tree, surroundings, report| {
        let request = read_request()?;
        Steps::new(tree, surroundings, &request, report)?.set_up()
    })
}

/// Runs `incusbox-agent upgrade`: brings the box's packages up to date. No request, the same
/// events and statuses.
pub fn main_of_upgrade() -> u8 {
    run(|tree, surroundings, report| {
        let hostname = "box".to_owned();
        let request = SetupRequest { hostname, ..SetupRequest::default() };
        Steps::new(tree, surroundings, &request, report)?.upgrade()
    })
}

/// Runs `incusbox-agent nvidia`: links to the libraries of the host's driver, as it is now. No
/// request, the same events and statuses.
pub fn main_of_nvidia() -> u8 {
    run(|tree, surroundings, report| {
        let hostname = "box".to_owned();
        let request = SetupRequest { hostname, ..SetupRequest::default() };
        Steps::new(tree, surroundings, &request, report)?.link_drivers()
    })
}

fn run(
    work: impl FnOnce(&Tree, &Surroundings, &mut Report<'_>) -> Result<SetupResult, Failure>,
) -> u8 {
    process::no_core_file();
    process::set_umask(0o022);
    let mut sink = write_event;
    let mut report = Report::new(&mut sink);
    let result =
        Tree::open(Path::new("/")).and_then(|tree| work(&tree, &Surroundings::ask(), &mut report));
    u8::from(!report.end(result))
}

/// Writes one event to stdout; false when nobody reads it.
fn write_event(event: &SetupEvent) -> bool {
    let Ok(mut line) = serde_json::to_vec(event) else { return false };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).is_ok()
}

fn read_request() -> Result<SetupRequest, Failure> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MOST_BYTES_OF_A_REQUEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Request(format!("reading it failed: {error}")))?;
    if bytes.len() as u64 > MOST_BYTES_OF_A_REQUEST {
        return Err(Failure::Request("it is larger than 1 MiB".to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|error| Failure::Request(error.to_string()))
}
