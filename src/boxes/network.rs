//! What of the network a box reaches.
//!
//! An isolated box reaches the internet and nothing nearer. Incus lets no rule stand between two
//! boxes on one bridge but that of isolated ports, which keeps only isolated ones apart; so there is
//! a bridge for isolated boxes alone, and rules at its border.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::Error;
use super::remedy::{free_subnet, routes};
use super::settings::Network;
use crate::incus::objects::{Devices, FullInstance, Profile};
use crate::incus::{self, Client};

/// The bridge of isolated boxes. (A network device's name has 15 bytes at most.)
const BRIDGE: &str = "incusbox-iso";
/// The rules at its border.
const RULES: &str = "incusbox-isolated";
/// Where no packet of an isolated box goes: networks that are not the internet, with the host, its
/// boxes and its neighbours in them. IPv4 alone, for the bridge has no IPv6.
const NEARBY: &str = "10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16";

/// The devices that take the place of those that the default profile brings.
pub fn devices(network: Network, profile: &Profile) -> Devices {
    let nics = profile.devices.iter().filter(|(_, device)| is_nic(device));
    let mut names: Vec<&str> = nics.map(|(name, _)| name.as_str()).collect();
    let mut devices = Devices::new();
    let mut device = |name: &str, keys: &[(&str, &str)]| {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        devices.insert(name.to_owned(), keys.collect());
    };
    match network {
        Network::Shared => names.clear(),
        Network::None => {}
        Network::Isolated => {
            let name = if names.is_empty() { "eth0" } else { names.remove(0) };
            let keys = [
                ("type", "nic"),
                ("network", BRIDGE),
                ("name", "eth0"),
                ("security.port_isolation", "true"),
                // It cannot take the place of another one.
                ("security.mac_filtering", "true"),
                ("security.ipv4_filtering", "true"),
            ];
            device(name, &keys);
        }
    }
    for name in names {
        device(name, &[("type", "none")]);
    }
    devices
}

/// What an instance reaches.
pub fn of(instance: &FullInstance) -> Network {
    let mut networks = instance.expanded_devices.values().filter(|device| is_nic(device));
    match (networks.next(), networks.next()) {
        (None, _) => Network::None,
        (Some(only), None) if only.get("network").is_some_and(|name| name == BRIDGE) => {
            Network::Isolated
        }
        _ => Network::Shared,
    }
}

fn is_nic(device: &BTreeMap<String, String>) -> bool {
    device.get("type").is_some_and(|kind| kind == "nic")
}

/// Makes the bridge of isolated boxes and its rules, unless they are there.
///
/// # Errors
/// [`Error::NoIsolation`]: a box that was to be isolated is not made without.
pub fn ensure_isolated(client: &mut Client) -> Result<(), Error> {
    let (rules, bridge) = (rules(), bridge());
    for (path, request) in [("/1.0/network-acls", &rules), ("/1.0/networks", &bridge)] {
        let target = client.target(path, "");
        match client.tell("making the network of isolated boxes", "POST", &target, request) {
            Ok(()) => {}
            Err(error) if is_there_already(&error) => {}
            Err(source) => return Err(Error::NoIsolation { source }),
        }
    }
    Ok(())
}

fn is_there_already(error: &incus::Error) -> bool {
    error.text().is_some_and(|text| text.contains("already exists"))
}

fn rules() -> Value {
    json!({
        "name": RULES,
        "description": "Isolated boxes of incusbox: the internet, and nothing nearer",
        "egress": [{ "action": "reject", "destination": NEARBY, "state": "enabled" }],
    })
}

fn bridge() -> Value {
    // Only where no subnet is known to be free, Incus may look for one.
    let address = free_subnet(&routes()).unwrap_or_else(|| "auto".to_owned());
    json!({
        "name": BRIDGE,
        "type": "bridge",
        "description": "Isolated boxes of incusbox",
        "config": {
            "ipv4.address": address,
            "ipv4.nat": "true",
            "ipv6.address": "none",
            "security.acls": RULES,
            "security.acls.default.egress.action": "allow",
            "security.acls.default.ingress.action": "reject",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(nics: &[&str]) -> Profile {
        let nic = |name: &&str| {
            let keys = [("type".to_owned(), "nic".to_owned())];
            ((*name).to_owned(), BTreeMap::from(keys))
        };
        let mut devices: Devices = nics.iter().map(nic).collect();
        devices.insert("root".to_owned(), [("type".to_owned(), "disk".to_owned())].into());
        Profile { devices, ..Profile::default() }
    }

    #[test]
    fn no_interface_of_the_profile_is_left_where_there_shall_be_none() {
        let made = devices(Network::None, &profile(&["eth0", "wlan"]));
        assert!(made.values().all(|device| device["type"] == "none"));
        assert_eq!(made.len(), 2);
        assert!(devices(Network::Shared, &profile(&["eth0"])).is_empty());
    }

    #[test]
    fn an_isolated_box_has_one_interface_on_a_bridge_of_its_own() {
        for nics in [&["eth0"][..], &["lan", "other"], &[]] {
            let made = devices(Network::Isolated, &profile(nics));
            assert_eq!(made.len(), nics.len().max(1));
            let name = nics.first().unwrap_or(&"eth0");
            assert_eq!(made[*name]["network"], BRIDGE);
            assert_eq!(made[*name]["security.port_isolation"], "true");
            assert!(made.iter().all(|(at, device)| at == name || device["type"] == "none"));
        }
    }
}
