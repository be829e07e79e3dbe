//! What Incus tells of the machine that it runs on: its graphics processors.
//!
//! Source of the shapes: lxc/incus 6.0.4, `shared/api/resource.go`.

use serde::Deserialize;

use super::client::Client;
use super::error::Error;
use super::objects::null_is_default;

/// A machine.
#[derive(Debug, Default, Deserialize)]
struct Resources {
    #[serde(default, deserialize_with = "null_is_default")]
    gpu: Graphics,
}

/// The graphics processors of a machine.
#[derive(Debug, Default, Deserialize)]
struct Graphics {
    #[serde(default, deserialize_with = "null_is_default")]
    cards: Vec<Card>,
}

/// A graphics processor. A card that no driver of the host's has taken has no nodes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Card {
    #[serde(default)]
    drm: Option<Drm>,
    #[serde(default)]
    nvidia: Option<Nvidia>,
}

/// Its nodes in `/dev/dri`, by their names.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
struct Drm {
    #[serde(default, deserialize_with = "null_is_default")]
    card_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    render_name: String,
}

/// The node in `/dev` of NVIDIA's own driver, by its name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
struct Nvidia {
    #[serde(default, deserialize_with = "null_is_default")]
    card_name: String,
}

impl Card {
    /// Whether it has a node that a program could open.
    pub fn has_node(&self) -> bool {
        let drm = self.drm.as_ref();
        drm.is_some_and(|drm| !drm.card_name.is_empty() || !drm.render_name.is_empty())
            || self.nvidia.as_ref().is_some_and(|nvidia| !nvidia.card_name.is_empty())
    }
}

impl Client {
    /// The graphics processors of the daemon's machine. Incus looks at all of its hardware for
    /// that, so it is asked only where somebody wants one.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn cards(&mut self) -> Result<Vec<Card>, Error> {
        let target = self.target("/1.0/resources", "");
        let resources: Resources = self.get_all("asking about the machine", &target)?;
        Ok(resources.gpu.cards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(gpu: &str) -> Vec<bool> {
        let told = format!(r#"{{"cpu":{{"total":2}},"gpu":{gpu},"system":null}}"#);
        let resources: Resources = serde_json::from_str(&told).expect("resources");
        resources.gpu.cards.iter().map(Card::has_node).collect()
    }

    #[test]
    fn a_machine_may_have_no_card_or_cards_without_a_driver() {
        for none in ["null", "{}", r#"{"cards":null,"total":0}"#, r#"{"cards":[],"total":0}"#] {
            assert!(nodes(none).is_empty(), "{none}");
        }
        let virtual_machine = r#"{"cards":[{"numa_node":0,"pci_address":"0000:00:02.0",
            "vendor":"Red Hat, Inc.","vendor_id":"1234","product_id":"1111"},
            {"drm":null,"nvidia":null,"numa_node":0},
            {"drm":{"id":0,"card_name":"","card_device":""},"numa_node":0}],"total":3}"#;
        assert_eq!(nodes(virtual_machine), [false, false, false]);
    }

    #[test]
    fn a_laptop_has_one_card_and_a_workstation_two() {
        let intel = r#"{"driver":"i915","driver_version":"6.1.0-28-amd64",
            "drm":{"id":0,"card_name":"card0","card_device":"226:0","control_name":"controlD64",
            "control_device":"226:0","render_name":"renderD128","render_device":"226:128"},
            "numa_node":0,"pci_address":"0000:00:02.0","vendor":"Intel Corporation",
            "vendor_id":"8086","product":"UHD Graphics 620","product_id":"5917"}"#;
        let nvidia = r#"{"driver":"nvidia","driver_version":"535.183.01","drm":null,
            "nvidia":{"nvrm_version":"535.183.01","brand":"GeForce","model":"GeForce RTX 3060",
            "card_name":"nvidia0","card_device":"195:0"},"numa_node":0,
            "pci_address":"0000:01:00.0","vendor":"NVIDIA Corporation","vendor_id":"10de",
            "product":"GA106","product_id":"2503"}"#;
        assert_eq!(nodes(&format!(r#"{{"cards":[{intel}],"total":1}}"#)), [true]);
        assert_eq!(nodes(&format!(r#"{{"cards":[{intel},{nvidia}],"total":2}}"#)), [true, true]);
    }
}
