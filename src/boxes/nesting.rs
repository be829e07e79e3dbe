//! The profile of boxes that run containers inside.

use std::collections::BTreeMap;

use super::host::Machine;
use super::settings::Intercept;
use crate::incus::objects::{Devices, Profile};
use crate::incus::{self, Client};

/// The profile that boxes with containers inside have.
pub const NESTED: &str = "incusbox-nested";
/// What lets containers run in a box.
pub const NESTING: &str = "security.nesting";
/// What Incus does for the box where the kernel keeps that safe.
pub const INTERCEPTIONS: [&str; 2] =
    ["security.syscalls.intercept.mknod", "security.syscalls.intercept.setxattr"];

/// What a daemon allows in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Everything.
    All,
    /// What `incus-user` lets a confined user have: no devices of the host's, no interception.
    Restricted,
}

impl Allowed {
    /// What the daemon allows whoever asks.
    pub fn of(client: &Client) -> Allowed {
        if client.daemon().restricted { Allowed::Restricted } else { Allowed::All }
    }
}

/// The profile [`NESTED`].
pub fn nested_profile(allowed: Allowed, machine: Machine) -> Profile {
    let mut config = BTreeMap::new();
    config.insert(NESTING.to_owned(), "true".to_owned());
    let mut devices = Devices::new();
    if allowed == Allowed::All {
        if machine.has_security_module {
            for key in INTERCEPTIONS {
                config.insert(key.to_owned(), "true".to_owned());
            }
        }
        for path in ["/dev/fuse", "/dev/net/tun"] {
            let name = path.rsplit('/').next().unwrap_or_default();
            let device = [
                ("type", "unix-char"),
                ("source", path),
                ("path", path),
                // A host without the device has boxes all the same.
                ("required", "false"),
            ];
            let device = device.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let mut device = BTreeMap::from(device);
            if !machine.is_container {
                device.insert("mode".to_owned(), "0666".to_owned());
            }
            devices.insert(name.to_owned(), device);
        }
    }
    let description = "Boxes of incusbox that run containers inside".to_owned();
    Profile { name: NESTED.to_owned(), description, config, devices }
}

