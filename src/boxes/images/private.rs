//! Images of an Incus that gives them only to those whom it trusts.
//!
//! It trusts the user's client, by certificate, password or single sign-on, and not us; so the
//! client `incus` is asked to speak to it, by `incus query`. What is needed is what `incus launch`
//! gets: the fingerprint behind an alias, whether the image is public, and if not, a secret with
//! which our daemon may fetch it once (lxc/incus 6.0.4, `client/incus_images.go`, `GetImageSecret`).

use std::io;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Error, PrivateFailure};
use super::source::{Alias, Found, Image};
use crate::incus::client::percent_encode;

/// Makes a request (method, `REMOTE:/PATH`) and gives the JSON that came back.
pub type Ask<'a> = &'a mut dyn FnMut(&str, &str) -> Result<Vec<u8>, PrivateFailure>;

/// The operation that making a secret is.
#[derive(Debug, Deserialize)]
struct SecretOperation {
    metadata: Secret,
}

#[derive(Debug, Deserialize)]
struct Secret {
    secret: String,
}

/// Asks by `incus query`. Its stdin is empty, so that it cannot wait for a password.
pub(super) fn ask_client(method: &str, target: &str) -> Result<Vec<u8>, PrivateFailure> {
    let output = Command::new("incus")
        .args(["query", "--request", method, "--", target])
        .env("LANGUAGE", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => PrivateFailure::NoClient,
            _ => PrivateFailure::Client(error.to_string()),
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let mut words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if words.is_empty() {
        words = format!("`incus query` ended with {}", output.status);
    }
    Err(PrivateFailure::Client(words))
}

/// Turns an alias of a private remote into a fingerprint with a secret, or leaves it as it is for
/// an image that everybody may have.
pub(super) fn unlock(
    found: &mut Found,
    remote: &str,
    image: &str,
    ask: Ask<'_>,
) -> Result<(), Error> {
    let failed = |why| Error::Private { remote: remote.to_owned(), image: image.to_owned(), why };
    let path = |rest: &str| format!("{remote}:/1.0/images/{rest}");
    let alias = ask("GET", &path(&format!("aliases/{}", percent_encode(image))));
    let wanted = match alias {
        Ok(answer) => read::<Alias>(&answer).map_err(failed)?.target,
        Err(PrivateFailure::NoClient) => return Err(failed(PrivateFailure::NoClient)),
        // No such alias; then it is a fingerprint, or the next question fails for the same reason.
        Err(_) => image.to_owned(),
    };
    let answer = ask("GET", &path(&percent_encode(&wanted))).map_err(failed)?;
    let info = read::<Image>(&answer).map_err(failed)?;
    if !info.fingerprint.bytes().all(|b| b.is_ascii_hexdigit()) || info.fingerprint.is_empty() {
        return Err(failed(PrivateFailure::Answer));
    }
    found.kind = Some(info.kind).filter(|kind| !kind.is_empty());
    if info.public {
        return Ok(());
    }
    let answer = ask("POST", &path(&format!("{}/secret", info.fingerprint))).map_err(failed)?;
    let operation = read::<SecretOperation>(&answer).map_err(failed)?;
    found.source.alias = None;
    found.source.fingerprint = Some(info.fingerprint);
    found.source.secret = Some(operation.metadata.secret);
    Ok(())
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, PrivateFailure> {
    serde_json::from_slice(answer).map_err(|_| PrivateFailure::Answer)
}
