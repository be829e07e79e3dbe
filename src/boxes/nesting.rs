//! The profile of boxes that run containers inside.

use std::collections::BTreeMap;

use super::host::Machine;
use crate::incus::objects::{Devices, Profile};

/// The profile that boxes with containers inside have.
pub const NESTED: &str = "incusbox-nested";
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

/// The profile [`NESTED`].
pub fn nested_profile(allowed: Allowed, machine: Machine) -> Profile {
    let mut config = BTreeMap::new();
    config.insert("security.nesting".to_owned(), "true".to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

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
