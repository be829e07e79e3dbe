//! What Incus is asked for when a box is made: decided here, without asking anybody.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::copy;
use super::desktop;
use super::host::{self, HostUser};
use super::nesting::{Allowed, INTERCEPTIONS};
use super::network;
use super::settings::{Home, Intercept, Settings};
use crate::agent::protocol::desktop::Switch;
use crate::agent::protocol::setup::{SetupRequest, UserAccount};
use crate::incus::objects::{Devices, FullInstance, Profile, root_disk};

/// `raw.lxc` of a box whose init is the agent.
pub const INIT_LINE: &str = "lxc.init.cmd = /usr/local/lib/incusbox/init init";
/// What `user.incusbox.state` says until a box is ready.
pub const CREATING: &str = "creating";

/// How the user's ids get into the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The user's own ids are mapped to themselves.
    Ids,
    /// The home's files are shifted by the kernel. A setuid program that the box's root makes there
    /// is one of the host's root.
    Shift,
    /// Nothing has to be mapped.
    None,
}

/// Everything that a request is made from.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The box's name.
    pub name: &'a str,
    /// What it shall be like.
    pub settings: &'a Settings,
    /// Whom it is for; `None` for root.
    pub user: Option<&'a HostUser>,
    /// How the user's ids get in.
    pub mapping: Mapping,
    /// `source` of the request: the image or the instance to copy.
    pub source: Value,
    /// The default profile, when a device of it is to be another one.
    pub profile: Option<Profile>,
    /// Disks with the libraries of the host's driver.
    pub libraries: Devices,
    /// The box that it is a copy of. Incus gives the copy what the request does not mention.
    pub copied: Option<&'a FullInstance>,
    /// What the user named as its image.
    pub image: &'a str,
    /// What the daemon allows.
    pub allowed: Allowed,
    /// Who makes it, to know it again: `user.incusbox.state` is `creating TOKEN`.
    pub token: &'a str,
}

impl Wanted<'_> {
    /// The parts of the host's session that it gets.
    pub fn switches(&self) -> Vec<Switch> {
        desktop::possible(&self.settings.switches, self.user, self.mapping, self.allowed)
    }
}

/// The request to make the box, and start it.
pub fn instance(wanted: &Wanted<'_>) -> Value {
    let settings = wanted.settings;
    let profiles = copy::profiles(wanted);
    let mut devices = devices(settings, wanted.user, wanted.mapping);
    if let Some(user) = wanted.user {
        let switches = wanted.switches();
        devices.extend(desktop::devices(&switches, user.uid));
        if switches.contains(&Switch::Gpu) {
            devices.extend(wanted.libraries.clone());
        }
    }
    if let Some(profile) = &wanted.profile {
        let copied = copy::devices(wanted);
        devices.extend(network::devices(settings.network, &profile.devices, copied.as_ref()));
        let root = copied.as_ref().and_then(root_disk).or_else(|| root_disk(&profile.devices));
        if let (Some(size), Some((name, root))) = (&settings.disk, root) {
            let mut root = root.clone();
            root.insert("size".to_owned(), size.clone());
            devices.insert(name.clone(), root);
        }
    }
    // What all boxes get by the profile is not for an isolated one.
    let by_profile = wanted.profile.iter().flat_map(|profile| &profile.devices);
    let by_profile = by_profile.filter(|(_, device)| settings.isolated && !copy::is_own(device));
    let by_profile = by_profile.map(|(name, _)| name.as_str());
    let masked = copy::masked(wanted).into_iter().chain(by_profile);
    for name in copy::left_behind(wanted).into_iter().chain(masked) {
        let nothing = [("type".to_owned(), "none".to_owned())];
        devices.entry(name.to_owned()).or_insert_with(|| nothing.into());
    }
    json!({
        "name": wanted.name,
        "type": "container",
        "source": wanted.source,
        "profiles": profiles,
        "config": config(wanted),
        "devices": devices,
        "start": true,
    })
}

