//! From the word that a user names an image by to the `source` of `POST /1.0/instances`.
//!
//! A word is looked up in this order:
//! 1. `REMOTE:IMAGE`, where REMOTE is one of the client's remotes (or `local`);
//! 2. `NAME:VERSION`, a short name ([`super::names`]);
//! 3. an alias of an image that is here;
//! 4. the beginning of the fingerprint of an image that is here, at least 12 digits;
//! 5. a short name without version.
//!
//! So a remote or an image of the user's own is never hidden by a short name.
//!
//! The form of the request is that of `incus launch` (lxc/incus 6.0.4, `cmd/incus/utils.go`
//! `getImgInfo`, `client/incus.go` `getSourceImageConnectionInfo`).

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::names::{self, ShortName};
use super::private::{self, Ask};
use super::remotes::{Access, Protocol, Remote, Remotes};
use crate::incus::client::{Client, percent_encode};

/// Fewer digits of a fingerprint would be taken for one where a name was meant (`cafe`), and match
/// several images; 12 is what `incus image list` shows.
const LEAST_DIGITS: usize = 12;
/// The API extension that images of container registries came with, in Incus 6.3.
const OCI_EXTENSION: &str = "instance_oci";

/// The `source` of a request for a new instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Always `image`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `pull` for an image of another server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// The other server's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The other server's protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// The image's alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The image's fingerprint, where it is not named by alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The other server's certificate in PEM, where no authority vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What lets our daemon fetch a private image, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The project of the image on the other server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

impl Source {
    /// An image that is here, by its fingerprint.
    pub fn here(fingerprint: impl Into<String>) -> Source {
        Source { kind: "image", fingerprint: Some(fingerprint.into()), ..Source::default() }
    }
}

/// An image that a box can be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the request says.
    pub source: Source,
    /// The image as it is shown to the user: `images:debian/13`, `local:my-image`.
    pub shown: String,
    /// How its server is spoken to; [`Protocol::Incus`] for an image that is here.
    pub protocol: Protocol,
    /// The type of an image that is here or whose server told: `container`, `virtual-machine`.
    pub kind: Option<String>,
}

/// What is known of a word before anybody is asked.
#[derive(Debug, PartialEq, Eq)]
enum Meaning<'a> {
    Remote { name: &'a str, image: &'a str },
    Short(ShortName),
    Here { word: &'a str, else_short: Option<ShortName> },
}

/// An image, as Incus tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Image {
    pub(super) fingerprint: String,
    #[serde(default)]
    pub(super) public: bool,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

/// An alias, as Incus tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Alias {
    pub(super) target: String,
}

/// What an Incus can do.
#[derive(Debug, Deserialize)]
struct Server {
    #[serde(default)]
    api_extensions: Vec<String>,
}

/// Finds the image that `word` names.
///
/// # Errors
/// Everything in [`Error`] but [`Error::File`].
pub fn find(client: &mut Client, remotes: &Remotes, word: &str) -> Result<Found, Error> {
    find_with(client, remotes, word, &mut private::ask_client)
}

fn find_with(
    client: &mut Client,
    remotes: &Remotes,
    word: &str,
    ask: Ask<'_>,
) -> Result<Found, Error> {
    match meaning(word, remotes)? {
        Meaning::Remote { name, image } => match remotes.get(name) {
            Some(remote) if remote.is_ours() => {
                here(client, image)?.ok_or_else(|| unknown(client, image))
            }
            Some(remote) => there(client, name, remote, image, ask),
            None => Err(unknown(client, word)),
        },
        Meaning::Short(short) => of_short(client, remotes, &short, ask),
        Meaning::Here { word, else_short } => match (here(client, word)?, else_short) {
            (Some(found), _) => Ok(found),
            (None, Some(short)) => of_short(client, remotes, &short, ask),
            (None, None) => Err(unknown(client, word)),
        },
    }
}

/// What a word can mean, from its form and the remotes.
fn meaning<'a>(word: &'a str, remotes: &Remotes) -> Result<Meaning<'a>, Error> {
    let Some((name, image)) = word.split_once(':') else {
        return Ok(Meaning::Here { word, else_short: ShortName::read(word)? });
    };
    if remotes.get(name).is_some() && !image.is_empty() {
        return Ok(Meaning::Remote { name, image });
    }
    if let Some(short) = ShortName::read(word)? {
        return Ok(Meaning::Short(short));
    }
    let (mut near, image) = (remotes.alike(name), image.to_owned());
    near.iter_mut().for_each(|name| *name = format!("{name}:{image}"));
    near.extend(names::alike(name).into_iter().map(|name| format!("{name}:{image}")));
    near.truncate(3);
    Err(Error::UnknownRemote { remote: name.to_owned(), image, near })
}

