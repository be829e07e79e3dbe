//! `incusbox.toml`: what every new box gets, and what a box of a certain name gets.
//!
//! The keys are the options of [`crate::boxes::options`]. Files are looked for where the XDG base
//! directory specification says, and in `/etc/incusbox`; the user's own wins.

use std::fmt;
use std::path::PathBuf;

use crate::boxes::options::{self, BoxOption, Kind, Values};

/// The system's file.
const SYSTEM: &str = "/etc/incusbox/incusbox.toml";

/// What the files say.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The box that is meant where none is named.
    pub default_box: Option<String>,
    /// For every new box.
    pub defaults: Values,
    /// For boxes of these names.
    boxes: Vec<(String, Values)>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig {
    path: PathBuf,
    text: String,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.text)
    }
}

impl std::error::Error for BadConfig {}

impl Config {
    /// Reads all files; one that is not there says nothing.
    ///
    /// # Errors
    /// A file that cannot be read or has a key or value that is none.
    pub fn load() -> Result<Config, BadConfig> {
        let mut config = Config::default();
        let directories = xdg::BaseDirectories::with_prefix("incusbox");
        let found = directories.find_config_files("incusbox.toml");
        for path in std::iter::once(PathBuf::from(SYSTEM)).chain(found) {
            let fail = |text: String| BadConfig { path: path.clone(), text };
            match std::fs::read_to_string(&path) {
                Ok(text) => config = parse(&text).map_err(fail)?.over(config),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(fail(error.to_string())),
            }
        }
        Ok(config)
    }

    /// What holds for a new box of this name, below the command line.
    pub fn values_for(&self, name: &str) -> Values {
        let own = self.boxes.iter().find(|(known, _)| known == name).map(|(_, values)| values);
        let mut values = own.cloned().unwrap_or_default();
        values.underlay(&self.defaults);
        values
    }

    /// This one, with what only `below` says.
    fn over(mut self, below: Config) -> Config {
        self.default_box = self.default_box.or(below.default_box);
        self.defaults.underlay(&below.defaults);
        for (name, values) in below.boxes {
            match self.boxes.iter_mut().find(|(known, _)| *known == name) {
                Some((_, own)) => own.underlay(&values),
                None => self.boxes.push((name, values)),
            }
        }
        self
    }
}

fn parse(text: &str) -> Result<Config, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut config = Config::default();
    for (key, value) in &table {
        match (key.as_str(), value) {
            ("default-box", toml::Value::String(name)) => config.default_box = Some(name.clone()),
            ("defaults", toml::Value::Table(options)) => config.defaults = values(options)?,
            ("box", toml::Value::Table(boxes)) => {
                for (name, options) in boxes {
                    let options = options
                        .as_table()
                        .ok_or_else(|| format!("`box.{name}` must be a table of options"))?;
                    config.boxes.push((name.clone(), values(options)?));
                }
            }
            _ => {
                return Err(format!(
                    "`{key}` is not known here: there are `default-box = \"NAME\"`, `[defaults]` and `[box.NAME]`"
                ));
            }
        }
    }
    Ok(config)
}

fn values(table: &toml::Table) -> Result<Values, String> {
    let mut values = Values::default();
    for (key, value) in table {
        let option = options::named(key).ok_or_else(|| match options::near(key) {
            Some(near) => format!("there is no option `{key}`; `{near}` is one"),
            None => format!("there is no option `{key}`; `incusbox create --help` lists all"),
        })?;
        values.set(option, texts(option, value)?);
    }
    Ok(values)
}

fn texts(option: &BoxOption, value: &toml::Value) -> Result<Vec<String>, String> {
    let name = option.name;
    match (option.kind, value) {
        (Kind::List, toml::Value::Array(all)) => all
            .iter()
            .map(|one| one.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| format!("`{name}` must be a list of texts")),
        (Kind::Switch, toml::Value::Boolean(on)) => {
            Ok(vec![if *on { "on" } else { "off" }.to_owned()])
        }
        (Kind::Switch, _) => Err(format!("`{name}` must be true or false")),
        (Kind::Text | Kind::List, toml::Value::String(text)) => Ok(vec![text.clone()]),
        (Kind::Text, toml::Value::Integer(number)) => Ok(vec![number.to_string()]),
        (Kind::List, _) => Err(format!("`{name}` must be a list of texts")),
        (Kind::Text, _) => Err(format!("`{name}` must be a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_gets_its_own_options_over_those_of_all_boxes() {
        let config = parse(
            "default-box = 'dev'\n[defaults]\nimage = 'debian:13'\npackage = ['git']\ncpus = 2\n\
             [box.dev]\nimage = 'arch'\nnesting = false\n",
        )
        .expect("a configuration");
        assert_eq!(config.default_box.as_deref(), Some("dev"));
        let dev = config.values_for("dev");
        assert_eq!((dev.one("image"), dev.one("nesting")), (Some("arch"), Some("off")));
        assert_eq!((dev.one("cpus"), dev.all("package").len()), (Some("2"), 1));
        assert_eq!(config.values_for("other").one("image"), Some("debian:13"));
    }

    #[test]
    fn the_users_file_wins_over_the_systems() {
        let system = parse("[defaults]\nimage = 'debian'\nhome = 'none'\n").expect("one");
        let own = parse("[defaults]\nimage = 'arch'\n").expect("another");
        let both = own.over(system).values_for("x");
        assert_eq!((both.one("image"), both.one("home")), (Some("arch"), Some("none")));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        for (text, told) in [
            ("[defaults]\npakage = ['x']\n", "`package` is one"),
            ("[defaults]\nnesting = 'yes'\n", "true or false"),
            ("[defaults]\npackage = [1]\n", "list of texts"),
            ("[default]\n", "[defaults]"),
            ("box = 1\n", "[box.NAME]"),
            ("x = \n", "TOML parse error"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
