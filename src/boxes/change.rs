//! Changing an instance that exists: options of a box, and making a box of any instance.
//!
//! Incus takes a device or a key away only by PUT of the whole instance, so that is how everything
//! is changed here: read, change the copy, write.

use serde_json::{Value, json};

use super::create::mapping;
use super::desktop;
use super::disks;
use super::error::Error;
use super::host::HostUser;
use super::nesting::{Allowed, NESTED};
use super::request::{self, Mapping};
use super::settings::{Home, Settings};
use crate::incus::objects::{FullInstance, root_disk};

/// A change of one living option, as the user wrote it: `NAME=VALUE`, or `NAME=` for the default.
///
/// # Errors
/// [`Error::Usage`] for what is no option that can be changed.
pub fn apply(instance: &mut FullInstance, name: &str, value: &str) -> Result<(), Error> {
    let key = match name {
        "cpus" => "limits.cpu",
        "memory" => "limits.memory",
        "processes" => "limits.processes",
        "disk" => return resize(instance, value),
        // Incus's own keys hold a dot, options of ours none.
        key if key.contains('.') => key,
        _ => return Err(Error::Usage(not_changeable(name))),
    };
    if value.is_empty() {
        instance.config.remove(key);
    } else {
        instance.config.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

fn not_changeable(name: &str) -> String {
    use super::options::{OPTIONS, When, named, near};
    match (named(name), near(name)) {
        (Some(_), _) => format!(
            "`{name}` is decided when a box is made\nmake another one: incusbox create --help"
        ),
        (None, Some(near)) => format!("there is no option `{name}`; `{near}` is one"),
        (None, None) => {
            let living = OPTIONS.iter().filter(|option| option.when == When::Always);
            let names: Vec<_> =
                living.map(|option| option.name).filter(|name| *name != "set").collect();
            format!(
                "there is no option `{name}`; there are {}, and Incus's own keys",
                names.join(", ")
            )
        }
    }
}

/// The root disk of most boxes comes from a profile; with a size of its own it needs a device of
/// its own, of the same name, or the box had two.
fn resize(instance: &mut FullInstance, size: &str) -> Result<(), Error> {
    let all = instance.all_devices();
    let Some((name, root)) = root_disk(&all) else {
        return Err(Error::Usage(format!("`{}` has no root disk to resize", instance.name)));
    };
    let mut root = root.clone();
    if size.is_empty() {
        root.remove("size");
    } else {
        root.insert("size".to_owned(), size.to_owned());
    }
    instance.devices.insert(name.clone(), root);
    Ok(())
}

/// The whole instance as PUT wants it.
pub fn whole(instance: &FullInstance) -> Value {
    json!({
        "architecture": instance.architecture,
        "description": instance.description,
        "ephemeral": instance.ephemeral,
        "config": instance.config,
        "devices": instance.devices,
        "profiles": instance.profiles,
    })
}

/// What adopting changes.
#[derive(Debug)]
pub struct Adoption {
    /// The instance as it shall be.
    pub instance: FullInstance,
    /// Whether it has to be restarted for that.
    pub restart: bool,
    /// How the user's ids get in.
    pub mapping: Mapping,
    /// The home that the user has there: what it is shown already, else what was wanted.
    pub home: Home,
    /// What to warn of.
    pub warning: Option<String>,
}

/// Makes a box of an instance, or gives a box one more user. Adds what is missing and takes nothing
/// away.
///
/// # Errors
/// [`Error::NoMapping`], and [`Error::OtherDisk`] where something else is shown at a volume's path.
pub fn adopt(
    instance: FullInstance,
    user: Option<&HostUser>,
    settings: &Settings,
    allowed: Allowed,
) -> Result<Adoption, Error> {
    let mut instance = instance;
    let (mapping, warning) = mapping(user, settings, allowed)?;
    let mut restart = false;
    let shown_home = user.and_then(|user| disks::home(&instance, user));
    let mut wanted = request::devices(settings, user, mapping);
    if shown_home.is_some() {
        wanted.retain(|_, disk| disk.get("path") != user.map(|user| &user.home));
    }
    disks::add(&mut instance, wanted)?;
    let home = shown_home.unwrap_or_else(|| settings.home.clone());
    if let (Some(user), Mapping::Ids) = (user, mapping) {
        let known = instance.config.get("raw.idmap").cloned().unwrap_or_default();
        if let Some(both) = joined_map(&known, &request::id_map(user)) {
            instance.config.insert("raw.idmap".to_owned(), both);
            // Ids are mapped when an instance starts.
            restart = instance.status != "Stopped";
        }
    }
    if settings.nesting && !instance.profiles.iter().any(|profile| profile == NESTED) {
        instance.profiles.push(NESTED.to_owned());
        restart |= instance.status != "Stopped"
            && instance.expanded_config.get("security.nesting").is_none_or(|is| is != "true");
    }
    let mut fact = |name: &str, value: &str| {
        instance.config.entry(format!("user.incusbox.{name}")).or_insert_with(|| value.to_owned());
    };
    fact("box", "true");
    if let Some(user) = user {
        fact("user", &user.name);
        fact("home", &home.to_string());
    }
    if let Some(options) = request::recorded(settings) {
        fact("options", &options);
    }
    if user.is_some_and(|user| instance.fact("user") == Some(&user.name)) {
        // It may have had one of its own before.
        instance.config.insert("user.incusbox.home".to_owned(), home.to_string());
    }
    // What the first user decided holds for all.
    if let Some(user) = user {
        let possible = desktop::possible(&settings.switches, Some(user), mapping, allowed);
        let on = desktop::on(&instance).unwrap_or(possible);
        let (key, value) = desktop::fact(&on);
        instance.config.insert(key, value);
        let shown = desktop::possible(&on, Some(user), mapping, allowed);
        for (name, device) in desktop::devices(&shown, user.uid) {
            instance.devices.entry(name).or_insert(device);
        }
    }
    Ok(Adoption { instance, restart, mapping, home, warning })
}

/// An instance as it was before, but for what Incus itself keeps in it; `None` where it is so.
pub fn back(now: &FullInstance, before: &FullInstance) -> Option<FullInstance> {
    let is_incuss = |key: &String| key.starts_with("volatile.");
    let mut config = before.config.clone();
    config.retain(|key, _| !is_incuss(key));
    config.extend(now.config.clone().into_iter().filter(|(key, _)| is_incuss(key)));
    let is_so =
        now.config == config && now.devices == before.devices && now.profiles == before.profiles;
    let (devices, profiles) = (before.devices.clone(), before.profiles.clone());
    (!is_so).then(|| FullInstance { config, devices, profiles, ..now.clone() })
}

/// `raw.idmap` with the lines that are missing in it; `None` where none is.
fn joined_map(known: &str, wanted: &str) -> Option<String> {
    let has =
        |line: &str| known.lines().any(|own| own.split_whitespace().eq(line.split_whitespace()));
    let missing: Vec<&str> = wanted.lines().filter(|line| !has(line)).collect();
    if missing.is_empty() {
        return None;
    }
    let lines = known.lines().filter(|line| !line.trim().is_empty()).chain(missing);
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// Whether files of the home are shown, so that their owners can be compared.
pub fn shares_home(settings: &Settings, mapping: Mapping) -> bool {
    settings.home != Home::None && mapping != Mapping::None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::options::Values;

    fn instance() -> FullInstance {
        let text = r#"{"name":"a","status":"Running","config":{"limits.cpu":"2","raw.idmap":"both 1000 1000"},
            "profiles":["default"],"expanded_devices":{"disk0":{"type":"disk","path":"/","pool":"p"}}}"#;
        serde_json::from_str(text).expect("an instance")
    }

    #[test]
    fn an_option_is_set_and_with_nothing_taken_away() {
        let mut changed = instance();
        apply(&mut changed, "memory", "1GiB").expect("memory");
        apply(&mut changed, "cpus", "").expect("cpus");
        apply(&mut changed, "boot.autostart", "true").expect("a key of Incus's");
        apply(&mut changed, "disk", "5GiB").expect("disk");
        assert_eq!(changed.config["limits.memory"], "1GiB");
        assert!(!changed.config.contains_key("limits.cpu"));
        assert_eq!(changed.config["boot.autostart"], "true");
        assert_eq!(
            (changed.devices["disk0"]["pool"].as_str(), changed.devices["disk0"]["size"].as_str()),
            ("p", "5GiB")
        );
        assert_eq!(changed.devices.len(), 1, "one root disk, as its profile calls it");
        for (name, told) in
            [("image", "when a box is made"), ("memry", "`memory` is one"), ("x", "there are cpus")]
        {
            let error = apply(&mut changed, name, "1").expect_err(name).to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_second_users_ids_join_the_firsts() {
        assert_eq!(joined_map("both 1000 1000", "both  1000 1000"), None);
        assert_eq!(joined_map("", "both 7 7").as_deref(), Some("both 7 7"));
        assert_eq!(
            joined_map("both 1000 1000\n", "uid 7 7\ngid 8 8").as_deref(),
            Some("both 1000 1000\nuid 7 7\ngid 8 8")
        );
    }

    #[test]
    fn going_back_leaves_what_incus_keeps_itself() {
        let before = instance();
        let mut now = instance();
        now.config.insert("volatile.idmap.next".to_owned(), "[]".to_owned());
        assert!(back(&now, &before).is_none(), "nothing else is changed");
        now.config.insert("user.incusbox.box".to_owned(), "true".to_owned());
        now.devices.insert("home-1".to_owned(), Default::default());
        let back = back(&now, &before).expect("a change");
        assert!(!back.is_box() && back.devices.is_empty());
        assert_eq!(back.config["volatile.idmap.next"], "[]");
        assert_eq!(back.config["raw.idmap"], "both 1000 1000");
    }

    #[test]
    fn adopting_takes_nothing_away() {
        let settings = Settings::new(&Values::default()).expect("defaults");
        let adopted = adopt(instance(), None, &settings, Allowed::All).expect("an adoption");
        assert_eq!(adopted.instance.config["limits.cpu"], "2");
        assert_eq!(adopted.instance.config["raw.idmap"], "both 1000 1000");
        assert_eq!(adopted.instance.profiles, ["default", NESTED]);
        assert!(adopted.restart && adopted.instance.is_box());
    }
}
