//! The options of a box, in one table: the command line, `incusbox.toml`, `incusbox set` and
//! `info --json` are all made from it, and a graphical front end can be.

use std::collections::BTreeMap;

use super::settings::on_or_off;
use crate::names::distance;

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `on` or `off`; `--NAME` and `--no-NAME` on the command line.
    Switch,
    /// One value.
    Text,
    /// Any number of values.
    List,
}

/// When an option may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only when the box is made.
    Create,
    /// Also for a box that exists.
    Always,
}

/// An option of a box.
#[derive(Clone, Copy, Debug)]
pub struct BoxOption {
    /// Its name: `--NAME` on the command line, the key in `incusbox.toml`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// How the value is called in help.
    pub value: &'static str,
    /// When it may be given.
    pub when: When,
    /// What holds where it is not given.
    pub default: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
}

const fn option(
    name: &'static str,
    kind: Kind,
    value: &'static str,
    when: When,
    default: Option<&'static str>,
    help: &'static str,
) -> BoxOption {
    BoxOption { name, kind, value, when, default, help }
}

/// Every option, in the order of the help.
pub const OPTIONS: &[BoxOption] = &[
    option(
        "image",
        Kind::Text,
        "IMAGE",
        When::Create,
        None,
        "Image: `debian:13`, `arch`, REMOTE:ALIAS, a local alias or fingerprint",
    ),
    option(
        "home",
        Kind::Text,
        "shared|none|DIR",
        When::Create,
        Some("shared"),
        "Home in the box: the host's, one of the box's own, or a directory of the host",
    ),
    option(
        "isolated",
        Kind::Switch,
        "on|off",
        When::Create,
        Some("off"),
        "Show the box nothing of yours: no home, session, id or neighbours, no containers inside",
    ),
    option(
        "network",
        Kind::Text,
        "shared|isolated|none",
        When::Create,
        Some("shared"),
        "Network: with the other boxes, only the internet, or none",
    ),
    option(
        "volume",
        Kind::List,
        "HOST[:BOX][:ro]",
        When::Create,
        None,
        "Directory or file of the host to show in the box",
    ),
    option(
        "package",
        Kind::List,
        "NAME",
        When::Create,
        None,
        "Package to install, by its name in the box's distribution",
    ),
    option(
        "pre-init-hook",
        Kind::List,
        "COMMAND",
        When::Create,
        None,
        "Shell command to run as root before packages are installed",
    ),
    option(
        "init-hook",
        Kind::List,
        "COMMAND",
        When::Create,
        None,
        "Shell command to run as root when all else is done",
    ),
    option("cpus", Kind::Text, "N", When::Always, None, "CPUs: how many, or which (`0-3`)"),
    option("memory", Kind::Text, "SIZE", When::Always, None, "Most memory: `4GiB`, `50%`"),
    option("processes", Kind::Text, "N", When::Always, None, "Most processes"),
    option("disk", Kind::Text, "SIZE", When::Always, None, "Most space on disk: `20GiB`"),
    option(
        "hostname",
        Kind::Text,
        "NAME",
        When::Create,
        None,
        "What the box calls itself, if not by its name",
    ),
    option(
        "shell",
        Kind::Text,
        "PATH",
        When::Create,
        None,
        "Login shell in the box, if not the one on the host",
    ),
    option(
        "sudo",
        Kind::Switch,
        "on|off",
        When::Create,
        Some("on"),
        "Let the user become root in the box without a password",
    ),
    option(
        "nesting",
        Kind::Switch,
        "on|off",
        When::Create,
        Some("on"),
        "Let podman, docker and the like run in the box",
    ),
    option(
        "intercept",
        Kind::Text,
        "auto|on|off",
        When::Create,
        Some("auto"),
        "Let Incus make device nodes and set trusted attributes for the box",
    ),
    option(
        "display",
        Kind::Switch,
        "on|off",
        When::Always,
        Some("on"),
        "Let the box open windows on the host: X11 and Wayland",
    ),
    option(
        "audio",
        Kind::Switch,
        "on|off",
        When::Always,
        Some("on"),
        "Let the box play and record sound: PipeWire and PulseAudio",
    ),
    option(
        "bus",
        Kind::Switch,
        "on|off",
        When::Always,
        Some("on"),
        "Let the box talk on the host's session bus: notifications, tray, players",
    ),
    option(
        "ssh-agent",
        Kind::Switch,
        "on|off",
        When::Always,
        Some("on"),
        "Let the box use the keys of the host's ssh-agent",
    ),
    option(
        "gpu",
        Kind::Switch,
        "on|off",
        When::Always,
        Some("on"),
        "Let the box draw and compute with the host's graphics processors",
    ),
    option(
        "themes",
        Kind::Switch,
        "on|off",
        When::Always,
        Some("on"),
        "Show the box the host's fonts, icons, cursors and themes",
    ),
    option(
        "set",
        Kind::List,
        "KEY=VALUE",
        When::Always,
        None,
        "Configuration of Incus's to set as it is",
    ),
];

