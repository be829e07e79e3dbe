//! What a box shall be like: the values of all options, understood and checked.

use std::fmt;

use super::options::Values;
use crate::agent::protocol::desktop::Switch;

/// Where a box's home comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// The host user's own.
    Shared,
    /// The box's own.
    None,
    /// This directory of the host.
    Directory(String),
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Home::Shared => "shared",
            Home::None => "none",
            Home::Directory(path) => path,
        })
    }
}

/// What of the network a box reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// What the default profile of Incus gives: the other boxes and the internet.
    Shared,
    /// Only the internet.
    Isolated,
    /// Nothing.
    None,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Shared => "shared",
            Network::Isolated => "isolated",
            Network::None => "none",
        })
    }
}

/// A directory or file of the host that the box sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its path on the host.
    pub host: String,
    /// Its path in the box.
    pub inside: String,
    /// Whether the box may only read it.
    pub read_only: bool,
}

/// Whether Incus makes device nodes and sets trusted attributes for a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intercept {
    /// Where that works.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What a box shall be like: the values, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image as the user named it.
    pub image: Option<String>,
    /// Where the home comes from.
    pub home: Home,
    /// Whether it is shown nothing of the user's unless told otherwise.
    pub isolated: bool,
    /// What of the network it reaches.
    pub network: Network,
    /// What of the host is shown in the box.
    pub volumes: Vec<Volume>,
    /// Packages to install.
    pub packages: Vec<String>,
    /// Run before the packages.
    pub pre_init_hooks: Vec<String>,
    /// Run at the end.
    pub init_hooks: Vec<String>,
    /// `limits.cpu`.
    pub cpus: Option<String>,
    /// `limits.memory`.
    pub memory: Option<String>,
    /// `limits.processes`.
    pub processes: Option<String>,
    /// The size of the root disk.
    pub disk: Option<String>,
    /// What the box calls itself.
    pub hostname: Option<String>,
    /// The wanted login shell.
    pub shell: Option<String>,
    /// Whether the user may become root without a password.
    pub sudo: bool,
    /// Whether containers run inside.
    pub nesting: bool,
    /// Whether system calls are intercepted.
    pub intercept: Intercept,
    /// What of the host's session it gets.
    pub switches: Vec<Switch>,
    /// Configuration of Incus's.
    pub incus: Vec<(String, String)>,
}

/// A value that an option cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// The option.
    pub option: &'static str,
    /// The value.
    pub value: String,
    /// What it should be.
    pub wanted: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no value for `{}`: {}", self.value, self.option, self.wanted)
    }
}

impl std::error::Error for BadValue {}

impl Settings {
    /// Understands values; what the daemon checks better (sizes, numbers of CPUs) is left to it.
    ///
    /// # Errors
    /// The first value that is none.
    pub fn new(values: &Values) -> Result<Settings, BadValue> {
        let text = |name: &'static str| values.one(name).map(str::to_owned);
        let list = |name: &'static str| values.all(name).to_vec();
        Ok(Settings {
            image: text("image"),
            home: home(values.one("home").unwrap_or("shared"))?,
            isolated: switch(values, "isolated")?,
            network: match values.one("network") {
                None | Some("shared") => Network::Shared,
                Some("isolated") => Network::Isolated,
                Some("none") => Network::None,
                Some(other) => return Err(bad("network", other, "shared, isolated or none")),
            },
            volumes: values
                .all("volume")
                .iter()
                .map(|text| volume(text))
                .collect::<Result<_, _>>()?,
            packages: values
                .all("package")
                .iter()
                .map(|name| package(name))
                .collect::<Result<_, _>>()?,
            pre_init_hooks: list("pre-init-hook"),
            init_hooks: list("init-hook"),
            cpus: text("cpus"),
            memory: text("memory"),
            processes: text("processes"),
            disk: text("disk"),
            hostname: values.one("hostname").map(hostname).transpose()?,
            shell: values.one("shell").map(|path| absolute("shell", path)).transpose()?,
            sudo: switch(values, "sudo")?,
            nesting: switch(values, "nesting")?,
            intercept: match values.one("intercept") {
                None | Some("auto") => Intercept::Auto,
                Some("on") => Intercept::On,
                Some("off") => Intercept::Off,
                Some(other) => return Err(bad("intercept", other, "auto, on or off")),
            },
            switches: switches(values)?,
            incus: values.all("set").iter().map(|text| pair(text)).collect::<Result<_, _>>()?,
        })
    }
}

fn bad(option: &'static str, value: &str, wanted: &str) -> BadValue {
    BadValue { option, value: crate::message::printable(value), wanted: wanted.to_owned() }
}

fn switch(values: &Values, name: &'static str) -> Result<bool, BadValue> {
    values.one(name).map_or(Ok(false), |value| on_or_off(name, value))
}

