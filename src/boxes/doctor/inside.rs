//! Checks of one box.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Patient, Seen};
use crate::boxes::create::is_half_made;
use crate::boxes::disks;
use crate::boxes::host::may_map;
use crate::boxes::nesting::{INTERCEPTIONS, NESTED, NESTING, UNSAFE, is_true};
use crate::boxes::remedy::Remedy;
use crate::incus::objects::FullInstance;
use crate::run::agent_file::{AgentFile, PLACES};
use crate::sys::signals::Signals;

fn advice(text: String) -> Remedy {
    Remedy::Advice(text)
}

fn running(patient: &Patient) -> Option<&FullInstance> {
    patient.instance.as_ref().filter(|instance| instance.status == "Running")
}

pub fn state(patient: &mut Patient) -> Option<Seen> {
    let instance = patient.instance.as_ref()?;
    let name = &instance.name;
    if is_half_made(instance) {
        let seen = Seen::failed(format!("`{name}` was never finished"));
        return Some(seen.mend(advice(format!("incusbox create {name}"))));
    }
    Some(match instance.status.as_str() {
        "Running" => Seen::ok(format!("`{name}` runs")),
        "Frozen" => Seen::warning(format!("`{name}` is frozen"))
            .mend(advice(format!("incus resume {name}"))),
        other => {
            Seen::ok(format!("`{name}` is {}; it starts when it is used", other.to_lowercase()))
        }
    })
}

/// A box that maps ids which the host no longer allows does not start.
pub fn ids(patient: &mut Patient) -> Option<Seen> {
    let instance = patient.instance.as_ref()?;
    let map = instance.expanded_config.get("raw.idmap")?;
    let read = |file: &str| std::fs::read_to_string(patient.root.join(file)).unwrap_or_default();
    let (uids, gids) = (read("etc/subuid"), read("etc/subgid"));
    let mut refused = Vec::new();
    for line in map.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [kind, host, ..] = fields[..] else { continue };
        let Ok(id) = host.split('-').next().unwrap_or(host).parse::<u32>() else { continue };
        if (kind != "gid" && !may_map(&uids, id)) || (kind != "uid" && !may_map(&gids, id)) {
            refused.push(line);
        }
    }
    Some(match refused.is_empty() {
        true => Seen::ok("the ids that it maps are allowed"),
        false => Seen::failed(format!(
            "the host does not allow the ids that it maps ({}): it will not start",
            refused.join(", ")
        ))
        .mend(advice("incusbox setup".to_owned())),
    })
}

pub fn home(patient: &mut Patient) -> Option<Seen> {
    let (instance, user) = (patient.instance.as_ref()?, patient.user.as_ref()?);
    // By whatever name; a volume of Incus's is the box's own.
    let disk = disks::at(instance, &user.home).map(|(_, disk)| disk);
    let source = disk.and_then(|disk| disk.get("source")).filter(|source| source.starts_with('/'));
    let (Some(device), Some(source)) = (disk, source.cloned()) else {
        return Some(Seen::ok("the box has a home of its own"));
    };
    if !std::path::Path::new(&source).is_dir() {
        let again = shell_words::join(["mkdir", "-p", &source]);
        let seen = Seen::failed(format!("`{source}`, its home, is not there"));
        return Some(seen.mend(advice(format!(
            "bring it back, or make an empty one: {again}; then: incusbox restart {}",
            instance.name
        ))));
    }
    Some(match device.get("shift").is_some_and(|shift| shift == "true") {
        true => Seen::warning(format!(
            "files in `{source}` are shifted: who is root in the box can make programs there that run as root here"
        ))
        .mend(advice("incusbox setup, then make the box anew".to_owned())),
        false => Seen::ok(format!("`{source}` is its home")),
    })
}

/// Ids that rootless containers want beside those of the box itself (subuid(5)).
const NESTED_IDS: u64 = 2 * 65536;

