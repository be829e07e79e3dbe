//! What mends something on the host: shown by `doctor`, done by `setup`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use super::host::Machine;
use super::nesting::{Allowed, NESTED, renewed};
use crate::incus::objects::Devices;
use crate::incus::{self, Client};

/// What mends something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A command that root has to run.
    AsRoot(Vec<String>),
    /// Something that the daemon is asked for.
    Daemon(Wish),
    /// Something that only the user can do: a sentence or a command.
    Advice(String),
}

/// Something that the daemon is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A storage pool, and the root disk of the default profile on it.
    Storage,
    /// A bridge with a free subnet, and the default profile's interface on it.
    Network,
    /// The profile of boxes with containers inside, as this machine needs it.
    Nesting,
}

impl Remedy {
    /// A command for root, from its words.
    pub fn as_root(words: &[&str]) -> Remedy {
        Remedy::AsRoot(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::AsRoot(words) => {
                write!(f, "sudo {}", shell_words::join(words))
            }
            Remedy::Daemon(_) => f.write_str("incusbox setup"),
            Remedy::Advice(text) => f.write_str(text),
        }
    }
}

/// The pool that is made where there is none. incus-user, the restricted daemon, wants this name.
const POOL: &str = "default";
/// The bridge that is made where there is none, as `incus admin init` names it.
const BRIDGE: &str = "incusbr0";

impl Wish {
    /// What is going to be done, for who watches.
    pub fn sentence(self) -> String {
        match self {
            Wish::Storage => {
                format!("make the storage pool `{POOL}` and use it in the default profile")
            }
            Wish::Network => {
                format!("make the network `{BRIDGE}` and use it in the default profile")
            }
            Wish::Nesting => format!(
                "bring the profile `{NESTED}` up to date; boxes that run have that from their next start on"
            ),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// Everything in [`incus::Error`].
    pub fn fulfil(self, client: &mut Client) -> Result<(), incus::Error> {
        match self {
            Wish::Storage => storage(client),
            Wish::Network => network(client),
            Wish::Nesting => {
                let there = client.profile(NESTED)?;
                client.put_profile(&renewed(&there, Allowed::of(client), Machine::here()))
            }
        }
    }
}

fn storage(client: &mut Client) -> Result<(), incus::Error> {
    let pools = pools(client)?;
    let pool = match pools.first() {
        Some(pool) => pool.clone(),
        None => {
            // `dir` works on every file system and needs no tool; who wants another one makes it
            // before, and it is used.
            let request = json!({ "name": POOL, "driver": "dir", "config": {} });
            let target = client.target("/1.0/storage-pools", "");
            client.tell("making a storage pool", "POST", &target, &request)?;
            POOL.to_owned()
        }
    };
    let device = [("type", "disk"), ("path", "/"), ("pool", pool.as_str())];
    add_to_profile(client, "root", &device)
}

fn network(client: &mut Client) -> Result<(), incus::Error> {
    let known = managed_bridges(client)?;
    let bridge = match known.first() {
        Some(bridge) => bridge.clone(),
        None => {
            make_bridge(client)?;
            BRIDGE.to_owned()
        }
    };
    let device = [("type", "nic"), ("name", "eth0"), ("network", bridge.as_str())];
    add_to_profile(client, "eth0", &device)
}

/// Incus looks for a free subnet by pinging addresses of random ones, which takes minutes where
/// nothing answers and fails where everything seems to. So one is chosen here that no route of the
/// host leads into; only where there is none, Incus may look.
fn make_bridge(client: &mut Client) -> Result<(), incus::Error> {
    let target = client.target("/1.0/networks", "");
    let mut config = BTreeMap::new();
    if let Some(address) = free_subnet(&routes()) {
        config.insert("ipv4.address", address);
        config.insert("ipv4.nat", "true".to_owned());
        if let Ok(address) = random_ula() {
            config.insert("ipv6.address", address);
            config.insert("ipv6.nat", "true".to_owned());
        } else {
            config.insert("ipv6.address", "none".to_owned());
        }
    }
    let request = json!({ "name": BRIDGE, "type": "bridge", "config": config });
    client.tell("making a network", "POST", &target, &request)
}

/// incus-user makes a bridge for each user with Incus's own search, and refuses the user if that
/// fails; a bridge of the right name that is there already is taken.
pub fn bridge_of(uid: u32) -> Option<Remedy> {
    let name = format!("incusbr-{uid}");
    let address = format!("ipv4.address={}", free_subnet(&routes())?);
    let words = ["incus", "network", "create", &name, "--type=bridge", &address];
    Some(Remedy::as_root(&[&words[..], &["ipv4.nat=true", "ipv6.address=none"]].concat()))
}

/// `/proc/net/route`.
pub fn routes() -> String {
    std::fs::read_to_string("/proc/net/route").unwrap_or_default()
}

/// A unique local network of IPv6 (RFC 4193, 3.2: 40 random bits), as the bridge's own address.
fn random_ula() -> std::io::Result<String> {
    use std::io::Read;
    let mut random = [0_u8; 7];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let [a, b, c, d, e, f, g] = random;
    Ok(format!("fd{a:02x}:{b:02x}{c:02x}:{d:02x}{e:02x}:{f:02x}{g:02x}::1/64"))
}

/// The first of some private /24 networks that none of the routes overlaps, as the bridge's own
/// address in it. `routes` is `/proc/net/route`: hexadecimal numbers in the host's byte order.
pub fn free_subnet(routes: &str) -> Option<String> {
    let taken: Vec<(u32, u32)> = routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number =
                |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok().map(u32::from_be);
            Some((number(1)?, number(7)?))
        })
        // The default route leads everywhere.
        .filter(|(_, mask)| *mask != 0)
        .collect();
    let is_free = |network: u32| {
        taken.iter().all(|(route, mask)| {
            let common = mask & 0xffff_ff00;
            route & common != network & common
        })
    };
    // 10.147.0.0/24 and following: a range that home routers and VPNs rarely take.
    let candidates = (0..256_u32).map(|at| u32::from_be_bytes([10, 147, at as u8, 0]));
    let network = candidates.into_iter().find(|network| is_free(*network))?;
    let [a, b, c, _] = network.to_be_bytes();
    Some(format!("{a}.{b}.{c}.1/24"))
}

