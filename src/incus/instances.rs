//! Asking about instances and starting them.

use std::time::Duration;

use super::client::Client;
use super::error::Error;
use super::types::Instance;
use crate::names::distance;

/// A start may have to mount a slow pool and set up devices.
const START_PATIENCE: Duration = Duration::from_secs(120);

impl Client {
    /// An instance's status and configuration.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 404 when there is none of this name.
    pub fn instance(&mut self, name: &str) -> Result<Instance, Error> {
        let doing = "asking about the box";
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        let envelope = self.call::<Instance>(doing, "GET", &target, b"")?;
        envelope.metadata.ok_or_else(|| Error::Malformed {
            doing,
            what: "its answer has no instance".to_owned(),
        })
    }

    /// The names of all instances of the project.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn instance_names(&mut self) -> Result<Vec<String>, Error> {
        let target = self.target("/1.0/instances", "");
        let envelope = self.call::<Vec<String>>("listing the boxes", "GET", &target, b"")?;
        let name_of = |url: String| url.split('?').next()?.rsplit('/').next().map(str::to_owned);
        Ok(envelope.metadata.unwrap_or_default().into_iter().filter_map(name_of).collect())
    }

    /// Starts a stopped instance and waits until it runs.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn start(&mut self, name: &str) -> Result<(), Error> {
        let doing = "starting the box";
        let target = self.target(&format!("/1.0/instances/{name}/state"), "");
        let body = br#"{"action":"start","timeout":-1,"force":false}"#;
        let envelope = self.call::<serde::de::IgnoredAny>(doing, "PUT", &target, body)?;
        self.wait(doing, &envelope.operation, START_PATIENCE)?.success(doing)
    }
}

/// The names most like `wanted`, best first, at most three; for "did you mean".
pub fn near(wanted: &str, names: &[String]) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    let mut near: Vec<(usize, &String)> = names
        .iter()
        .map(|name| (name, name.to_ascii_lowercase()))
        .filter_map(|(name, lower)| {
            let distance = distance(&wanted, &lower);
            let alike = distance <= 1 + wanted.chars().count() / 3;
            let begins = lower.starts_with(&wanted) || wanted.starts_with(&lower);
            (alike || begins).then_some((distance, name))
        })
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_probably_meant_come_first() {
        let names: Vec<String> =
            ["dev", "devel", "fedora", "arch", "x"].iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(near("dve", &names), ["dev", "devel"]);
        assert_eq!(near("DEV", &names), ["dev", "devel"]);
        assert_eq!(near("fedroa", &names), ["fedora"]);
        assert!(near("ubuntu", &names).is_empty());
    }
}