/// What holds in an isolated box where it is not said at the same place.
const ISOLATED: &[(&str, &str)] = &[
    ("home", "none"),
    ("network", "isolated"),
    ("nesting", "off"),
    ("intercept", "off"),
    ("display", "off"),
    ("audio", "off"),
    ("bus", "off"),
    ("ssh-agent", "off"),
    ("gpu", "off"),
    ("themes", "off"),
];

/// The option of this name.
pub fn named(name: &str) -> Option<&'static BoxOption> {
    OPTIONS.iter().find(|option| option.name == name)
}

fn when_isolated(name: &str) -> Option<&'static str> {
    ISOLATED.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The option most like `name`, for "did you mean".
pub fn near(name: &str) -> Option<&'static str> {
    let near = OPTIONS.iter().map(|option| (distance(name, option.name), option.name)).min();
    near.filter(|(distance, _)| *distance <= 1 + name.len() / 3).map(|(_, name)| name)
}

/// Values of options, as text, from one place or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, Vec<String>>);

impl Values {
    /// Sets an option.
    pub fn set(&mut self, option: &'static BoxOption, values: Vec<String>) {
        self.0.insert(option.name, values);
    }

    /// Sets an option that is not set.
    pub fn set_default(&mut self, option: &'static BoxOption, value: String) {
        self.0.entry(option.name).or_insert_with(|| vec![value]);
    }

    /// Takes over what is not given here. Lists are joined, the other's first: packages that a
    /// configuration wants for all boxes are wanted for this one too. Where this is to be isolated,
    /// what the other says of a box that may not be is not meant for it.
    pub fn underlay(&mut self, other: &Values) {
        let is_isolated = self.is_isolated();
        for (name, values) in &other.0 {
            let opens = || ["volume", "set"].contains(name) || when_isolated(name).is_some();
            if is_isolated && opens() {
                continue;
            }
            let is_list = named(name).is_some_and(|option| option.kind == Kind::List);
            match self.0.get_mut(name) {
                Some(own) if is_list => {
                    let mut joined = values.clone();
                    joined.append(own);
                    *own = joined;
                }
                Some(_) => {}
                None => {
                    self.0.insert(name, values.clone());
                }
            }
        }
    }

    /// The one value of an option, or its default.
    pub fn one(&self, name: &'static str) -> Option<&str> {
        let isolated = || self.is_isolated().then(|| when_isolated(name)).flatten();
        self.given(name).or_else(isolated).or_else(|| named(name)?.default)
    }

    /// The one value that was given to an option.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.last().map(String::as_str)
    }

    /// Whether they are of an isolated box.
    pub fn is_isolated(&self) -> bool {
        self.given("isolated").is_some_and(|value| on_or_off("isolated", value) == Ok(true))
    }

    /// All values of an option.
    pub fn all(&self, name: &'static str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, value) in pairs {
            values.set(named(name).expect("an option"), vec![(*value).to_owned()]);
        }
        values
    }

    #[test]
    fn what_all_boxes_get_is_not_for_an_isolated_one() {
        let all =
            values(&[("display", "on"), ("volume", "/srv"), ("set", "raw.lxc=x"), ("cpus", "2")]);
        let mut isolated = values(&[("isolated", "on"), ("audio", "on")]);
        isolated.underlay(&all);
        assert_eq!(
            (isolated.one("home"), isolated.one("network")),
            (Some("none"), Some("isolated"))
        );
        assert_eq!((isolated.one("display"), isolated.one("audio")), (Some("off"), Some("on")));
        assert!(isolated.all("volume").is_empty() && isolated.all("set").is_empty());
        assert_eq!(isolated.one("cpus"), Some("2"));
        let mut not = values(&[("isolated", "off")]);
        not.underlay(&values(&[("isolated", "on")]));
        assert_eq!(not.one("home"), Some("shared"));
    }

    #[test]
    fn every_switch_of_the_session_is_off_in_an_isolated_box() {
        for switch in crate::agent::protocol::desktop::Switch::ALL {
            assert_eq!(when_isolated(switch.name()), Some("off"), "{}", switch.name());
        }
    }

    #[test]
    fn a_mistyped_option_has_a_near_one() {
        assert_eq!(near("pakage"), Some("package"));
        assert_eq!(near("xyzzy"), None);
    }
}
