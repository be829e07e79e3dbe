//! Checks of the daemon: is it there, may it be used, has it what boxes need.

use std::collections::BTreeMap;

use super::{Patient, Seen};
use crate::boxes::host::HostUser;
use crate::boxes::nesting::{Allowed, NESTED, differences, renewed};
use crate::boxes::remedy::{Remedy, Wish, bridge_of, managed_bridges, pools};
use crate::incus::{self, Client};

/// The oldest version that boxes are tested with.
const OLDEST: (u32, u32) = (6, 0);

pub fn reachable(patient: &mut Patient) -> Option<Seen> {
    let error = match &patient.client {
        Ok(client) => {
            let socket = client.daemon().socket.display();
            return Some(match &patient.server {
                Some(server) if server.auth == "trusted" => {
                    Seen::ok(format!("Incus answers at {socket}"))
                }
                Some(_) => {
                    Seen::failed(format!("Incus at {socket} does not trust you")).mend(own_socket())
                }
                None if client.daemon().restricted => no_project(socket, patient.user.as_ref()),
                None => Seen::failed(format!("what listens at {socket} does not answer as Incus"))
                    .mend(own_socket()),
            });
        }
        Err(error) => error,
    };
    Some(match error {
        incus::Error::Permission { socket, group, is_member } => {
            let seen = Seen::failed(format!("you may not use {}", socket.display()));
            let group = group.as_deref().unwrap_or("incus-admin");
            match (is_member, &patient.user) {
                (true, _) => seen.mend(Remedy::Advice(format!(
                    "newgrp {group} (you are in the group, but this login is older than that)"
                ))),
                (false, Some(user)) => seen
                    .mend(Remedy::as_root(&["usermod", "--append", "--groups", group, &user.name])),
                (false, None) => seen,
            }
        }
        incus::Error::NotRunning { socket } => {
            Seen::failed(format!("nobody listens at {}", socket.display())).mend(start())
        }
        incus::Error::NoSocket { .. } => {
            let seen = Seen::failed("there is no socket of Incus");
            match ["incus.service", "incus.socket"].iter().any(|unit| has_unit(patient, unit)) {
                true => seen.mend(start()),
                false => seen.mend(Remedy::Advice(
                    "install Incus with your distribution's package manager (package `incus`)"
                        .to_owned(),
                )),
            }
        }
        other => Seen::failed(other.to_string().replace('\n', "; ")),
    })
}

/// Incus trusts whoever reaches its own socket: this is another one, or no Incus.
fn own_socket() -> Remedy {
    Remedy::Advice("use the daemon's own socket: unset INCUS_SOCKET INCUS_DIR".to_owned())
}

/// incus-user closes the connection of a user whom it cannot make a project, and says why only in
/// its log: a pool named `default` or a subnet for the user's bridge is missing.
fn no_project(socket: impl std::fmt::Display, user: Option<&HostUser>) -> Seen {
    let mut seen =
        Seen::failed(format!("{socket} does not answer: incus-user has no project for you"));
    if let Some(bridge) = user.and_then(|user| bridge_of(user.uid)) {
        seen = seen.mend(bridge);
    }
    seen.mend(Remedy::Advice("see why: journalctl --unit incus-user".to_owned()))
}

fn start() -> Remedy {
    Remedy::as_root(&["systemctl", "enable", "--now", "incus.socket", "incus.service"])
}

fn has_unit(patient: &Patient, unit: &str) -> bool {
    ["usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system"]
        .iter()
        .any(|at| patient.root.join(at).join(unit).exists())
}

pub fn version(patient: &mut Patient) -> Option<Seen> {
    let version = &patient.server.as_ref()?.environment.server_version;
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Some(match found >= OLDEST {
        true => Seen::ok(format!("Incus {version}")),
        false => Seen::warning(format!("Incus {version} is older than {}.{}", OLDEST.0, OLDEST.1))
            .mend(Remedy::Advice(
                "upgrade the package `incus`; Debian 12 has a newer one in bookworm-backports"
                    .to_owned(),
            )),
    })
}

pub fn storage(patient: &mut Patient) -> Option<Seen> {
    let profile = patient.profile.clone()?;
    let root = profile.devices.values().find(|device| is_root(device));
    if let Some(pool) = root.and_then(|device| device.get("pool")) {
        return Some(Seen::ok(format!("root disks are in the pool `{pool}`")));
    }
    let pools = pools(patient.client.as_mut().ok()?).unwrap_or_default();
    let text = match pools.is_empty() {
        true => "there is no storage pool".to_owned(),
        false => "the default profile has no root disk".to_owned(),
    };
    Some(Seen::failed(text).mend(Remedy::Daemon(Wish::Storage)))
}

fn is_root(device: &BTreeMap<String, String>) -> bool {
    device.get("path").is_some_and(|path| path == "/")
}

/// Less than this is soon full: an image and its packages take about a GiB.
const LITTLE_SPACE: u64 = 2 << 30;

pub fn space(patient: &mut Patient) -> Option<Seen> {
    #[derive(serde::Deserialize)]
    struct Resources {
        space: Space,
    }
    #[derive(serde::Deserialize)]
    struct Space {
        #[serde(default)]
        used: u64,
        #[serde(default)]
        total: u64,
    }
    let profile = patient.profile.as_ref()?;
    let root = profile.devices.values().find(|device| is_root(device))?;
    let pool = root.get("pool")?.clone();
    let path = format!("/1.0/storage-pools/{}/resources", incus::client::percent_encode(&pool));
    let client = patient.client.as_mut().ok()?;
    // Restricted users may not ask, and not every driver knows.
    let Space { used, total } =
        client.get::<Resources>("asking about the storage pool", &path).ok()?.space;
    if total == 0 {
        return None;
    }
    let left = total.saturating_sub(used);
    let text = format!("{:.1} GiB are left in the pool `{pool}`", left as f64 / f64::from(1 << 30));
    Some(if left >= LITTLE_SPACE {
        Seen::ok(text)
    } else {
        let look = Remedy::Advice("see which boxes could go: incusbox list".to_owned());
        Seen::warning(text).mend(look)
    })
}

