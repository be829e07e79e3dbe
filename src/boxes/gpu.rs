//! The host's graphics processors in a box, as Incus devices.
//!
//! A box with a `gpu` device does not start on a machine without one, so Incus is asked what there
//! is. Where there is nothing no device is added, and programs draw by the processor, as they do on
//! such a host. Source: Incus 6.0.4, `internal/server/device/gpu_physical.go`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::create::Progress;
use super::host::{HostUser, Machine};
use crate::incus::objects::{Devices, FullInstance};
use crate::incus::resources::Card;
use crate::incus::{self, Client};

/// The device with the nodes of all cards: `/dev/dri`, and with NVIDIA's driver `/dev/nvidia*`.
pub const DEVICE: &str = "gpu";
/// The device for computing on AMD's cards, whose one node Incus counts to no card.
const COMPUTE_DEVICE: &str = "kfd";
const KFD: &str = "/dev/kfd";

const GROUPS: &str = "/etc/group";
/// The groups that distributions have for these nodes, the better one first.
const NAMES: [&[u8]; 2] = [b"render", b"video"];
/// More of a box's table of groups is not read, in bytes.
const MOST_BYTES: usize = 256 << 10;
/// The highest id that every box has and that is nobody's.
const LAST_ID: u32 = 65_533;

/// Whether the host has a GPU that Incus can give to a box.
///
/// # Errors
/// Everything in [`incus::Error`].
pub fn is_there(client: &mut Client) -> Result<bool, incus::Error> {
    // In a container Incus makes no device nodes, and refuses the whole device.
    Ok(!Machine::here().is_container && client.cards()?.iter().any(Card::has_node))
}

/// The devices for the instance `name`, for whom its own table of groups says; none where the host
/// has no GPU.
///
/// # Errors
/// Everything in [`incus::Error`].
pub fn look(
    client: &mut Client,
    name: &str,
    user: Option<&HostUser>,
) -> Result<Devices, incus::Error> {
    if !is_there(client)? {
        return Ok(Devices::new());
    }
    let groups = client.read_file(name, GROUPS)?.unwrap_or_default();
    let gid = gid(&groups, user.map(|user| user.gid));
    // The confined may have no node by its path.
    let computes = !client.daemon().restricted && Path::new(KFD).exists();
    Ok(devices(gid, computes))
}

/// Gives the instance `name` what the host has and `known`, its devices, lacks. A box without a GPU
/// is better than none, so what fails is only told.
pub fn add(
    client: &mut Client,
    progress: &mut dyn Progress,
    name: &str,
    user: Option<&HostUser>,
    known: &Devices,
) {
    let added = look(client, name, user).and_then(|mut devices| {
        devices.retain(|device, _| !known.contains_key(device));
        match devices.is_empty() {
            true => Ok(()),
            false => client.patch_instance(name, &json!({ "devices": devices })),
        }
    });
    if let Err(error) = added {
        progress.warning(&format!(
            "the box did not get the host's GPU: {error}\ntry it again: incusbox set {name} gpu=on"
        ));
    }
}

/// Adds devices to an instance. One that somebody changed keeps what it has, but for the group.
pub fn give(instance: &mut FullInstance, devices: Devices) {
    for (name, device) in devices {
        match (instance.devices.get_mut(&name), device.get("gid")) {
            (Some(there), Some(gid)) => {
                there.insert("gid".to_owned(), gid.clone());
            }
            (Some(_), None) => {}
            (None, _) => {
                instance.devices.insert(name, device);
            }
        }
    }
}

/// Takes the devices away from an instance.
pub fn take(instance: &mut FullInstance) {
    instance.devices.retain(|name, device| !is_ours(name, device));
}

/// Whether a device is one of these.
pub fn is_ours(name: &str, device: &BTreeMap<String, String>) -> bool {
    let is = |key: &str, value: &str| device.get(key).is_some_and(|own| own == value);
    match name {
        DEVICE => is("type", "gpu"),
        COMPUTE_DEVICE => is("source", KFD),
        _ => false,
    }
}