fn config(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let settings = wanted.settings;
    let mut config = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        config.insert(key.to_owned(), value.to_owned());
    };
    set("user.incusbox.box", "true");
    set("user.incusbox.state", &format!("{CREATING} {}", wanted.token));
    set("user.incusbox.image", wanted.image);
    set("user.incusbox.home", &settings.home.to_string());
    if settings.isolated {
        set("user.incusbox.isolated", "true");
        // Ids that no other box has, and no word with Incus from inside.
        set("security.idmap.isolated", "true");
        set("security.guestapi", "false");
        // Whatever a profile says.
        set("security.privileged", "false");
        set("security.nesting", if settings.nesting { "true" } else { "false" });
    }
    if let Some(options) = recorded(settings) {
        set("user.incusbox.options", &options);
    }
    if let Some(user) = wanted.user {
        set("user.incusbox.user", &user.name);
        let (key, value) = desktop::fact(&wanted.switches());
        set(&key, &value);
        if wanted.mapping == Mapping::Ids {
            set("raw.idmap", &id_map(user));
        }
    }
    for key in copy::forgotten(wanted) {
        config.entry(key).or_default();
    }
    let mut set = |key: &str, value: &str| {
        config.insert(key.to_owned(), value.to_owned());
    };
    let limits = [
        ("limits.cpu", &settings.cpus),
        ("limits.memory", &settings.memory),
        ("limits.processes", &settings.processes),
    ];
    for (key, value) in limits {
        if let Some(value) = value {
            set(key, value);
        }
    }
    // Over what the profile says; `auto` is the profile's word. A project that does not allow it
    // refuses.
    if settings.intercept != Intercept::Auto {
        for key in INTERCEPTIONS {
            set(key, if settings.intercept == Intercept::On { "true" } else { "false" });
        }
    }
    // The user's last word.
    for (key, value) in &settings.incus {
        set(key, value);
    }
    config
}

/// The options that nothing else in the instance tells later, as JSON; `None` where there are none.
pub fn recorded(settings: &Settings) -> Option<String> {
    let lists = [
        ("package", &settings.packages),
        ("pre-init-hook", &settings.pre_init_hooks),
        ("init-hook", &settings.init_hooks),
    ];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let mut all: serde_json::Map<String, Value> =
        lists.map(|(name, list)| (name.to_owned(), json!(list))).collect();
    if let Some(hostname) = &settings.hostname {
        all.insert("hostname".to_owned(), json!(hostname));
    }
    if !settings.sudo {
        all.insert("sudo".to_owned(), json!("off"));
    }
    (!all.is_empty()).then(|| Value::Object(all).to_string())
}

/// `raw.idmap` for a user: the same ids on either side.
pub fn id_map(user: &HostUser) -> String {
    let (uid, gid) = (user.uid, user.gid);
    if uid == gid {
        format!("both {uid} {uid}")
    } else {
        format!("uid {uid} {uid}\ngid {gid} {gid}")
    }
}

/// Devices by name. Their names hold the user's id, for several users can share a box.
pub fn devices(settings: &Settings, user: Option<&HostUser>, mapping: Mapping) -> Devices {
    let mut devices = Devices::new();
    let shift = mapping == Mapping::Shift;
    let disk = |source: &str, path: &str, read_only: bool| {
        let mut device = BTreeMap::new();
        let mut set = |key: &str, value: &str| {
            device.insert(key.to_owned(), value.to_owned());
        };
        set("type", "disk");
        set("source", source);
        set("path", path);
        if read_only {
            set("readonly", "true");
        }
        if shift {
            set("shift", "true");
        }
        device
    };
    if let Some(user) = user {
        let source = match &settings.home {
            Home::Shared => Some(user.home.as_str()),
            Home::Directory(path) => Some(path.as_str()),
            Home::None => None,
        };
        if let Some(source) = source {
            devices.insert(format!("home-{}", user.uid), disk(source, &user.home, false));
        }
    }
    for (at, volume) in settings.volumes.iter().enumerate() {
        let device = disk(&volume.host, &volume.inside, volume.read_only);
        devices.insert(format!("volume-{at}"), device);
    }
    devices
}