pub fn network(patient: &mut Patient) -> Option<Seen> {
    let profile = patient.profile.clone()?;
    let nic = profile
        .devices
        .values()
        .find(|device| device.get("type").is_some_and(|kind| kind == "nic"));
    if let Some(nic) = nic {
        let name = nic.get("network").or(nic.get("parent")).cloned().unwrap_or_default();
        return Some(Seen::ok(format!("boxes are in the network `{name}`")));
    }
    let bridges = managed_bridges(patient.client.as_mut().ok()?).unwrap_or_default();
    let text = match bridges.is_empty() {
        true => "there is no network for boxes",
        false => "the default profile has no network interface",
    };
    Some(Seen::failed(text).mend(Remedy::Daemon(Wish::Network)))
}

/// What a restricted project does not allow, and what that means.
const RESTRICTIONS: &[(&str, &str)] = &[
    ("restricted.containers.nesting", "containers inside"),
    ("restricted.devices.unix-char", "/dev/fuse and /dev/net/tun"),
    ("restricted.containers.interception", "system call interception"),
    ("restricted.devices.gpu", "the GPU"),
    ("restricted.devices.proxy", "proxy devices"),
];

#[derive(serde::Deserialize)]
struct Project {
    #[serde(default)]
    config: BTreeMap<String, String>,
}

impl Project {
    fn ask(client: &mut Client) -> Result<Project, incus::Error> {
        let name = incus::client::percent_encode(client.project_name());
        client.get("asking about the project", &format!("/1.0/projects/{name}"))
    }

    fn is_restricted(&self) -> bool {
        self.config.get("restricted").is_some_and(|is| is == "true")
    }
}

pub fn restrictions(patient: &mut Patient) -> Option<Seen> {
    patient.server.as_ref()?;
    let client = patient.client.as_mut().ok()?;
    let name = client.project_name().to_owned();
    let project =
        match Project::ask(client) {
            Ok(project) => project,
            Err(error) if error.code() == Some(404) => {
                return Some(Seen::failed(format!("there is no project `{name}`")).mend(
                    Remedy::Advice("choose another one: --project, INCUS_PROJECT".to_owned()),
                ));
            }
            Err(error) => {
                let look = Remedy::Advice(format!("incus project show {name}"));
                return Some(Seen::warning(error.to_string().replace('\n', "; ")).mend(look));
            }
        };
    if !project.is_restricted() {
        return Some(Seen::ok(format!("the project `{name}` is not restricted")));
    }
    let refused: Vec<&str> = RESTRICTIONS
        .iter()
        .filter(|(key, _)| {
            !project.config.get(*key).is_some_and(|is| is == "allow" || is == "full")
        })
        .map(|(_, what)| *what)
        .collect();
    Some(match refused.is_empty() {
        true => Seen::ok(format!("the project `{name}` is restricted, and allows what boxes use")),
        false => Seen::warning(format!(
            "the project `{name}` is restricted: it refuses {}",
            refused.join(", ")
        ))
        .mend(unrestricted(client, patient.user.as_ref())),
    })
}

/// How to be rid of restrictions. Never done by setup: it makes a user as much as root.
fn unrestricted(client: &Client, user: Option<&HostUser>) -> Remedy {
    Remedy::Advice(match (client.daemon().restricted, user) {
        (true, Some(user)) => format!(
            "where you may be like root, have yourself added: sudo usermod --append --groups incus-admin {}",
            user.name
        ),
        _ => "choose another one: --project, INCUS_PROJECT".to_owned(),
    })
}

/// It is made with the first box, and not looked at again by `create`.
pub fn nested(patient: &mut Patient) -> Option<Seen> {
    patient.server.as_ref()?;
    let client = patient.client.as_mut().ok()?;
    let there = client.profile(NESTED).ok()?;
    // A restricted one refuses most of it also to who may do anything.
    if Allowed::of(client) == Allowed::All && Project::ask(client).ok()?.is_restricted() {
        return None;
    }
    let wanted = renewed(&there, Allowed::of(client), patient.machine);
    if there == wanted {
        return Some(Seen::ok(format!("the profile `{NESTED}` fits this host")));
    }
    let told = differences(&there, &wanted).join(", ");
    let seen = Seen::warning(format!("the profile `{NESTED}` does not fit this host: {told}"));
    Some(seen.mend(Remedy::Daemon(Wish::Nesting)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::doctor::Status;

    #[test]
    fn an_incus_that_is_too_old_is_told_with_where_a_newer_one_is() {
        let found = |number: &str| {
            let mut patient = Patient::new(None, Err(incus::Error::NoSocket { tried: Vec::new() }));
            let told =
                format!(r#"{{"auth":"trusted","environment":{{"server_version":"{number}"}}}}"#);
            patient.server = Some(serde_json::from_str(&told).expect("a server"));
            version(&mut patient).expect("a finding")
        };
        assert_eq!(found("6.0.4").status, Status::Ok);
        let old = found("0.7");
        assert_eq!(old.status, Status::Warning);
        assert!(old.remedies[0].to_string().contains("upgrade the package"), "{old:?}");
    }
}
