//! What a box that is a copy gets of its original and what not. Incus gives a copy every device and key
//! of the original that the request does not mention, and no profile.

use std::collections::BTreeMap;

use super::desktop;
use super::gpu;
use super::nesting::NESTED;
use super::network;
use super::nvidia;
use super::request::{self, Wanted};
use crate::agent::protocol::desktop::Switch;
use crate::incus::objects::Devices;

/// The profiles of a box. A copy has the original's, but for an isolated one: what they show it is not
/// known here.
pub fn profiles<'a>(wanted: &Wanted<'a>) -> Vec<&'a str> {
    let original = wanted.copied.filter(|_| !wanted.settings.isolated);
    let mut profiles = match original {
        Some(copied) => copied.profiles.iter().map(String::as_str).collect(),
        None => vec!["default"],
    };
    profiles.retain(|name| *name != NESTED);
    if wanted.settings.nesting {
        profiles.push(NESTED);
    }
    profiles
}

/// The devices that a copy has by its original, its profiles' among them.
pub fn devices(wanted: &Wanted<'_>) -> Option<Devices> {
    let copied = wanted.copied?;
    Some(if wanted.settings.isolated { copied.devices.clone() } else { copied.all_devices() })
}

/// Keys that the copy shall not have.
pub fn forgotten(wanted: &Wanted<'_>) -> Vec<String> {
    let Some(copied) = wanted.copied else { return Vec::new() };
    let was_isolated = copied.fact("isolated").is_some();
    let is_forgotten = |key: &str, value: &str| {
        let of_options = ["raw.idmap", "user.incusbox.isolated", "user.incusbox.options"];
        of_options.contains(&key)
            || (was_isolated && key.starts_with("security."))
            || (wanted.settings.isolated && !is_harmless(key, value))
    };
    let forgotten = copied.config.iter().filter(|(key, value)| is_forgotten(key, value));
    forgotten.map(|(key, _)| key.clone()).collect()
}

/// Whether a key of the original may stay in an isolated copy.
fn is_harmless(key: &str, value: &str) -> bool {
    let known = ["limits.", "boot.", "image.", "volatile.", "user.incusbox."];
    let is_our_init = key == "raw.lxc" && value.trim() == request::INIT_LINE;
    known.iter().any(|begin| key.starts_with(begin)) || is_our_init
}

/// Whether a device is a root disk or an interface, which show nothing of the host's by themselves.
pub fn is_own(device: &BTreeMap<String, String>) -> bool {
    device.get("path").is_some_and(|path| path == "/") || network::is_nic(device)
}

/// Whether a device is a disk where the user's home is, or where the copy is shown something else. A
/// box that was adopted may be shown that under any name, and Incus has one disk at a path only.
fn is_in_place(wanted: &Wanted<'_>, kept: &Devices, device: &BTreeMap<String, String>) -> bool {
    let path = |device: &BTreeMap<String, String>| {
        let path = device.get("path").filter(|_| device.get("type").is_some_and(|is| is == "disk"));
        path.map(|path| path.trim_end_matches('/').to_owned())
    };
    let Some(at) = path(device) else { return false };
    let is_home = wanted.user.is_some_and(|user| user.home.trim_end_matches('/') == at);
    is_home || kept.values().any(|kept| path(kept).as_ref() == Some(&at))
}

/// Devices that the original has by a profile, and the copy shall not have: Incus is told so by
/// something in their place.
pub fn masked<'a>(wanted: &'a Wanted<'_>) -> Vec<&'a str> {
    let kept = request::devices(wanted.settings, wanted.user, wanted.mapping);
    let original = wanted.copied.filter(|_| !wanted.settings.isolated);
    let by_profile = original.iter().flat_map(|copied| {
        copied.expanded_devices.iter().filter(|(name, _)| !copied.devices.contains_key(*name))
    });
    let masked = by_profile
        .filter(|(name, device)| !kept.contains_key(*name) && is_in_place(wanted, &kept, device));
    masked.map(|(name, _)| name.as_str()).collect()
}

/// Devices of the original that a copy shall not have: those that are there because of an option,
/// and in an isolated box all but the root disk and the network.
pub fn left_behind<'a>(wanted: &'a Wanted<'_>) -> Vec<&'a str> {
    let switches = wanted.switches();
    let shown = wanted.user.map(|user| desktop::devices(&switches, user.uid)).unwrap_or_default();
    let kept = request::devices(wanted.settings, wanted.user, wanted.mapping);
    let is_left = |name: &str, device: &BTreeMap<String, String>| {
        let is_of_gpu = gpu::is_ours(name, device) || nvidia::is_ours(device);
        let is_ours = name.starts_with("home-")
            || name.starts_with("volume-")
            || is_in_place(wanted, &kept, device)
            || desktop::is_ours(name)
            || (is_of_gpu && !switches.contains(&Switch::Gpu));
        let is_strange = wanted.settings.isolated && !is_own(device);
        let is_library = switches.contains(&Switch::Gpu) && wanted.libraries.contains_key(name);
        // It stands in the place of one that a profile brings.
        let is_nothing = device.get("type").is_some_and(|kind| kind == "none");
        (is_ours || is_strange)
            && !is_nothing
            && !is_library
            && !kept.contains_key(name)
            && !shown.contains_key(name)
    };
    let original = wanted.copied.iter().flat_map(|copied| &copied.devices);
    original.filter(|(name, device)| is_left(name, device)).map(|(name, _)| name.as_str()).collect()
}