fn of_short(
    client: &mut Client,
    remotes: &Remotes,
    short: &ShortName,
    ask: Ask<'_>,
) -> Result<Found, Error> {
    let name = names::REMOTE;
    let missing = || Error::UnknownRemote {
        remote: name.to_owned(),
        image: short.alias().to_owned(),
        near: Vec::new(),
    };
    let remote = remotes.get(name).ok_or_else(missing)?;
    there(client, name, remote, short.alias(), ask)
}

/// An image of another server.
fn there(
    client: &mut Client,
    name: &str,
    remote: &Remote,
    image: &str,
    ask: Ask<'_>,
) -> Result<Found, Error> {
    let (remote_name, image_name) = (name.to_owned(), image.to_owned());
    if remote.is_socket() {
        return Err(Error::OtherSocket { remote: remote_name, image: image_name });
    }
    if remote.protocol == Protocol::Oci && !has_oci(client)? {
        return Err(Error::NoOci { remote: remote_name, image: image_name });
    }
    let mut found = Found {
        source: Source {
            kind: "image",
            mode: Some("pull"),
            server: Some(remote.address.clone()),
            protocol: Some(remote.protocol.as_str()),
            alias: Some(image_name),
            certificate: remote.certificate()?,
            project: remote.project.clone(),
            ..Source::default()
        },
        shown: format!("{name}:{image}"),
        protocol: remote.protocol,
        kind: None,
    };
    if remote.protocol == Protocol::Incus && remote.access == Access::Private {
        private::unlock(&mut found, name, image, ask)?;
    }
    Ok(found)
}

fn has_oci(client: &mut Client) -> Result<bool, Error> {
    let envelope = client.call::<Server>("asking what Incus can do", "GET", "/1.0", b"")?;
    let extensions = envelope.metadata.map(|server| server.api_extensions).unwrap_or_default();
    Ok(extensions.iter().any(|extension| extension == OCI_EXTENSION))
}

/// The image that is here under this alias, or with this fingerprint.
fn here(client: &mut Client, word: &str) -> Result<Option<Found>, Error> {
    let doing = "looking for the image";
    let alias: Option<Alias> =
        get(client, doing, &format!("/1.0/images/aliases/{}", percent_encode(word)))?;
    let fingerprint = match alias {
        Some(alias) => alias.target,
        None if is_fingerprint(word) => word.to_ascii_lowercase(),
        None => return Ok(None),
    };
    let image: Option<Image> = get(client, doing, &format!("/1.0/images/{fingerprint}"))?;
    Ok(image.map(|image| Found {
        source: Source::here(image.fingerprint),
        shown: format!("local:{word}"),
        protocol: Protocol::Incus,
        kind: Some(image.kind).filter(|kind| !kind.is_empty()),
    }))
}

fn is_fingerprint(word: &str) -> bool {
    (LEAST_DIGITS..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What is at `path`, if it is.
fn get<T: serde::de::DeserializeOwned>(
    client: &mut Client,
    doing: &'static str,
    path: &str,
) -> Result<Option<T>, Error> {
    let target = client.target(path, "");
    match client.call::<T>(doing, "GET", &target, b"") {
        Ok(envelope) => Ok(envelope.metadata),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A word that means nothing, with the aliases that are here and the short names like it.
fn unknown(client: &mut Client, word: &str) -> Error {
    let target = client.target("/1.0/images/aliases", "");
    let listed = client.call::<Vec<String>>("listing the images", "GET", &target, b"");
    let urls = listed.ok().and_then(|envelope| envelope.metadata).unwrap_or_default();
    let aliases: Vec<String> = urls
        .iter()
        .filter_map(|url| url.split('?').next()?.strip_prefix("/1.0/images/aliases/"))
        .map(str::to_owned)
        .collect();
    let mut near = crate::incus::instances::near(word, &aliases);
    // `debian/13` is how the image server calls it.
    if let Some((name, version)) = word.split_once('/') {
        let short = ShortName::read(&format!("{name}:{version}")).ok().flatten();
        near.extend(short.map(|short| format!("{}:{}", names::REMOTE, short.alias())));
    }
    near.extend(names::alike(word));
    near.truncate(3);
    Error::Unknown { word: word.to_owned(), near }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