/// What a switch is set to.
///
/// # Errors
/// For what is neither.
pub fn on_or_off(name: &'static str, value: &str) -> Result<bool, BadValue> {
    match value {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        other => Err(bad(name, other, "on or off")),
    }
}

fn switches(values: &Values) -> Result<Vec<Switch>, BadValue> {
    let mut on = Vec::new();
    for one in Switch::ALL {
        if switch(values, one.name())? {
            on.push(one);
        }
    }
    Ok(on)
}

fn home(text: &str) -> Result<Home, BadValue> {
    match text {
        "shared" => Ok(Home::Shared),
        "none" => Ok(Home::None),
        path if path.starts_with('/') => Ok(Home::Directory(path.to_owned())),
        other => Err(bad("home", other, "shared, none, or a directory with its whole path")),
    }
}

fn absolute(option: &'static str, path: &str) -> Result<String, BadValue> {
    let is_whole = path.starts_with('/') && !path.split('/').any(|part| part == "..");
    match is_whole && !path.chars().any(char::is_control) {
        true => Ok(path.to_owned()),
        false => Err(bad(option, path, "a whole path, beginning with `/` and without `..`")),
    }
}

fn volume(text: &str) -> Result<Volume, BadValue> {
    let mut parts: Vec<&str> = text.split(':').collect();
    let read_only = parts.len() > 1 && parts.last() == Some(&"ro");
    if parts.len() > 1 && matches!(parts.last(), Some(&"ro" | &"rw")) {
        parts.pop();
    }
    let (host, inside) = match parts[..] {
        [host] => (host, host),
        [host, inside] => (host, inside),
        _ => return Err(bad("volume", text, "HOST, HOST:BOX or HOST:BOX:ro")),
    };
    Ok(Volume { host: absolute("volume", host)?, inside: absolute("volume", inside)?, read_only })
}

/// A name that no package manager takes for an option or a path.
fn package(name: &str) -> Result<String, BadValue> {
    let is_one = |c: char| c.is_ascii_alphanumeric() || "+-._:@=~/".contains(c);
    match !name.is_empty() && !name.starts_with(['-', '/', '.']) && name.chars().all(is_one) {
        true => Ok(name.to_owned()),
        false => Err(bad("package", name, "the name of a package")),
    }
}

fn hostname(name: &str) -> Result<String, BadValue> {
    let labels = || name.split('.');
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match name.len() <= 253 && labels().all(is_label) {
        true => Ok(name.to_owned()),
        false => Err(bad("hostname", name, "letters, digits, hyphens, with dots between")),
    }
}

fn pair(text: &str) -> Result<(String, String), BadValue> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(bad("set", text, "KEY=VALUE, as in `incus config set`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::options::named;

    fn values(pairs: &[(&'static str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, value) in pairs {
            let option = named(name).expect("an option");
            let mut all = values.all(option.name).to_vec();
            all.push((*value).to_owned());
            values.set(option, all);
        }
        values
    }

    #[test]
    fn a_box_shares_the_home_and_may_nest_unless_told_otherwise() {
        let settings = Settings::new(&Values::default()).expect("defaults");
        assert_eq!((settings.home, settings.nesting, settings.sudo), (Home::Shared, true, true));
        assert_eq!(settings.intercept, Intercept::Auto);
    }

    #[test]
    fn the_nearer_value_wins_and_lists_are_joined() {
        let mut own = values(&[("home", "none"), ("package", "vim")]);
        own.underlay(&values(&[("home", "shared"), ("package", "git"), ("nesting", "off")]));
        let settings = Settings::new(&own).expect("values");
        assert_eq!((settings.home, settings.nesting), (Home::None, false));
        assert_eq!(settings.packages, ["git", "vim"]);
    }

    #[test]
    fn a_volume_has_a_path_on_either_side() {
        let read = |text| volume(text).map(|v| (v.host, v.inside, v.read_only));
        let owned = |a: &str, b: &str, ro| Ok((a.to_owned(), b.to_owned(), ro));
        assert_eq!(read("/srv"), owned("/srv", "/srv", false));
        assert_eq!(read("/srv:ro"), owned("/srv", "/srv", true));
        assert_eq!(read("/srv:/data:ro"), owned("/srv", "/data", true));
        for bad in ["srv", "/a:b", "/a:/b:/c", "/a/../etc", "", "/a:/b:x"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_value_says_what_one_would_be() {
        for (name, value) in [
            ("home", "somewhere"),
            ("sudo", "perhaps"),
            ("package", "-y"),
            ("package", "a b"),
            ("hostname", "a_b"),
            ("set", "novalue"),
            ("shell", "bash"),
            ("intercept", "maybe"),
            ("network", "wifi"),
            ("isolated", "rather"),
        ] {
            let error = Settings::new(&values(&[(name, value)])).expect_err(value);
            assert_eq!((error.option, error.value.as_str()), (name, value));
        }
    }
}
