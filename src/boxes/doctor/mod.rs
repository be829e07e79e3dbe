//! What must be true for boxes to work, as a list of small checks. `doctor` tells what each finds;
//! `setup` applies the remedies of those that concern the host.

mod daemon;
mod graphics;
mod inside;
mod machine;
mod session;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::host::{HostUser, Machine};
use super::remedy::Remedy;
use crate::incus::objects::{FullInstance, Profile, Server};
use crate::incus::{self, Client};

pub use machine::SYSCTL;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Something will not work, or not as well as it could.
    Warning,
    /// Boxes do not work.
    Failed,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// How it is.
    pub status: Status,
    /// One line of what was seen.
    pub text: String,
    /// What mends it.
    pub remedies: Vec<Remedy>,
}

/// What a check says; its name is added by the list.
#[derive(Clone, Debug)]
pub struct Seen {
    status: Status,
    text: String,
    remedies: Vec<Remedy>,
}

impl Seen {
    fn ok(text: impl Into<String>) -> Seen {
        Seen { status: Status::Ok, text: text.into(), remedies: Vec::new() }
    }

    fn warning(text: impl Into<String>) -> Seen {
        Seen { status: Status::Warning, ..Seen::ok(text) }
    }

    fn failed(text: impl Into<String>) -> Seen {
        Seen { status: Status::Failed, ..Seen::ok(text) }
    }

    fn mend(mut self, remedy: Remedy) -> Seen {
        self.remedies.push(remedy);
        self
    }
}

/// What checks look at.
pub struct Patient {
    /// The user.
    pub user: Option<HostUser>,
    /// The root of the host's files, `/` but for tests.
    pub root: PathBuf,
    /// What kind of machine the host is.
    pub machine: Machine,
    /// The connection, or why there is none.
    pub client: Result<Client, incus::Error>,
    /// What the daemon says of itself.
    pub server: Option<Server>,
    /// The default profile.
    pub profile: Option<Profile>,
    /// The box to look at.
    pub instance: Option<FullInstance>,
}

impl Patient {
    /// Asks the daemon what most checks need.
    pub fn new(user: Option<HostUser>, client: Result<Client, incus::Error>) -> Patient {
        let mut client = client;
        let server = client.as_mut().ok().and_then(|client| client.server().ok());
        // Who did not answer that is not asked again: each question may take its time.
        let answering = client.as_mut().ok().filter(|_| server.is_some());
        let profile = answering.and_then(|client| client.profile("default").ok());
        let (root, machine) = (PathBuf::from("/"), Machine::here());
        Patient { user, root, machine, client, server, profile, instance: None }
    }
}

/// A check: `None` where it has nothing to look at.
type Check = fn(&mut Patient) -> Option<Seen>;

/// The checks of the host, in the order in which one needs the other.
const HOST: &[(&str, Check)] = &[
    ("daemon", daemon::reachable),
    ("version", daemon::version),
    ("storage", daemon::storage),
    ("space", daemon::space),
    ("network", daemon::network),
    ("project", daemon::restrictions),
    ("profile", daemon::nested),
    ("ids", machine::ids),
    ("cgroups", machine::cgroups),
    ("security", machine::security_module),
    ("fuse", machine::fuse),
    ("tun", machine::tun),
    ("inotify", machine::inotify),
    ("agent", machine::agent),
    ("path", machine::path),
    ("exports", machine::exports),
];

/// The checks of a box.
const BOX: &[(&str, Check)] = &[
    ("state", inside::state),
    ("box ids", inside::ids),
    ("home", inside::home),
    ("nesting", inside::nesting),
    ("box agent", inside::agent),
    ("address", inside::address),
    ("dns", inside::dns),
    ("session", session::view),
    ("display", session::display),
    ("audio", session::audio),
    ("bus", session::bus),
    ("ssh-agent", session::ssh_agent),
    ("gpu", graphics::gpu),
    ("themes", session::themes),
];

/// Runs the checks: those of the host, and with a box its own.
pub fn examine(patient: &mut Patient) -> Vec<Finding> {
    let own = if patient.instance.is_some() { BOX } else { &[] };
    let mut findings = Vec::new();
    for (check, look) in HOST.iter().chain(own) {
        if let Some(Seen { status, text, remedies }) = look(patient) {
            findings.push(Finding { check, status, text, remedies });
        }
    }
    findings
}

/// A finding as JSON.
pub fn described(finding: &Finding) -> Value {
    json!({
        "check": finding.check,
        "status": match finding.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
        },
        "text": finding.text,
        "remedies": finding.remedies.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
