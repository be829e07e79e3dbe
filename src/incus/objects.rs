//! What Incus tells about itself, instances and profiles: the fields that boxes need.
//!
//! Source of the shapes: lxc/incus 6.0.4, `shared/api/`, `doc/rest-api.yaml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::types::status;

pub use super::devices::Devices;

/// Go writes `null` for a map or a list that was never made, as those of an instance in the making.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// What the daemon says of itself.
#[derive(Debug, Deserialize)]
pub struct Server {
    /// Names of extensions to the API.
    #[serde(default, deserialize_with = "null_is_default")]
    pub api_extensions: Vec<String>,
    /// `trusted` or `untrusted`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub auth: String,
    /// Its surroundings; empty for who is not trusted.
    #[serde(default, deserialize_with = "null_is_default")]
    pub environment: Environment,
}

/// A daemon's surroundings.
#[derive(Debug, Default, Deserialize)]
pub struct Environment {
    /// Version of Incus.
    #[serde(default, deserialize_with = "null_is_default")]
    pub server_version: String,
    /// Architectures that it runs, its own first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architectures: Vec<String>,
    /// What the kernel can do.
    #[serde(default, deserialize_with = "null_is_default")]
    pub kernel_features: BTreeMap<String, String>,
    /// What tells this daemon from others.
    #[serde(default, deserialize_with = "null_is_default")]
    pub certificate_fingerprint: String,
}

impl Server {
    /// Whether the API has an extension.
    pub fn has(&self, extension: &str) -> bool {
        self.api_extensions.iter().any(|known| known == extension)
    }
}

/// An instance with everything that Incus tells of it.
#[derive(Clone, Debug, Deserialize)]
pub struct FullInstance {
    /// Its name.
    pub name: String,
    /// `Running`, `Stopped`, `Frozen` …
    #[serde(deserialize_with = "status")]
    pub status: String,
    /// `container` or `virtual-machine`.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// The machine's architecture.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// When it was made (RFC 3339).
    #[serde(default, deserialize_with = "null_is_default")]
    pub created_at: String,
    /// What somebody wrote about it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub description: String,
    /// Whether it is deleted when it stops.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ephemeral: bool,
    /// Its profiles.
    #[serde(default, deserialize_with = "null_is_default")]
    pub profiles: Vec<String>,
    /// Its own configuration.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: BTreeMap<String, String>,
    /// Its own devices.
    #[serde(default, deserialize_with = "null_is_default")]
    pub devices: Devices,
    /// Configuration with that of its profiles.
    #[serde(default, deserialize_with = "null_is_default")]
    pub expanded_config: BTreeMap<String, String>,
    /// Devices with those of its profiles.
    #[serde(default, deserialize_with = "null_is_default")]
    pub expanded_devices: Devices,
    /// What changes while it runs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub state: Option<State>,
}

/// What changes while an instance runs.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct State {
    /// Process id of its init, on the host.
    #[serde(default, deserialize_with = "null_is_default")]
    pub pid: i64,
    /// How many processes run in it; -1 where that cannot be told.
    #[serde(default, deserialize_with = "null_is_default")]
    pub processes: i64,
    /// When it was started (RFC 3339).
    #[serde(default, deserialize_with = "null_is_default")]
    pub started_at: String,
    /// Its memory.
    #[serde(default, deserialize_with = "null_is_default")]
    pub memory: Memory,
    /// Its network interfaces; null when it is stopped.
    #[serde(default, deserialize_with = "null_is_default")]
    pub network: Option<BTreeMap<String, Interface>>,
}

/// The memory of an instance.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Memory {
    /// In use, in bytes; 0 where the host does not tell.
    #[serde(default, deserialize_with = "null_is_default")]
    pub usage: u64,
}

/// A network interface of an instance.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Interface {
    /// Its addresses.
    #[serde(default, deserialize_with = "null_is_default")]
    pub addresses: Vec<Address>,
    /// What the host calls the other end; empty for what the instance made itself.
    #[serde(default, deserialize_with = "null_is_default")]
    pub host_name: String,
}

/// An address of an interface.
#[derive(Clone, Debug, Deserialize)]
pub struct Address {
    /// `inet` or `inet6`.
    pub family: String,
    /// The address, without its prefix length.
    pub address: String,
    /// `global`, `link` or `local`.
    pub scope: String,
}

/// The root disk among devices, whatever its name, which is up to who wrote the profile.
pub fn root_disk(devices: &Devices) -> Option<(&String, &BTreeMap<String, String>)> {
    devices.iter().find(|(_, device)| device.get("path").is_some_and(|path| path == "/"))
}

impl FullInstance {
    /// Its devices and those of its profiles. (One that was not read from Incus has not the latter.)
    pub fn all_devices(&self) -> Devices {
        let mut all = self.expanded_devices.clone();
        all.extend(self.devices.clone());
        all
    }

    /// Whether incusbox set this instance up, or somebody marked it as a box.
    pub fn is_box(&self) -> bool {
        self.config
            .iter()
            .any(|(key, value)| key.starts_with("user.incusbox.") && !value.is_empty())
    }

    /// Incus's id of it, which outlives a change of the name and is no other instance's.
    pub fn uuid(&self) -> &str {
        self.config.get("volatile.uuid").map(String::as_str).unwrap_or_default()
    }

    /// A fact of incusbox's, kept as `user.incusbox.NAME`.
    pub fn fact(&self, name: &str) -> Option<&str> {
        let value = self.config.get(&format!("user.incusbox.{name}"))?;
        (!value.is_empty()).then_some(value)
    }

    /// Its addresses that others may reach, IPv4 first. Those of bridges that it made itself, as
    /// docker does, come last.
    pub fn addresses(&self) -> Vec<&str> {
        let network = self.state.as_ref().and_then(|state| state.network.as_ref());
        let all = network.into_iter().flat_map(|all| all.values());
        let all = all.flat_map(|one| {
            one.addresses.iter().map(|address| (one.host_name.is_empty(), address))
        });
        let mut found: Vec<_> = all.filter(|(_, address)| address.scope == "global").collect();
        found.sort_by_key(|(is_own, address)| (*is_own, address.family != "inet"));
        found.into_iter().map(|(_, address)| address.address.as_str()).collect()
    }
}

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, deserialize_with = "null_is_default")]
    pub description: String,
    /// Configuration.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: BTreeMap<String, String>,
    /// Devices.
    #[serde(default, deserialize_with = "null_is_default")]
    pub devices: Devices,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_others_can_reach_first_with_ipv4_before_the_rest() {
        let told = r#"{"name":"a","status":"Running","state":{"network":{
            "docker0":{"host_name":"","addresses":[
                                 {"family":"inet","address":"172.17.0.1","scope":"global"}]},
            "eth0":{"host_name":"veth1","addresses":[{"family":"inet6","address":"fd42::1","scope":"global"},
                                 {"family":"inet6","address":"fe80::1","scope":"link"},
                                 {"family":"inet","address":"10.0.0.2","scope":"global"}]},
            "lo":{"addresses":[{"family":"inet","address":"127.0.0.1","scope":"local"}]}}}}"#;
        let instance: FullInstance = serde_json::from_str(told).expect("an instance");
        assert_eq!(instance.addresses(), ["10.0.0.2", "fd42::1", "172.17.0.1"]);
        let stopped = r#"{"name":"a","status":"Stopped","config":null,"devices":null,"profiles":null,
            "expanded_config":null,"expanded_devices":null,"state":{"network":null,"memory":null}}"#;
        let instance: FullInstance = serde_json::from_str(stopped).expect("an instance");
        assert!(instance.addresses().is_empty());
    }
}
