//! Images: bringing one in, taking it away, and instances from backups.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use serde::Deserialize;

use super::client::{Client, decode};
use super::error::Error;
use super::manage::Interrupted;
use super::objects::null_is_default;
use super::types::Operation;
use super::upload::{Body, Failure};
use crate::sys::signals::Signals;

/// Incus unpacks, checks and copies between storage pools for as long as that takes; a backup of
/// hundreds of gigabytes takes an hour.
const UNPACK_PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// A deletion waits for whoever uses the image at the time.
const DELETE_PATIENCE: Duration = Duration::from_secs(300);
/// What Incus says of an image that is there already (lxc/incus 6.0.4, `cmd/incusd/images.go`).
const EXISTS: &str = "already exists";

/// Whether an image was there before it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It came by this.
    New,
    /// It was there, and what was sent is thrown away.
    WasThere,
}

/// An image as it is listed.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// What tells it from all others.
    pub fingerprint: String,
    /// What is noted of it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub properties: BTreeMap<String, String>,
    /// Names that somebody gave it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub aliases: Vec<serde::de::IgnoredAny>,
}

/// What Incus knows of itself.
#[derive(Debug, Default, Deserialize)]
struct Server {
    #[serde(default)]
    environment: Environment,
}

#[derive(Debug, Default, Deserialize)]
struct Environment {
    #[serde(default)]
    architectures: Vec<String>,
}

impl Client {
    /// The architectures that Incus runs here, its own first.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn architectures(&mut self) -> Result<Vec<String>, Error> {
        let envelope = self.call::<Server>("asking what Incus runs", "GET", "/1.0", b"")?;
        Ok(envelope.metadata.unwrap_or_default().environment.architectures)
    }

    /// All images of the project.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn images(&mut self) -> Result<Vec<Listed>, Error> {
        let target = self.target("/1.0/images", "recursion=1");
        self.get_all("listing the images", &target)
    }

    /// Brings in an image of one file, which `make` writes. `mark` is `NAME=VALUE`, a property that it
    /// gets beside its own.
    ///
    /// # Errors
    /// What `make` failed with, or everything in [`Error`].
    pub fn import_unified<E>(
        &mut self,
        mark: &str,
        progress: &mut dyn FnMut(u64),
        make: impl FnOnce(&mut Body<'_>) -> Result<(), E>,
    ) -> Result<(String, Novelty), Failure<E>> {
        self.import("application/octet-stream", mark, progress, make)
    }

    /// Brings in an image of two files, metadata and root directory, in the same way.
    ///
    /// # Errors
    /// What the writers failed with, or everything in [`Error`]. `boundary` must not occur in
    /// either.
    pub fn import_split<E: From<std::io::Error>>(
        &mut self,
        boundary: &str,
        mark: &str,
        progress: &mut dyn FnMut(u64),
        metadata: impl FnOnce(&mut Body<'_>) -> Result<(), E>,
        root: impl FnOnce(&mut Body<'_>) -> Result<(), E>,
    ) -> Result<(String, Novelty), Failure<E>> {
        let kind = format!("multipart/form-data; boundary={boundary}");
        self.import(&kind, mark, progress, |body| {
            body.write_all(part(boundary, "metadata", "metadata").as_bytes())?;
            metadata(body)?;
            body.write_all(part(boundary, "rootfs", "rootfs").as_bytes())?;
            root(body)?;
            Ok(body.write_all(format!("\r\n--{boundary}--\r\n").as_bytes())?)
        })
    }

    fn import<E>(
        &mut self,
        kind: &str,
        mark: &str,
        progress: &mut dyn FnMut(u64),
        make: impl FnOnce(&mut Body<'_>) -> Result<(), E>,
    ) -> Result<(String, Novelty), Failure<E>> {
        let doing = "bringing in the image";
        let target = self.target("/1.0/images", "");
        let headers = [("Content-Type", kind), ("X-Incus-properties", mark)];
        let answer = self.upload(doing, &target, &headers, progress, make)?;
        let incus = Failure::Incus;
        let envelope = decode::<Operation>(doing, &answer).map_err(incus)?;
        let ended = self.wait(doing, &envelope.operation, UNPACK_PATIENCE).map_err(incus)?;
        let fingerprint = ended.metadata.as_ref().and_then(|it| it.fingerprint.clone());
        let is_there = ended.status_code >= 400 && ended.err.contains(EXISTS);
        if !is_there {
            ended.success(doing).map_err(incus)?;
        }
        let novelty = if is_there { Novelty::WasThere } else { Novelty::New };
        match fingerprint {
            Some(fingerprint) => Ok((fingerprint, novelty)),
            None => Err(Failure::Incus(Error::Malformed {
                doing,
                what: "its answer has no fingerprint".to_owned(),
            })),
        }
    }

    /// Deletes an image. One that is gone is no error.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn delete_image(&mut self, fingerprint: &str) -> Result<(), Error> {
        let doing = "deleting the image";
        let target = self.target(&format!("/1.0/images/{fingerprint}"), "");
        let deleted = self.call::<serde::de::IgnoredAny>(doing, "DELETE", &target, b"");
        match deleted {
            Ok(envelope) => self.wait(doing, &envelope.operation, DELETE_PATIENCE)?.success(doing),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the instance `name` from a backup, in `pool` or, without one, where it was before. It
    /// gets network addresses of its own, for the one that was backed up may still be there.
    ///
    /// # Errors
    /// What reading the backup failed with, or everything in [`Error`].
    pub fn restore(
        &mut self,
        (name, pool): (&str, Option<&str>),
        signals: &mut Signals,
        backup: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure<std::io::Error>> {
        let doing = "making the box from the backup";
        let target = self.target("/1.0/instances", "");
        let mut headers =
            vec![("Content-Type", "application/octet-stream"), ("X-Incus-name", name)];
        headers.extend(pool.map(|pool| ("X-Incus-pool", pool)));
        let answer = self.upload(doing, &target, &headers, progress, |body| {
            super::upload::copy(backup, body).map(|_| ())
        })?;
        let incus = Failure::Incus;
        let envelope = decode::<Operation>(doing, &answer).map_err(incus)?;
        self.watch(doing, &envelope.operation, signals, None).map_err(|ended| match ended {
            Interrupted::Signal(signal) => Failure::Signal(signal),
            Interrupted::Error(error) => Failure::Incus(error),
        })?;
        self.forget_addresses(doing, name).map_err(incus)
    }

    fn forget_addresses(&mut self, doing: &'static str, name: &str) -> Result<(), Error> {
        let config = self.instance(name)?.config;
        let is_address = |key: &str| key.starts_with("volatile.") && key.ends_with(".hwaddr");
        let forgotten: BTreeMap<&str, &str> =
            config.keys().filter(|key| is_address(key)).map(|key| (key.as_str(), "")).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let body = serde_json::json!({ "config": forgotten }).to_string();
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        let patched =
            self.call::<serde::de::IgnoredAny>(doing, "PATCH", &target, body.as_bytes())?;
        match patched.operation.is_empty() {
            true => Ok(()),
            false => self.wait(doing, &patched.operation, super::client::PATIENCE)?.success(doing),
        }
    }
}

/// What precedes a part of a form (RFC 7578).
fn part(boundary: &str, name: &str, file: &str) -> String {
    format!(
        "\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
}