pub fn nesting(patient: &mut Patient) -> Option<Seen> {
    let instance = patient.instance.as_ref()?;
    let name = &instance.name;
    let is_on = |config: &BTreeMap<String, String>, key: &str| {
        config.get(key).is_some_and(|value| is_true(value))
    };
    let all = &instance.expanded_config;
    if !is_on(all, NESTING) {
        // Somebody said so, for this box or when it was made.
        let is_choice = instance.config.contains_key(NESTING)
            || !instance.profiles.iter().any(|profile| profile == NESTED);
        return Some(match is_choice {
            true => Seen::ok("containers may not run inside"),
            false => Seen::warning(format!(
                "containers may not run inside, although it has the profile `{NESTED}`"
            ))
            .mend(advice(format!("incusbox setup; then: incusbox restart {name}"))),
        });
    }
    let intercepted = INTERCEPTIONS.iter().any(|key| is_on(all, key));
    if intercepted && !patient.machine.has_security_module {
        let off: Vec<String> = INTERCEPTIONS.iter().map(|key| format!("{key}=false")).collect();
        let off = off.join(" ");
        return Some(
            Seen::warning(format!("its system calls are intercepted, {UNSAFE}"))
                .mend(advice(format!("incusbox set {name} {off}; then: incusbox restart {name}"))),
        );
    }
    let ids = instance.config.get("volatile.idmap.next").and_then(|map| mapped_uids(map));
    let Some(few) = ids.filter(|ids| *ids < NESTED_IDS) else {
        return Some(Seen::ok("containers may run inside"));
    };
    // With ids of its own the box has as many as it was given, else all that root has.
    let mend = match is_on(all, "security.idmap.isolated") {
        true => format!("incusbox set {name} security.idmap.size={NESTED_IDS}"),
        false => {
            "give root more in /etc/subuid and /etc/subgid, such as root:1000000:1000000000, and restart Incus"
                .to_owned()
        }
    };
    let text = format!("it has {few} user ids, and containers of users in it want {NESTED_IDS}");
    Some(Seen::warning(text).mend(advice(format!("{mend}; then: incusbox restart {name}"))))
}

/// How many user ids there are in Incus's map of a box.
fn mapped_uids(map: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Range {
        #[serde(rename = "Isuid")]
        is_uid: bool,
        #[serde(rename = "Maprange")]
        count: u64,
    }
    let ranges: Vec<Range> = serde_json::from_str(map).ok()?;
    Some(ranges.iter().filter(|range| range.is_uid).map(|range| range.count).sum())
}

pub fn agent(patient: &mut Patient) -> Option<Seen> {
    let name = running(patient)?.name.clone();
    let agent = AgentFile::find().ok()?;
    let client = patient.client.as_mut().ok()?;
    let has = |place: &&&str| client.file_exists(&name, &agent.path_in(place)).unwrap_or(false);
    let Some(place) = PLACES.iter().find(has) else {
        return Some(Seen::ok(
            "the agent of this version is not there yet; the next run brings it",
        ));
    };
    let path = agent.path_in(place);
    // The least that it does.
    Some(match said(patient, &name, &[&path, "print-environment"]) {
        Some((Some(0), _)) => Seen::ok(format!("the agent of this version is in {place}")),
        _ => Seen::failed(format!(
            "the agent in {place} does not run, and without it no command does"
        ))
        .mend(advice(format!(
            "take it away, and the next run brings it anew: incus exec {name} -- rm -f {path}"
        ))),
    })
}

pub fn address(patient: &mut Patient) -> Option<Seen> {
    let instance = running(patient)?;
    let name = &instance.name;
    Some(match instance.addresses().first() {
        Some(address) => Seen::ok(format!("its address is {address}")),
        None => Seen::warning("it has no address: no network inside")
            .mend(advice(format!("incusbox restart {name}")))
            .mend(advice("look for a firewall that stops DHCP on the bridge".to_owned())),
    })
}

