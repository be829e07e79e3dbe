//! What an instance that exists is shown besides: a disk for each path where it has none.
//!
//! Incus refuses a second disk at one path, whatever its name. So what is there is known by its path,
//! and a name only has to be free.

use std::collections::BTreeMap;

use super::error::Error;
use super::host::HostUser;
use super::settings::Home;
use crate::incus::objects::{Devices, FullInstance};

type Device = BTreeMap<String, String>;

/// Adds disks. What the instance shows at a path already stays, if it is the same.
///
/// # Errors
/// [`Error::OtherDisk`] if it is not.
pub fn add(instance: &mut FullInstance, wanted: Devices) -> Result<(), Error> {
    for (name, disk) in wanted {
        let path = disk.get("path").map(String::as_str).unwrap_or_default();
        match at(instance, path) {
            Some((_, there)) if is_same(there, &disk) => {}
            Some((device, there)) => return Err(other(instance, device, there)),
            None => {
                let name = free_name(instance, &name);
                instance.devices.insert(name, disk);
            }
        }
    }
    Ok(())
}

/// The home that a user is shown in an instance; `None` where that is the instance's own.
pub fn home(instance: &FullInstance, user: &HostUser) -> Option<Home> {
    let (_, disk) = at(instance, &user.home)?;
    let source = disk.get("source").filter(|source| source.starts_with('/'));
    Some(match source {
        Some(source) if plain(source) == plain(&user.home) => Home::Shared,
        Some(source) => Home::Directory(source.clone()),
        // A volume of Incus's.
        None => Home::None,
    })
}

/// Refuses a home that is asked for where another one is shown.
///
/// # Errors
/// [`Error::OtherDisk`].
pub fn refuse_other_home(
    instance: &FullInstance,
    user: &HostUser,
    wanted: &Home,
) -> Result<(), Error> {
    match (home(instance, user), at(instance, &user.home)) {
        (Some(shown), Some((device, there))) if shown != *wanted => {
            Err(other(instance, device, there))
        }
        _ => Ok(()),
    }
}

/// The disk at a path, its name first.
pub fn at<'a>(instance: &'a FullInstance, path: &str) -> Option<(&'a str, &'a Device)> {
    let all = instance.devices.iter().chain(&instance.expanded_devices);
    let is_there = |(_, device): &(&String, &Device)| {
        device.get("path").is_some_and(|known| plain(known) == plain(path))
    };
    all.into_iter().find(is_there).map(|(name, device)| (name.as_str(), device))
}

fn is_same(one: &Device, other: &Device) -> bool {
    let source = |disk: &Device| disk.get("source").map(|source| plain(source).to_owned());
    let is_read_only = |disk: &Device| disk.get("readonly").is_some_and(|value| value == "true");
    source(one) == source(other) && is_read_only(one) == is_read_only(other)
}

/// A path without the slashes at its end.
fn plain(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// The name itself if no device has it; else the next of its kind.
fn free_name(instance: &FullInstance, name: &str) -> String {
    let is_free = |name: &String| {
        !instance.devices.contains_key(name) && !instance.expanded_devices.contains_key(name)
    };
    let stem = if name.starts_with("volume-") { "volume" } else { name };
    let mut name = name.to_owned();
    let mut number = 0;
    while !is_free(&name) {
        number += 1;
        name = format!("{stem}-{number}");
    }
    name
}

fn other(instance: &FullInstance, device: &str, there: &Device) -> Error {
    let text = |key| there.get(key).cloned().unwrap_or_default();
    Error::OtherDisk {
        name: instance.name.clone(),
        device: device.to_owned(),
        path: text("path"),
        source: text("source"),
        read_only: there.get("readonly").is_some_and(|value| value == "true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(source: &str, path: &str) -> Device {
        let keys = [("type", "disk"), ("source", source), ("path", path)];
        keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    fn instance() -> FullInstance {
        let mut instance: FullInstance =
            serde_json::from_str(r#"{"name":"a","status":"Running"}"#).expect("an instance");
        instance.devices = [("volume-0".to_owned(), disk("/srv", "/srv"))].into();
        instance.expanded_devices = [("mine".to_owned(), disk("/home/dev", "/home/dev/"))].into();
        instance
    }

    fn names(instance: &FullInstance) -> Vec<&str> {
        instance.devices.keys().map(String::as_str).collect()
    }

    #[test]
    fn what_is_shown_already_is_known_by_its_path_and_what_is_new_gets_a_name_of_its_own() {
        let mut there = instance();
        let wanted = [("home-1", "/home/dev"), ("volume-0", "/data"), ("volume-1", "/srv")];
        let wanted = wanted.map(|(name, path)| (name.to_owned(), disk(path, path)));
        add(&mut there, wanted.clone().into()).expect("disks");
        assert_eq!(names(&there), ["volume-0", "volume-1"]);
        assert_eq!(there.devices["volume-1"]["path"], "/data");
        add(&mut there, wanted.into()).expect("the same disks");
        assert_eq!(names(&there), ["volume-0", "volume-1"]);
    }

    #[test]
    fn something_else_at_a_path_is_refused_with_what_is_there() {
        let mut read_only = disk("/srv", "/srv");
        read_only.insert("readonly".to_owned(), "true".to_owned());
        for other in [disk("/data", "/srv/"), read_only] {
            let wanted = [("volume-0".to_owned(), other)].into();
            let told = add(&mut instance(), wanted).expect_err("another disk").to_string();
            assert!(told.contains("incus config device remove a volume-0"), "{told}");
        }
    }

    #[test]
    fn a_users_home_is_what_is_shown_at_its_path() {
        let user = HostUser { home: "/home/dev".to_owned(), ..HostUser::default() };
        let mut there = instance();
        assert_eq!(home(&there, &user), Some(Home::Shared));
        assert!(refuse_other_home(&there, &user, &Home::Shared).is_ok());
        assert!(refuse_other_home(&there, &user, &Home::None).is_err());
        for (source, is) in [("/srv/h", Home::Directory("/srv/h".to_owned())), ("v", Home::None)] {
            there.expanded_devices = [("mine".to_owned(), disk(source, "/home/dev"))].into();
            assert_eq!(home(&there, &user), Some(is));
        }
        there.expanded_devices.clear();
        assert_eq!(home(&there, &user), None);
        assert!(refuse_other_home(&there, &user, &Home::None).is_ok());
    }
}