/// Makes the profile of boxes with containers inside, unless it is there.
///
/// # Errors
/// Everything in [`incus::Error`].
pub fn ensure_profile(client: &mut Client) -> Result<(), incus::Error> {
    let profile = nested_profile(Allowed::of(client), Machine::here());
    match client.create_profile(&profile) {
        Err(error) if !error.text().is_some_and(|text| text.contains("already exists")) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// The profile as it should be where it is `there` already. It may have been made under another
/// kernel, or on another machine. What the machine decides is changed; all else is somebody's choice
/// and stays, as an interception that says `false` does.
pub fn renewed(there: &Profile, allowed: Allowed, machine: Machine) -> Profile {
    let wanted = nested_profile(allowed, machine);
    let mut renewed = there.clone();
    renewed.config.retain(|key, value| {
        let is_unsafe = is_interception(key) && !machine.has_security_module;
        !(is_unsafe && is_true(value))
    });
    for (key, value) in wanted.config {
        if is_interception(&key) {
            renewed.config.entry(key).or_insert(value);
        } else {
            renewed.config.insert(key, value);
        }
    }
    for (name, device) in wanted.devices {
        let Some(own) = renewed.devices.get_mut(&name) else {
            renewed.devices.insert(name, device);
            continue;
        };
        match device.get("mode") {
            // Another device under this name.
            _ if own.get("source") != device.get("source") => {}
            Some(mode) => {
                own.entry("mode".to_owned()).or_insert_with(|| mode.clone());
            }
            None => {
                own.remove("mode");
            }
        }
    }
    renewed
}

/// What makes a profile another one than `renewed`, in words for whoever has it.
pub fn differences(there: &Profile, renewed: &Profile) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in &renewed.config {
        if there.config.get(key) != Some(value) {
            all.push(format!("{key} should be {value}"));
        }
    }
    let is_gone = |key: &&str| !renewed.config.contains_key(*key);
    let gone: Vec<&str> = there.config.keys().map(String::as_str).filter(is_gone).collect();
    if !gone.is_empty() {
        all.push(format!("{} should not be set, {UNSAFE}", gone.join(" and ")));
    }
    for (name, device) in &renewed.devices {
        match there.devices.get(name) {
            None => all.push(format!("the device {name} is missing")),
            Some(own) if own != device => all.push(format!("the mode of {name} is wrong")),
            Some(_) => {}
        }
    }
    all
}

/// What becomes of boxes whose system calls are intercepted without a security module.
pub const UNSAFE: &str =
    "with which commands fail at random on a kernel that has neither AppArmor nor SELinux";

/// What to say of interception that was asked for on this machine.
pub fn warning(intercept: Intercept, machine: Machine) -> Option<String> {
    let is_unsafe = intercept == Intercept::On && !machine.has_security_module;
    is_unsafe.then(|| {
        format!("system calls of the box are intercepted, {UNSAFE}\nlet the kernel decide: --intercept auto")
    })
}

/// Whether Incus is told to intercept a system call by this key.
pub fn is_interception(key: &str) -> bool {
    INTERCEPTIONS.contains(&key)
}

/// As Incus reads it.
pub fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: Machine = Machine { has_security_module: true, is_container: false };
    const WITHOUT: Machine = Machine { has_security_module: false, is_container: false };

    #[test]
    fn a_profile_of_another_kernel_is_renewed_and_choices_stay() {
        let mut old = nested_profile(Allowed::All, WITH);
        old.config.insert("limits.cpu".to_owned(), "2".to_owned());
        let new = renewed(&old, Allowed::All, WITHOUT);
        assert!(!new.config.contains_key(INTERCEPTIONS[0]), "{new:?}");
        assert_eq!(new.config["limits.cpu"], "2");
        let told = differences(&old, &new);
        assert!(told.len() == 1 && told[0].contains("fail at random"), "{told:?}");
        assert_eq!(renewed(&new, Allowed::All, WITH).config, old.config, "and back");
        assert_eq!(renewed(&old, Allowed::Restricted, WITH), old, "what root gave stays");

        let mut chosen = old.clone();
        chosen.config.insert(INTERCEPTIONS[0].to_owned(), "false".to_owned());
        chosen.devices.insert("tun".to_owned(), [("type", "none")].map(owned).into());
        assert_eq!(renewed(&chosen, Allowed::All, WITH), chosen);
    }

    #[test]
    fn a_profile_gets_back_what_nesting_needs() {
        let whole = nested_profile(Allowed::All, WITHOUT);
        let mut hurt = whole.clone();
        hurt.config.insert("security.nesting".to_owned(), "false".to_owned());
        hurt.devices.remove("fuse");
        hurt.devices.get_mut("tun").expect("a device").remove("mode");
        let told = differences(&hurt, &whole).join("; ");
        assert_eq!(
            told,
            "security.nesting should be true; the device fuse is missing; the mode of tun is wrong"
        );
        assert_eq!(renewed(&hurt, Allowed::All, WITHOUT), whole);
        let inside = Machine { is_container: true, ..WITHOUT };
        assert!(!renewed(&whole, Allowed::All, inside).devices["tun"].contains_key("mode"));
    }

    #[test]
    fn interception_is_warned_of_only_where_it_was_asked_for_and_does_harm() {
        assert!(warning(Intercept::On, WITHOUT).is_some());
        assert!(warning(Intercept::On, WITH).is_none());
        assert!(warning(Intercept::Auto, WITHOUT).is_none());
    }

    fn owned((key, value): (&str, &str)) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn the_profile_intercepts_only_where_that_works_and_is_allowed() {
        let intercepted = |allowed, has_security_module| {
            let machine = Machine { has_security_module, is_container: false };
            nested_profile(allowed, machine).config.contains_key(INTERCEPTIONS[0])
        };
        assert!(intercepted(Allowed::All, true));
        assert!(!intercepted(Allowed::All, false));
        assert!(!intercepted(Allowed::Restricted, true));
    }

    #[test]
    fn the_profiles_devices_have_a_mode_where_incus_can_make_them() {
        let devices = |allowed, is_container| {
            nested_profile(allowed, Machine { has_security_module: true, is_container }).devices
        };
        assert_eq!(devices(Allowed::All, false)["fuse"]["mode"], "0666");
        let inside = devices(Allowed::All, true);
        assert_eq!(inside["fuse"]["source"], "/dev/fuse");
        assert!(!inside["fuse"].contains_key("mode"));
        assert!(devices(Allowed::Restricted, false).is_empty());
    }
}
