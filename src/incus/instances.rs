//! Asking about instances and starting them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::Client;
use super::error::Error;
use super::types::Instance;
use crate::names::distance;

/// A start may have to mount a slow pool and set up devices.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long a daemon that just started is given to bring up its networks.
pub const UNAVAILABLE: Duration = Duration::from_secs(20);
/// Between two tries of it.
pub const PAUSE: Duration = Duration::from_millis(300);

/// The devices of an instance, without its profiles'.
#[derive(Debug, Default, Deserialize)]
struct Devices {
    #[serde(default)]
    devices: BTreeMap<String, BTreeMap<String, String>>,
}

/// The same device, said in another way: Incus takes a device away and adds it again when one of
/// its keys changes, and `shift` may be left out or said to be off. (`recursive` too, but then a box
/// whose directory is not there does not start.)
fn in_other_words(mut device: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if device.remove("shift").is_none() {
        device.insert("shift".to_owned(), "false".to_owned());
    }
    device
}

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

    /// Has Incus mount the directories again that an instance sees at `paths`. Returns how many it
    /// has devices for.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn mount_again(&mut self, name: &str, paths: &[String]) -> Result<usize, Error> {
        let doing = "showing the box a directory again";
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        let envelope = self.call::<Devices>(doing, "GET", &target, b"")?;
        let devices = envelope.metadata.unwrap_or_default().devices;
        let is_named = |device: &BTreeMap<String, String>| {
            device.get("path").is_some_and(|path| paths.contains(path))
        };
        let again: BTreeMap<_, _> = devices
            .into_iter()
            .filter(|(_, device)| is_named(device))
            .map(|(name, device)| (name, in_other_words(device)))
            .collect();
        if again.is_empty() {
            return Ok(0);
        }
        let body = serde_json::json!({ "devices": again }).to_string();
        self.call::<serde::de::IgnoredAny>(doing, "PATCH", &target, body.as_bytes())?;
        Ok(again.len())
    }

    /// Starts a stopped instance and waits until it runs.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn start(&mut self, name: &str) -> Result<(), Error> {
        let doing = "starting the box";
        let target = self.target(&format!("/1.0/instances/{name}/state"), "");
        let body = br#"{"action":"start","timeout":-1,"force":false}"#;
        let began = Instant::now();
        loop {
            let envelope = self.call::<serde::de::IgnoredAny>(doing, "PUT", &target, body)?;
            let started = self.wait(doing, &envelope.operation, START_PATIENCE)?.success(doing);
            match started {
                Err(error) if error.is_unavailable() && began.elapsed() < UNAVAILABLE => {
                    std::thread::sleep(PAUSE);
                }
                ended => return ended,
            }
        }
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
