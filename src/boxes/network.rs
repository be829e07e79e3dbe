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
use crate::incus::objects::{Devices, FullInstance};
use crate::incus::{self, Client};

/// The bridge of isolated boxes. (A network device's name has 15 bytes at most.)
pub const BRIDGE: &str = "incusbox-iso";
/// The rules at its border.
const RULES: &str = "incusbox-isolated";
/// What of the bridge's configuration isolates.
const GUARDS: &[&str] = &[
    "ipv6.address",
    "security.acls",
    "security.acls.default.egress.action",
    "security.acls.default.ingress.action",
];
/// Where no packet of an isolated box goes: networks that are not the internet, with the host, its
/// boxes and its neighbours in them, and what goes to many at once, the host among them. IPv4 alone,
/// for the bridge has no IPv6.
const NEARBY: &str = "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,\
                      192.0.0.0/24,192.168.0.0/16,198.18.0.0/15,224.0.0.0/4,240.0.0.0/4";

/// The devices that take the place of interfaces that come by the default profile, or from the box
/// that is copied.
pub fn devices(network: Network, profile: &Devices, copied: Option<&Devices>) -> Devices {
    let all = profile.iter().chain(copied.into_iter().flatten());
    let names: Vec<&str> =
        all.filter(|(_, device)| is_nic(device)).map(|(name, _)| name.as_str()).collect();
    let isolated = match network {
        Network::Shared => return shared(profile, copied),
        Network::None => None,
        Network::Isolated => Some(names.first().copied().unwrap_or("eth0")),
    };
    let device = |keys: &[(&str, &str)]| -> BTreeMap<String, String> {
        keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let nothing = device(&[("type", "none")]);
    let mut devices: Devices =
        names.iter().map(|name| ((*name).to_owned(), nothing.clone())).collect();
    if let Some(name) = isolated {
        let keys = [
            ("type", "nic"),
            ("network", BRIDGE),
            ("name", "eth0"),
            ("security.port_isolation", "true"),
            // It cannot take the place of another one.
            ("security.mac_filtering", "true"),
            ("security.ipv4_filtering", "true"),
        ];
        devices.insert(name.to_owned(), device(&keys));
    }
    devices
}

/// A copy of an isolated box that is none gets the profile's interfaces.
fn shared(profile: &Devices, copied: Option<&Devices>) -> Devices {
    let nothing = BTreeMap::from([("type".to_owned(), "none".to_owned())]);
    let of_profile = |name: &String| profile.get(name).unwrap_or(&nothing).clone();
    let isolated = copied.into_iter().flatten().filter(|(_, device)| is_isolated(device));
    isolated.map(|(name, _)| (name.clone(), of_profile(name))).collect()
}

/// What an instance reaches.
pub fn of(instance: &FullInstance) -> Network {
    let mut networks = instance.expanded_devices.values().filter(|device| is_nic(device));
    match (networks.next(), networks.next()) {
        (None, _) => Network::None,
        (Some(only), None) if is_isolated(only) => Network::Isolated,
        _ => Network::Shared,
    }
}

fn is_isolated(device: &BTreeMap<String, String>) -> bool {
    device.get("network").is_some_and(|name| name == BRIDGE)
}

/// Whether a device is a network interface.
pub fn is_nic(device: &BTreeMap<String, String>) -> bool {
    device.get("type").is_some_and(|kind| kind == "nic")
}

/// Makes the bridge of isolated boxes and its rules, unless they are there.
///
/// # Errors
/// [`Error::NoIsolation`]: a box that was to be isolated is not made without.
pub fn ensure_isolated(client: &mut Client) -> Result<(), Error> {
    let doing = "making the network of isolated boxes";
    let (rules, bridge) = (rules(), bridge());
    let is_there = |made: Result<(), incus::Error>| match made {
        Ok(()) => Ok(false),
        Err(error) if is_there_already(&error) => Ok(true),
        Err(source) => Err(Error::NoIsolation { source }),
    };
    let target = client.target("/1.0/network-acls", "");
    if is_there(client.tell(doing, "POST", &target, &rules))? {
        // Of an earlier version, perhaps; the object is ours alone.
        let target = client.target(&format!("/1.0/network-acls/{RULES}"), "");
        client.tell(doing, "PUT", &target, &rules)?;
    }
    let target = client.target("/1.0/networks", "");
    if is_there(client.tell(doing, "POST", &target, &bridge))? {
        let target = client.target(&format!("/1.0/networks/{BRIDGE}"), "");
        let there: Value = client.get("asking about the network of isolated boxes", &target)?;
        let wanted = |key: &&&str| there["config"][**key] != bridge["config"][**key];
        if let Some(key) = GUARDS.iter().find(wanted) {
            return Err(Error::Usage(format!(
                "the network `{BRIDGE}` is there and does not isolate: its `{key}` is another\n\
                 have it made anew, when no box uses it: incus network delete {BRIDGE}"
            )));
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

    fn profile(nics: &[&str]) -> Devices {
        let nic = |name: &&str| {
            let keys = [("type".to_owned(), "nic".to_owned())];
            ((*name).to_owned(), BTreeMap::from(keys))
        };
        let mut devices: Devices = nics.iter().map(nic).collect();
        devices.insert("root".to_owned(), [("type".to_owned(), "disk".to_owned())].into());
        devices
    }

    #[test]
    fn no_interface_of_the_profile_is_left_where_there_shall_be_none() {
        let made = devices(Network::None, &profile(&["eth0", "wlan"]), None);
        assert!(made.values().all(|device| device["type"] == "none"));
        assert_eq!(made.len(), 2);
        assert!(devices(Network::Shared, &profile(&["eth0"]), None).is_empty());
    }

    #[test]
    fn a_copy_keeps_no_interface_that_it_shall_not_have() {
        let copied = profile(&["lan"]);
        let none = devices(Network::None, &profile(&["eth0"]), Some(&copied));
        assert_eq!(none.keys().collect::<Vec<_>>(), ["eth0", "lan"]);
        let isolated = devices(Network::Isolated, &profile(&["eth0"]), Some(&copied));
        assert_eq!(
            (isolated["eth0"]["network"].as_str(), isolated["lan"]["type"].as_str()),
            (BRIDGE, "none")
        );
        let shared = devices(Network::Shared, &profile(&["eth0"]), Some(&isolated));
        assert_eq!(
            shared,
            profile(&["eth0"]).into_iter().filter(|(name, _)| name == "eth0").collect()
        );
    }

    #[test]
    fn an_isolated_box_has_one_interface_on_a_bridge_of_its_own() {
        for nics in [&["eth0"][..], &["lan", "other"], &[]] {
            let made = devices(Network::Isolated, &profile(nics), None);
            assert_eq!(made.len(), nics.len().max(1));
            let name = nics.first().unwrap_or(&"eth0");
            assert_eq!(made[*name]["network"], BRIDGE);
            assert_eq!(made[*name]["security.port_isolation"], "true");
            assert!(made.iter().all(|(at, device)| at == name || device["type"] == "none"));
        }
    }
}
