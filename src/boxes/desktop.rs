//! The parts of the host's desktop that a box is shown, as Incus devices.
//!
//! Directories, not sockets: a server that starts anew makes a new socket, and a box that was shown
//! the old one would keep that. Read-only, which does not hinder connect(2), and below `/mnt`,
//! where no box mounts anything of its own; the agent makes the links from the usual places.

use std::collections::BTreeMap;

use super::host::HostUser;
use super::nesting::Allowed;
use super::request::Mapping;
use crate::agent::protocol::desktop::{
    LOCAL_FONTS, SHARE, SWITCHES, Switch, X11, X11_SOCKETS, host_runtime, runtime,
};
use crate::incus::objects::{Devices, FullInstance};

/// The name of the device with the X11 sockets.
const X11_DEVICE: &str = "x11";

/// The name of the device with a user's runtime directory.
fn session_device(uid: u32) -> String {
    format!("session-{uid}")
}

/// The name of the device with a directory that anybody may read.
fn share_device(name: &str) -> String {
    format!("share-{name}")
}

/// The directories with fonts, icons and themes: their names, the host's paths and the box's.
pub fn shares() -> [(&'static str, &'static str, String); 4] {
    let share = |name| format!("{SHARE}/{name}");
    [
        ("fonts", "/usr/share/fonts", share("fonts")),
        ("icons", "/usr/share/icons", share("icons")),
        ("themes", "/usr/share/themes", share("themes")),
        ("local-fonts", "/usr/local/share/fonts", LOCAL_FONTS.to_owned()),
    ]
}

/// Whether a switch can do anything: its user's sockets are nobody's for a box that does not know
/// the user's id, and the confined get no directories of the host's. Fonts are for anybody to read,
/// and nodes have the ids that they are given.
pub fn is_possible(switch: Switch, mapping: Mapping, allowed: Allowed) -> bool {
    switch == Switch::Gpu
        || allowed == Allowed::All && (mapping == Mapping::Ids || !switch.needs_session())
}

/// What a box may have of the switches that are wanted.
pub fn possible(
    wanted: &[Switch],
    user: Option<&HostUser>,
    mapping: Mapping,
    allowed: Allowed,
) -> Vec<Switch> {
    let can = |switch: &Switch| user.is_some() && is_possible(*switch, mapping, allowed);
    wanted.iter().copied().filter(can).collect()
}

/// The devices for switches that are on.
pub fn devices(on: &[Switch], uid: u32) -> Devices {
    let mut devices = everybodys(on);
    devices.extend(users(on, uid));
    devices
}

/// The device of one user's.
fn users(on: &[Switch], uid: u32) -> Option<(String, BTreeMap<String, String>)> {
    let is_wanted = on.iter().any(|switch| switch.needs_session());
    is_wanted.then(|| (session_device(uid), disk(&host_runtime(uid), &runtime(uid))))
}

/// Those that are the same for each user.
fn everybodys(on: &[Switch]) -> Devices {
    let mut devices = Devices::new();
    if on.contains(&Switch::Display) {
        devices.insert(X11_DEVICE.to_owned(), disk(X11_SOCKETS, X11));
    }
    if on.contains(&Switch::Themes) {
        let shares = shares();
        devices
            .extend(shares.map(|(name, host, inside)| (share_device(name), disk(host, &inside))));
    }
    devices
}

fn disk(source: &str, path: &str) -> BTreeMap<String, String> {
    let keys = [
        ("type", "disk"),
        ("source", source),
        ("path", path),
        ("readonly", "true"),
        // A box may start before its user logs in, or on a host without themes.
        ("required", "false"),
    ];
    BTreeMap::from(keys.map(|(key, value)| (key.to_owned(), value.to_owned())))
}

/// The switches as a fact of the instance.
pub fn fact(on: &[Switch]) -> (String, String) {
    let names: Vec<&str> = on.iter().map(|switch| switch.name()).collect();
    let told = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    (SWITCHES.to_owned(), told)
}

/// The switches that are on in a box; `None` where nobody ever decided.
pub fn on(instance: &FullInstance) -> Option<Vec<Switch>> {
    let told = instance.config.get(SWITCHES).filter(|told| !told.is_empty())?;
    Some(Switch::listed(told))
}