/// What the agent is told to make of the box. `switches` are those that are on.
pub fn setup(
    name: &str,
    settings: &Settings,
    user: Option<&HostUser>,
    switches: &[Switch],
) -> SetupRequest {
    SetupRequest {
        box_name: name.to_owned(),
        is_new: false,
        hostname: settings.hostname.clone().unwrap_or_else(|| name.to_owned()),
        user: user.map(|user| UserAccount {
            name: user.name.clone(),
            uid: user.uid,
            group: user.group.clone(),
            gid: user.gid,
            comment: user.comment.clone(),
            home: user.home.clone(),
            home_is_mounted: settings.home != Home::None,
            shell: settings.shell.clone().unwrap_or_else(|| user.shell.clone()),
            groups: user.groups.clone(),
            sudo: settings.sudo,
        }),
        locale: host::locale(),
        time_zone: host::time_zone(),
        nesting: settings.nesting,
        switches: user.map(|_| switches.iter().map(|switch| switch.name().to_owned()).collect()),
        packages: settings.packages.clone(),
        pre_init_hooks: settings.pre_init_hooks.clone(),
        init_hooks: settings.init_hooks.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::nesting::NESTED;
    use crate::boxes::options::{Values, named};

    fn dev(uid: u32, gid: u32) -> HostUser {
        HostUser {
            name: "dev".to_owned(),
            uid,
            group: "dev".to_owned(),
            gid,
            comment: String::new(),
            home: "/home/dev".to_owned(),
            shell: "/bin/zsh".to_owned(),
            groups: vec!["dev".to_owned(), "video".to_owned()],
        }
    }

    fn profile() -> Profile {
        let text = r#"{"name":"default","devices":{"disk0":{"type":"disk","path":"/"},
            "eth0":{"type":"nic","network":"incusbr0"},"data":{"type":"disk","path":"/data"}}}"#;
        serde_json::from_str(text).expect("a profile")
    }

    fn request(pairs: &[(&str, &str)], mapping: Mapping) -> Value {
        request_of(pairs, mapping, Allowed::All)
    }

    fn request_of(pairs: &[(&str, &str)], mapping: Mapping, allowed: Allowed) -> Value {
        let mut values = Values::default();
        for (name, value) in pairs {
            values.set(named(name).expect("an option"), vec![(*value).to_owned()]);
        }
        let settings = Settings::new(&values).expect("settings");
        let user = dev(1000, 1000);
        instance(&Wanted {
            name: "b",
            settings: &settings,
            user: Some(&user),
            mapping,
            source: json!({ "type": "image", "alias": "x" }),
            profile: Some(profile()),
            libraries: [("nvidia-0".to_owned(), BTreeMap::new())].into(),
            copied: None,
            image: "x",
            allowed,
            token: "t",
        })
    }

    #[test]
    fn interception_that_was_asked_for_is_not_forgotten_for_a_restricted_user() {
        let on = request_of(&[("intercept", "on")], Mapping::None, Allowed::Restricted);
        assert_eq!(on["config"][INTERCEPTIONS[0]], "true");
        let auto = request_of(&[], Mapping::None, Allowed::Restricted);
        assert_eq!(auto["config"][INTERCEPTIONS[0]], Value::Null);
    }

    #[test]
    fn a_box_has_the_users_home_at_the_same_path_and_its_ids() {
        let made = request(&[], Mapping::Ids);
        assert_eq!(made["config"]["raw.idmap"], "both 1000 1000");
        assert_eq!(made["devices"]["home-1000"]["source"], "/home/dev");
        assert_eq!(made["devices"]["home-1000"]["path"], "/home/dev");
        assert_eq!(made["devices"]["home-1000"]["shift"], Value::Null);
        assert_eq!(made["profiles"], json!(["default", NESTED]));
        assert_eq!(made["config"]["security.privileged"], Value::Null);
    }

    #[test]
    fn shifted_files_need_no_ids_and_a_home_of_the_boxs_own_no_device() {
        let made = request(&[("volume", "/srv:/data:ro")], Mapping::Shift);
        assert_eq!(made["config"]["raw.idmap"], Value::Null);
        assert_eq!(made["devices"]["home-1000"]["shift"], "true");
        let volume = &made["devices"]["volume-0"];
        assert_eq!((&volume["path"], &volume["readonly"]), (&json!("/data"), &json!("true")));
        let made = request(&[("home", "none"), ("themes", "off"), ("gpu", "off")], Mapping::None);
        assert_eq!(made["devices"], json!({}));
        let made = request(&[("home", "none"), ("themes", "off")], Mapping::None);
        assert_eq!(made["devices"], json!({ "nvidia-0": {} }));
        let made = request(&[("home", "/srv/h")], Mapping::Ids);
        assert_eq!(made["devices"]["home-1000"]["source"], "/srv/h");
    }

    #[test]
    fn limits_and_incuss_own_configuration_come_through_and_the_latter_wins() {
        let made = request(
            &[("cpus", "2"), ("disk", "5GiB"), ("set", "limits.cpu=3"), ("nesting", "off")],
            Mapping::Ids,
        );
        assert_eq!(made["config"]["limits.cpu"], "3");
        let root = json!({ "type": "disk", "path": "/", "size": "5GiB" });
        assert_eq!(made["devices"]["disk0"], root, "one root disk, as the profile calls it");
        assert_eq!(made["profiles"], json!(["default"]));
        let told = request(&[("intercept", "off")], Mapping::Ids);
        assert_eq!(told["config"][INTERCEPTIONS[0]], "false");
    }

    #[test]
    fn an_isolated_box_has_nothing_of_the_hosts() {
        let made = request(&[("isolated", "on")], Mapping::None);
        let devices: Vec<&String> = made["devices"].as_object().expect("devices").keys().collect();
        assert_eq!(devices, ["data", "eth0"]);
        assert_eq!(made["devices"]["data"]["type"], "none", "whatever the profile brings");
        assert_eq!(made["config"]["security.nesting"], "false");
        assert_eq!(made["devices"]["eth0"]["security.port_isolation"], "true");
        assert_eq!(made["profiles"], json!(["default"]));
        assert_eq!(made["config"]["raw.idmap"], Value::Null);
        assert_eq!(made["config"]["user.incusbox.switches"], "none");
        assert_eq!(made["config"]["security.idmap.isolated"], "true");
    }

    #[test]
    fn a_copy_has_what_it_shall_have_and_not_what_the_original_had() {
        let text = r#"{"name":"a","status":"Stopped","config":{"raw.idmap":"both 1000 1000"},
            "profiles":["incusbox-nested","lan","default"],
            "expanded_devices":{"lan1":{"type":"nic","network":"lan"},
                "shown":{"type":"disk","source":"/srv/dev","path":"/home/dev/"}},
            "devices":{"home-1000":{"type":"disk"},"x11":{"type":"disk"},"usb":{"type":"usb"},
                "mine":{"type":"disk","source":"/home/dev","path":"/home/dev"},
                "lan":{"type":"none"}}}"#;
        let original: FullInstance = serde_json::from_str(text).expect("an instance");
        let user = dev(1000, 1000);
        for (option, kept) in [("home", "usb"), ("isolated", "eth0")] {
            let mut values = Values::default();
            let value = if option == "home" { "none" } else { "on" };
            values.set(named(option).expect("an option"), vec![value.to_owned()]);
            values.set(named("network").expect("an option"), vec!["none".to_owned()]);
            values.set(named("display").expect("an option"), vec!["off".to_owned()]);
            let settings = Settings::new(&values).expect("settings");
            let made = instance(&Wanted {
                name: "b",
                settings: &settings,
                user: Some(&user),
                mapping: Mapping::None,
                source: json!({ "type": "copy", "source": "a" }),
                profile: Some(profile()),
                libraries: Devices::new(),
                copied: Some(&original),
                image: "a copy of a",
                allowed: Allowed::All,
                token: "t",
            });
            assert_eq!(made["devices"]["home-1000"]["type"], "none", "{option}");
            assert_eq!(made["devices"]["x11"]["type"], "none", "{option}");
            assert_eq!(made["devices"]["mine"]["type"], "none", "a home by whatever name");
            assert_eq!(made["config"]["raw.idmap"], "", "{option}");
            assert!(made["devices"]["lan"].is_null(), "which stays");
            let (profiles, lan): (&[&str], _) = match option {
                "isolated" => (&["default"], Value::Null),
                _ => (&["lan", "default", NESTED], json!("none")),
            };
            assert_eq!(made["devices"]["shown"]["type"], lan, "no home by a profile either");
            assert_eq!(made["profiles"], json!(profiles));
            assert_eq!(made["devices"]["lan1"]["type"], lan, "no network by a profile either");
            // Incus adds what is not mentioned.
            let is_off = made["devices"]["usb"]["type"] == "none";
            assert_eq!(is_off, kept != "usb");
        }
    }

    #[test]
    fn what_the_instance_itself_would_not_tell_is_written_into_it() {
        let made = request(&[("package", "vim"), ("sudo", "off")], Mapping::Ids);
        assert_eq!(made["config"]["user.incusbox.options"], r#"{"package":["vim"],"sudo":"off"}"#);
        assert!(request(&[], Mapping::Ids)["config"]["user.incusbox.options"].is_null());
    }

    #[test]
    fn other_ids_of_user_and_group_are_mapped_each_by_itself() {
        assert_eq!(id_map(&dev(1000, 100)), "uid 1000 1000\ngid 100 100");
    }
}
