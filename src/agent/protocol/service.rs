//! A service of the box's, as the host asks for it and the box tells of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a service, `nginx.service`: of characters that mean nothing to anybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceName(String);

impl ServiceName {
    /// Checks a name; `.service` may be left out.
    pub fn new(text: &str) -> Option<ServiceName> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b":-_.@".contains(&b);
        let stem = text.strip_suffix(".service").unwrap_or(text);
        let is_other = [".socket", ".timer", ".target", ".path", ".mount", ".device", ".slice"]
            .iter()
            .any(|ending| stem.ends_with(ending));
        // A template is none that can be started.
        let is_one = !stem.is_empty()
            && stem.len() <= 200
            && stem.bytes().all(is_plain)
            && !stem.starts_with(['-', '.'])
            && !stem.ends_with('@')
            && !is_other;
        is_one.then(|| ServiceName(format!("{stem}.service")))
    }

    /// The name, with its ending.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose service manager has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The box's.
    System,
    /// That of the user with this id.
    User(u32),
}

impl Scope {
    /// Reads what [`Scope`] writes itself as.
    pub fn of(text: &str) -> Option<Scope> {
        match text {
            "system" => Some(Scope::System),
            number => number.parse().ok().map(Scope::User),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::System => f.write_str("system"),
            Scope::User(uid) => write!(f, "{uid}"),
        }
    }
}

/// What a box says of a service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// There it is.
    There(Service),
    /// There is none of this name.
    Absent,
    /// A service manager that may have it does not answer.
    Unknown,
}

/// What a box tells of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its own name, if it was asked for by another.
    pub name: ServiceName,
    /// Whose it is.
    pub scope: Scope,
    /// What it is.
    pub description: String,
    /// Whether it can be reloaded.
    pub can_reload: bool,
    /// Whether it is started again when it fails.
    pub restarts: bool,
}

impl Service {
    /// Whether its name is one: the box may write what it likes.
    pub fn is_sound(&self) -> bool {
        ServiceName::new(self.name.as_str()).as_ref() == Some(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_nothing_that_means_anything() {
        let name = |text| ServiceName::new(text).map(|name| name.to_string());
        assert_eq!(name("nginx"), Some("nginx.service".to_owned()));
        assert_eq!(name("getty@tty1.service"), Some("getty@tty1.service".to_owned()));
        for bad in ["", "a b", "../x", "-x", "a\nb", "x@", "x@.service", "a.socket", "%h", ".x"] {
            assert_eq!(name(bad), None, "{bad}");
        }
        for scope in [Scope::System, Scope::User(1000)] {
            assert_eq!(Scope::of(&scope.to_string()), Some(scope));
        }
    }
}
