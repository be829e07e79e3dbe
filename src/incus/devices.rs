//! Devices of an instance that come and go while it runs.
//!
//! Adding is a PATCH, which Incus merges under the instance's lock. Taking away is possible only by
//! PUT of the whole instance, so that says by its ETag of which state it is the change (`If-Match`),
//! and begins anew where somebody else changed something in between.
//!
//! Source: lxc/incus 6.0.4, `cmd/incusd/instance_patch.go`, `instance_put.go`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::client::{Client, PATIENCE, decode, missing};
use super::error::Error;
use super::http;

/// Devices by name.
pub type Devices = BTreeMap<String, BTreeMap<String, String>>;

/// What a PUT replaces.
const REPLACED: [&str; 6] =
    ["architecture", "config", "description", "devices", "ephemeral", "profiles"];
/// For how long somebody else may always be faster.
const RIVALRY: Duration = Duration::from_secs(30);
/// Between two tries: what another client does takes a tenth of a second.
const PAUSE: Duration = Duration::from_millis(30);
/// Incus's code for an ETag that is not the present one (`http.StatusPreconditionFailed`).
const CHANGED_MEANWHILE: u16 = 412;

/// An instance as it is told, so that what is not understood goes back as it came.
#[derive(Debug)]
pub struct Told {
    fields: Map<String, Value>,
    etag: Option<String>,
}

impl Told {
    /// Whether it is a virtual machine.
    pub fn is_machine(&self) -> bool {
        self.text("type") == "virtual-machine"
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.text("status"), "Running" | "Ready")
    }

    /// The names of its own devices.
    pub fn devices(&self) -> impl Iterator<Item = &String> {
        self.fields.get("devices").and_then(Value::as_object).into_iter().flat_map(Map::keys)
    }

    fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Takes devices out; whether there were any.
    fn remove(&mut self, names: &[String]) -> bool {
        let devices = self.fields.get_mut("devices").and_then(Value::as_object_mut);
        let Some(devices) = devices else { return false };
        let before = devices.len();
        devices.retain(|name, _| !names.contains(name));
        devices.len() < before
    }

    /// What a PUT of it says.
    fn whole(mut self) -> Value {
        self.fields.retain(|name, _| REPLACED.contains(&name.as_str()));
        Value::Object(self.fields)
    }
}

impl Client {
    /// An instance with all that a change of it needs.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 404 when there is none of this name.
    pub fn told(&mut self, name: &str) -> Result<Told, Error> {
        let doing = "asking about the box";
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        self.send(doing, &http::request("GET", &target, &[], b""))?;
        let response = self.receive(doing, PATIENCE)?;
        let etag = response.etag.clone();
        match decode::<Value>(doing, &response)?.metadata {
            Some(Value::Object(fields)) => Ok(Told { fields, etag }),
            _ => Err(missing(doing, "instance")),
        }
    }

    /// Gives a device to an instance, in addition to those that it has; at once, if it runs.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn add_devices(&mut self, name: &str, devices: &Devices) -> Result<(), Error> {
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        let body = json!({ "devices": devices }).to_string();
        let doing = "giving the box a device";
        self.call::<IgnoredAny>(doing, "PATCH", &target, body.as_bytes()).map(|_| ())
    }

    /// Sets a key of an instance's configuration to `new` if it is `old`, whoever else changes it
    /// meanwhile. Returns whether it was.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 404 when there is none of this name, and everything else there.
    #[cfg(feature = "cli")]
    pub fn exchange(&mut self, name: &str, key: &str, old: &str, new: &str) -> Result<bool, Error> {
        let doing = "changing the box";
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        let body = json!({ "config": { key: new } }).to_string();
        let until = Instant::now() + RIVALRY;
        loop {
            let told = self.told(name)?;
            let present = told.fields.get("config").and_then(|config| config.get(key)?.as_str());
            if present != Some(old) {
                return Ok(false);
            }
            let mut headers = vec![("Content-Type", "application/json")];
            headers.extend(told.etag.as_deref().map(|etag| ("If-Match", etag)));
            self.send(doing, &http::request("PATCH", &target, &headers, body.as_bytes()))?;
            let response = self.receive(doing, PATIENCE)?;
            match decode::<IgnoredAny>(doing, &response) {
                Ok(_) => return Ok(true),
                Err(error) if error.code() == Some(CHANGED_MEANWHILE) && Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes those devices of an instance away that `select` names, whoever else changes it
    /// meanwhile. Returns their names, and whether the instance runs.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn take_devices(
        &mut self,
        name: &str,
        select: &dyn Fn(&str) -> bool,
    ) -> Result<(Vec<String>, bool), Error> {
        let doing = "taking a device away from the box";
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        let until = Instant::now() + RIVALRY;
        loop {
            let mut told = self.told(name)?;
            let names: Vec<String> = told.devices().filter(|name| select(name)).cloned().collect();
            let (is_running, etag) = (told.is_running(), told.etag.take());
            if !told.remove(&names) {
                return Ok((names, is_running));
            }
            let body = told.whole().to_string();
            let mut headers = vec![("Content-Type", "application/json")];
            headers.extend(etag.as_deref().map(|etag| ("If-Match", etag)));
            self.send(doing, &http::request("PUT", &target, &headers, body.as_bytes()))?;
            let response = self.receive(doing, PATIENCE)?;
            match decode::<IgnoredAny>(doing, &response) {
                Ok(envelope) => {
                    self.wait(doing, &envelope.operation, PATIENCE)?.success(doing)?;
                    return Ok((names, is_running));
                }
                Err(error) if error.code() == Some(CHANGED_MEANWHILE) && Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_goes_back_as_it_came() {
        let fields = json!({
            "name": "a", "type": "container", "status": "Ready", "state": null, "profiles": ["p"],
            "config": {"user.x": "ü"}, "devices": {"ours": {"type": "disk"}, "theirs": {"new": "1"}},
            "description": "", "ephemeral": true, "architecture": "x86_64",
        });
        let Value::Object(fields) = fields else { panic!("an object") };
        let mut told = Told { fields, etag: None };
        assert!(told.is_running() && !told.is_machine());
        assert_eq!(told.devices().collect::<Vec<_>>(), ["ours", "theirs"]);
        assert!(!told.remove(&["other".to_owned()]));
        assert!(told.remove(&["ours".to_owned()]));
        let expected = json!({
            "profiles": ["p"], "config": {"user.x": "ü"}, "devices": {"theirs": {"new": "1"}},
            "description": "", "ephemeral": true, "architecture": "x86_64",
        });
        assert_eq!(told.whole(), expected);
    }
}