/// Turns a switch of a box on or off, for every user whom the box is shown something of, and, if it
/// is one of the session's, for `uid`.
pub fn turn(instance: &mut FullInstance, switch: Switch, is_on: bool, uid: u32) {
    let mut now = on(instance).unwrap_or_default();
    now.retain(|other| *other != switch);
    if is_on {
        now.push(switch);
    }
    let mut uids: Vec<u32> = instance.devices.keys().filter_map(|name| uid_of(name)).collect();
    if switch.needs_session() {
        uids.push(uid);
    }
    let mut wanted = everybodys(&now);
    wanted.extend(uids.iter().filter_map(|uid| users(&now, *uid)));
    instance.devices.retain(|name, _| !is_ours(name) || wanted.contains_key(name));
    for (name, device) in wanted {
        instance.devices.entry(name).or_insert(device);
    }
    let (key, value) = fact(&now);
    instance.config.insert(key, value);
}

/// Whether a device is one of these.
pub fn is_ours(device: &str) -> bool {
    everybodys(&Switch::ALL).contains_key(device) || uid_of(device).is_some()
}

fn uid_of(device: &str) -> Option<u32> {
    device.strip_prefix("session-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> FullInstance {
        serde_json::from_str(r#"{"name":"a","status":"Running"}"#).expect("an instance")
    }

    fn names(instance: &FullInstance) -> Vec<&str> {
        instance.devices.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_box_is_shown_directories_that_it_can_only_read() {
        let all = devices(&Switch::ALL, 1000);
        assert_eq!(all["session-1000"]["path"], "/mnt/.incusbox/1000/run");
        assert_eq!(all["x11"]["source"], "/tmp/.X11-unix");
        assert!(all.values().all(|device| device["readonly"] == "true"));
        assert_eq!(all["share-fonts"]["path"], "/mnt/.incusbox/share/fonts");
        let names = |on| devices(&[on], 1).into_keys().collect::<Vec<_>>();
        assert_eq!(names(Switch::Audio), ["session-1"]);
        let themes = ["share-fonts", "share-icons", "share-local-fonts", "share-themes"];
        assert_eq!(names(Switch::Themes), themes);
        assert!(devices(&[], 1).is_empty() && devices(&[Switch::Gpu], 1).is_empty());
    }

    #[test]
    fn turning_the_gpu_shows_nobodys_session() {
        let mut there = instance();
        turn(&mut there, Switch::Bus, true, 1);
        turn(&mut there, Switch::Gpu, true, 2);
        assert_eq!(names(&there), ["session-1"]);
        assert_eq!(on(&there), Some(vec![Switch::Bus, Switch::Gpu]));
        turn(&mut there, Switch::Bus, false, 1);
        assert_eq!((names(&there), on(&there)), (vec![], Some(vec![Switch::Gpu])));
    }

    #[test]
    fn a_switch_is_on_where_it_can_do_anything() {
        let user = HostUser {
            name: "dev".to_owned(),
            uid: 1,
            group: "dev".to_owned(),
            gid: 1,
            comment: String::new(),
            home: "/home/dev".to_owned(),
            shell: "/bin/sh".to_owned(),
            groups: Vec::new(),
        };
        let of = |mapping, allowed| possible(&Switch::ALL, Some(&user), mapping, allowed);
        assert_eq!(of(Mapping::Ids, Allowed::All), Switch::ALL);
        assert_eq!(of(Mapping::Shift, Allowed::All), [Switch::Gpu, Switch::Themes]);
        assert_eq!(of(Mapping::None, Allowed::All), [Switch::Gpu, Switch::Themes]);
        assert_eq!(of(Mapping::Ids, Allowed::Restricted), [Switch::Gpu]);
        assert_eq!(possible(&Switch::ALL, None, Mapping::Ids, Allowed::All), []);
    }

    #[test]
    fn themes_come_and_go_without_a_session() {
        let mut there = instance();
        turn(&mut there, Switch::Themes, true, 1);
        let themes = ["share-fonts", "share-icons", "share-local-fonts", "share-themes"];
        assert_eq!(names(&there), themes);
        turn(&mut there, Switch::Audio, true, 1);
        turn(&mut there, Switch::Themes, false, 2);
        assert_eq!(names(&there), ["session-1"]);
    }

    #[test]
    fn the_last_switch_takes_the_devices_with_it_and_leaves_others() {
        let mut there = instance();
        there.devices.insert("home-1".to_owned(), BTreeMap::new());
        turn(&mut there, Switch::Display, true, 1);
        turn(&mut there, Switch::Bus, true, 2);
        assert_eq!(names(&there), ["home-1", "session-1", "session-2", "x11"]);
        assert_eq!(on(&there), Some(vec![Switch::Display, Switch::Bus]));
        turn(&mut there, Switch::Display, false, 1);
        assert_eq!(names(&there), ["home-1", "session-1", "session-2"]);
        turn(&mut there, Switch::Bus, false, 1);
        assert_eq!((names(&there), on(&there)), (vec!["home-1"], Some(vec![])));
        assert_eq!(on(&instance()), None);
    }
}