/// Names of the storage pools.
pub fn pools(client: &mut Client) -> Result<Vec<String>, incus::Error> {
    names(client, "asking about storage", "/1.0/storage-pools")
}

/// Names of the bridges that Incus manages.
pub fn managed_bridges(client: &mut Client) -> Result<Vec<String>, incus::Error> {
    #[derive(serde::Deserialize)]
    struct Network {
        name: String,
        managed: bool,
        #[serde(rename = "type")]
        kind: String,
    }
    let target = client.target("/1.0/networks", "recursion=1");
    let all: Vec<Network> = client.get_all("asking about networks", &target)?;
    let is_bridge = |network: &Network| network.managed && network.kind == "bridge";
    Ok(all.into_iter().filter(is_bridge).map(|network| network.name).collect())
}

fn names(
    client: &mut Client,
    doing: &'static str,
    path: &str,
) -> Result<Vec<String>, incus::Error> {
    let target = client.target(path, "");
    let urls: Vec<String> = client.get_all(doing, &target)?;
    let name = |url: String| url.split('?').next()?.rsplit('/').next().map(str::to_owned);
    Ok(urls.into_iter().filter_map(name).collect())
}

/// Adds a device to the default profile, unless it has one of that name.
fn add_to_profile(
    client: &mut Client,
    name: &str,
    device: &[(&str, &str)],
) -> Result<(), incus::Error> {
    let profile = client.profile("default")?;
    let mut devices: Devices = profile.devices;
    let device: BTreeMap<String, String> =
        device.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    devices.entry(name.to_owned()).or_insert(device);
    let target = client.target("/1.0/profiles/default", "");
    client.tell("changing the default profile", "PATCH", &target, &json!({ "devices": devices }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

    #[test]
    fn a_subnet_is_free_when_no_route_leads_into_it() {
        let default = format!("{HEAD}eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        assert_eq!(free_subnet(&default).as_deref(), Some("10.147.0.1/24"));
        let one = format!("{default}br0\t0000930A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
        assert_eq!(free_subnet(&one).as_deref(), Some("10.147.1.1/24"));
        let all = format!("{HEAD}vpn0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n");
        assert_eq!(free_subnet(&all), None);
    }

    #[test]
    fn a_command_for_root_can_be_pasted() {
        let remedy = Remedy::as_root(&["usermod", "--append", "--groups", "incus admin", "dev"]);
        assert_eq!(remedy.to_string(), "sudo usermod --append --groups 'incus admin' dev");
    }
}