fn devices(gid: Option<u32>, computes: bool) -> Devices {
    let for_group = |keys: &[(&str, &str)]| {
        let pairs = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut device: BTreeMap<String, String> = pairs.collect();
        // Else it is what the node on the host has, which may be closed to the group.
        device.insert("mode".to_owned(), "0660".to_owned());
        if let Some(gid) = gid {
            device.insert("gid".to_owned(), gid.to_string());
        }
        device
    };
    let mut devices = Devices::new();
    let gpu = for_group(&[("type", "gpu"), ("gputype", "physical")]);
    devices.insert(DEVICE.to_owned(), gpu);
    if computes {
        let keys = [("type", "unix-char"), ("source", KFD), ("path", KFD), ("required", "false")];
        devices.insert(COMPUTE_DEVICE.to_owned(), for_group(&keys));
    }
    devices
}

/// The group whose members may use the nodes: one that the box has for them, else `own`, the user's
/// primary one. The table is the box's, so whatever stands there: a wrong number closes the nodes to
/// the box's user, and opens nothing of the host's.
fn gid(table: &[u8], own: Option<u32>) -> Option<u32> {
    let table = &table[..table.len().min(MOST_BYTES)];
    let of = |name: &&[u8]| table.split(|byte| *byte == b'\n').find_map(|line| entry(line, name));
    NAMES.iter().find_map(of).or(own)
}

/// The id in a line of group(5), if it is of the group `name` and whole.
fn entry(line: &[u8], name: &[u8]) -> Option<u32> {
    let fields: Vec<&[u8]> = line.splitn(5, |byte| *byte == b':').collect();
    let [own, _password, id, _members] = fields[..] else { return None };
    let is_number = own == name && id.iter().all(u8::is_ascii_digit);
    let id = is_number.then(|| std::str::from_utf8(id).ok()?.parse().ok())??;
    (1..=LAST_ID).contains(&id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_belong_to_the_boxs_own_group_for_them() {
        let debian = b"root:x:0:\nvideo:x:44:dev\nrender:x:106:dev\ndev:x:1000:\n";
        assert_eq!(gid(debian, Some(1000)), Some(106));
        assert_eq!(gid(b"video:x:44:", Some(1000)), Some(44));
        assert_eq!(gid(b"", Some(1000)), Some(1000));
        assert_eq!(gid(b"", None), None);
    }

    #[test]
    fn a_line_that_is_no_groups_is_nobodys_word() {
        let long = [b"x".repeat(MOST_BYTES).as_slice(), b"\nrender:x:106:"].concat();
        for odd in [
            "render:x:0:",
            "render:x:65534:",
            "render:x:4294967296:",
            "render:x:+5:",
            "render:x:-5:",
            "render:x: 5:",
            "render:x::",
            "render:x:5",
            "render:x:5:a:b",
            " render:x:5:",
            "renderer:x:5:",
            "#render:x:5:",
            "render\0:x:5:",
            "{\"type\":\"directory\"}",
        ] {
            assert_eq!(gid(odd.as_bytes(), Some(7)), Some(7), "{odd}");
        }
        assert_eq!(gid(&long, Some(7)), Some(7));
        assert_eq!(gid(b"\xff\xfe\nrender:x:5:\n", Some(7)), Some(5));
    }

    #[test]
    fn a_changed_device_keeps_its_card_and_gets_the_right_group() {
        let text = r#"{"name":"a","status":"Running","devices":{
            "gpu":{"type":"gpu","pci":"0000:01:00.0","gid":"7"},"eth0":{"type":"nic"}}}"#;
        let mut there: FullInstance = serde_json::from_str(text).expect("an instance");
        give(&mut there, devices(Some(106), true));
        assert_eq!(there.devices["gpu"]["gid"], "106");
        assert_eq!(there.devices["gpu"]["pci"], "0000:01:00.0");
        assert_eq!(there.devices["kfd"]["required"], "false");
        assert_eq!(there.devices["kfd"]["mode"], "0660");
        take(&mut there);
        assert_eq!(there.devices.keys().collect::<Vec<_>>(), ["eth0"]);
        give(&mut there, devices(None, false));
        assert_eq!(there.devices["gpu"]["gputype"], "physical");
        assert!(!there.devices["gpu"].contains_key("gid") && !there.devices.contains_key("kfd"));
    }

    #[test]
    fn only_what_is_ours_is_taken() {
        let text = r#"{"name":"a","status":"Stopped","devices":{
            "gpu":{"type":"disk"},"kfd":{"type":"unix-char","source":"/dev/other"}}}"#;
        let mut there: FullInstance = serde_json::from_str(text).expect("an instance");
        take(&mut there);
        assert_eq!(there.devices.len(), 2);
    }
}
