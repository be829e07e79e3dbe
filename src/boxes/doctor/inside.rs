//! Checks of one box.

use super::{Patient, Seen};
use crate::boxes::create::is_half_made;
use crate::boxes::host::may_map;
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
    let device = instance.expanded_devices.get(&format!("home-{}", user.uid));
    let Some(device) = device else {
        return Some(Seen::ok("the box has a home of its own"));
    };
    let source = device.get("source").cloned().unwrap_or_default();
    if !std::path::Path::new(&source).is_dir() {
        return Some(Seen::failed(format!("`{source}`, its home, is not there")));
    }
    Some(match device.get("shift").is_some_and(|shift| shift == "true") {
        true => Seen::warning(format!(
            "files in `{source}` are shifted: who is root in the box can make programs there that run as root here"
        ))
        .mend(advice("incusbox setup, then make the box anew".to_owned())),
        false => Seen::ok(format!("`{source}` is its home")),
    })
}

pub fn nesting(patient: &mut Patient) -> Option<Seen> {
    let instance = patient.instance.as_ref()?;
    let nests = instance.expanded_config.get("security.nesting").is_some_and(|is| is == "true");
    Some(match nests {
        true => Seen::ok("containers may run inside"),
        false => Seen::ok("containers may not run inside"),
    })
}

pub fn agent(patient: &mut Patient) -> Option<Seen> {
    let name = running(patient)?.name.clone();
    let agent = AgentFile::find().ok()?;
    let client = patient.client.as_mut().ok()?;
    let has = |place: &&&str| client.file_exists(&name, &agent.path_in(place)).unwrap_or(false);
    Some(match PLACES.iter().find(has) {
        Some(place) => Seen::ok(format!("the agent of this version is in {place}")),
        None => Seen::ok("the agent of this version is not there yet; the next run brings it"),
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
    let client = patient.client.as_mut().ok()?;
    let mut signals = Signals::catch(&[]).ok()?;
    let mut has_server = false;
    let mut line = |line: &[u8]| has_server |= line.trim_ascii().starts_with(b"nameserver");
    let ended =
        client.run_helper(&name, &["cat", "/etc/resolv.conf"], b"", None, &mut signals, &mut line);
    Some(match (ended, has_server) {
        (Ok(_), true) => Seen::ok("it knows a name server"),
        (Ok(_), false) => {
            Seen::warning("/etc/resolv.conf in it names no server: names are not found")
                .mend(advice(format!("incusbox restart {name}")))
        }
        (Err(_), _) => Seen::warning("nothing could be run in it"),
    })
}