pub fn dns(patient: &mut Patient) -> Option<Seen> {
    let name = running(patient)?.name.clone();
    let restart = || advice(format!("incusbox restart {name}"));
    let Some((_, text)) = said(patient, &name, &["cat", "/etc/resolv.conf"]) else {
        return Some(Seen::warning("nothing could be run in it").mend(restart()));
    };
    let servers = servers(&text);
    if servers.is_empty() {
        let what = "/etc/resolv.conf in it names no server: names are not found";
        return Some(Seen::warning(what).mend(restart()));
    }
    if !servers.iter().all(|server| STUBS.contains(server)) {
        return Some(Seen::ok("it knows a name server"));
    }
    let alive = said(patient, &name, &["systemctl", "is-active", "systemd-resolved"]);
    if !matches!(alive, Some((Some(0), _))) {
        let again = format!("incusbox run --root {name} -- systemctl restart systemd-resolved");
        let what = "names in it are asked of systemd-resolved, which does not run";
        return Some(Seen::warning(what).mend(advice(again)));
    }
    let (_, text) = said(patient, &name, &["cat", "/run/systemd/resolve/resolv.conf"])?;
    Some(match self::servers(&text).is_empty() {
        false => Seen::ok("systemd-resolved in it knows a name server"),
        true => Seen::warning("systemd-resolved in it knows no name server: names are not found")
            .mend(restart()),
    })
}

/// systemd-resolved's own addresses: it asks others (systemd-resolved.service(8)).
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// The servers that a resolv.conf(5) names.
fn servers(text: &str) -> Vec<&str> {
    let words = text.lines().map(str::split_whitespace);
    words.filter_map(|mut words| (words.next()? == "nameserver").then(|| words.next())?).collect()
}

/// Runs a program in the box as root: how it ended, and what it said.
fn said(patient: &mut Patient, name: &str, command: &[&str]) -> Option<(Option<i32>, String)> {
    let client = patient.client.as_mut().ok()?;
    let mut signals = Signals::catch(&[]).ok()?;
    let mut text = String::new();
    let mut line = |line: &[u8]| {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    };
    let ended = client.run_helper(name, command, b"", Some(PATIENCE), &mut signals, &mut line);
    Some((ended.ok()?.status, text))
}

/// How long a program that says little may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::doctor::Status;
    use crate::boxes::host::Machine;
    use crate::incus::Error;

    fn found(config: &str, profiles: &str, has_security_module: bool) -> (Status, String) {
        let text = format!(
            r#"{{"name":"b","status":"Running","config":{config},"expanded_config":{config},"profiles":{profiles}}}"#
        );
        let mut patient = Patient::new(None, Err(Error::NoSocket { tried: Vec::new() }));
        patient.machine = Machine { has_security_module, is_container: false };
        patient.instance = Some(serde_json::from_str(&text).expect("an instance"));
        let seen = nesting(&mut patient).expect("a finding");
        (seen.status, seen.text)
    }

    #[test]
    fn a_box_that_cannot_nest_as_it_should_is_found() {
        let nested = r#"["default","incusbox-nested"]"#;
        let (status, text) = found("{}", nested, true);
        assert!(status == Status::Warning && text.contains("incusbox-nested"), "{text}");
        assert_eq!(found("{}", r#"["default"]"#, true).0, Status::Ok);
        assert_eq!(found(r#"{"security.nesting":"false"}"#, nested, true).0, Status::Ok);

        let intercepted =
            r#"{"security.nesting":"true","security.syscalls.intercept.mknod":"true"}"#;
        assert_eq!(found(intercepted, nested, true).0, Status::Ok);
        let (status, text) = found(intercepted, nested, false);
        assert!(status == Status::Warning && text.contains("fail at random"), "{text}");

        let ids = |count: u64| {
            format!(
                r#"{{"security.nesting":"true","volatile.idmap.next":"[{{\"Isuid\":true,\"Isgid\":false,\"Hostid\":1000000,\"Nsid\":0,\"Maprange\":{count}}}]"}}"#
            )
        };
        assert_eq!(found(&ids(1_000_000_000), nested, true).0, Status::Ok);
        let (status, text) = found(&ids(65536), nested, true);
        assert!(status == Status::Warning && text.contains("65536 user ids"), "{text}");
    }

    #[test]
    fn the_servers_of_a_resolv_conf_are_its_lines_with_that_word() {
        let text = "# nameserver 1.1.1.1\nsearch incus\n nameserver  10.0.0.1\nnameserver 127.0.0.53\nnameserver\n";
        assert_eq!(servers(text), ["10.0.0.1", "127.0.0.53"]);
    }
}
