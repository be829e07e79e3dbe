//! What can go wrong on the way to an image, in facts; the wording is in one `Display`.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::file;
use crate::incus;
use crate::message::printable;

/// Why there is no image.
#[derive(Debug)]
pub enum Error {
    /// A version of a distribution that cannot be one.
    Version {
        /// The distribution.
        name: &'static str,
        /// What was named.
        version: String,
        /// Whether the distribution has no versions at all.
        is_rolling: bool,
    },
    /// No image of this name is known.
    Unknown {
        /// The name.
        word: String,
        /// Names like it, best first.
        near: Vec<String>,
    },
    /// No remote of this name is known.
    UnknownRemote {
        /// The remote.
        remote: String,
        /// What was behind the colon.
        image: String,
        /// Remotes and short names like it, best first.
        near: Vec<String>,
    },
    /// The client's configuration cannot be read.
    Config {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A remote speaks a protocol that is not known.
    Protocol {
        /// The remote.
        remote: String,
        /// The protocol.
        protocol: String,
    },
    /// This Incus is too old for images of container registries.
    NoOci {
        /// The remote.
        remote: String,
        /// The image.
        image: String,
    },
    /// Another daemon on this machine, which ours cannot reach.
    OtherSocket {
        /// The remote.
        remote: String,
        /// The image.
        image: String,
    },
    /// A private remote could not be asked.
    Private {
        /// The remote.
        remote: String,
        /// The image.
        image: String,
        /// Why not.
        why: PrivateFailure,
    },
    /// A server certificate cannot be read.
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Incus failed or refused.
    Incus(incus::Error),
    /// The file is none that a box can be made from.
    File(Box<file::Error>),
}

/// Why the client `incus` could not ask a private remote.
#[derive(Debug)]
pub enum PrivateFailure {
    /// It is not installed.
    NoClient,
    /// It failed, with these words.
    Client(String),
    /// What it answered was not understood.
    Answer,
}

impl From<incus::Error> for Error {
    fn from(error: incus::Error) -> Error {
        Error::Incus(error)
    }
}

impl From<file::Error> for Error {
    fn from(error: file::Error) -> Error {
        Error::File(Box::new(error))
    }
}

/// "did you mean", where there is something to mean.
fn suggest(f: &mut fmt::Formatter<'_>, near: &[String]) -> fmt::Result {
    let Some((first, rest)) = near.split_first() else { return Ok(()) };
    write!(f, "\ndid you mean `{}`", printable(first))?;
    for name in rest {
        write!(f, " or `{}`", printable(name))?;
    }
    f.write_str("?")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Version { name, version, is_rolling: true } => write!(
                f,
                "`{name}` has no version `{}`: it has one release at any time\nname it alone: {name}",
                printable(version)
            ),
            Error::Version { name, version, is_rolling: false } => write!(
                f,
                "`{}` cannot be a version of `{name}`\n\
                 see what there is: incus image list images: {name}",
                printable(version)
            ),
            Error::Unknown { word, near } => {
                let word = printable(word);
                write!(f, "there is no image `{word}` here, and it is no known short name")?;
                suggest(f, near)?;
                write!(
                    f,
                    "\nan image of a remote is named REMOTE:IMAGE, such as images:debian/13; \
                     to see some: incus image list images: debian"
                )
            }
            Error::UnknownRemote { remote, image, near } => {
                let (remote, image) = (printable(remote), printable(image));
                write!(
                    f,
                    "there is no remote `{remote}`, and `{remote}:{image}` is no known short name"
                )?;
                suggest(f, near)?;
                write!(f, "\nto see the remotes: incus remote list")
            }
            Error::Config { path, why } => write!(
                f,
                "cannot read the remotes of the Incus client from `{}`: {}\n\
                 mend the file, or look what the client says: incus remote list",
                path.display(),
                printable(why)
            ),
            Error::Protocol { remote, protocol } => write!(
                f,
                "remote `{}` speaks `{}`, which is not known here\n\
                 known are simplestreams, incus and oci; to see the remotes: incus remote list",
                printable(remote),
                printable(protocol)
            ),
            Error::NoOci { remote, image } => write!(
                f,
                "this Incus cannot use `{0}:{1}`: images of container registries need Incus 6.3 \
                 or later\n\
                 bring the image as a file: docker pull {1} && docker save -o image.tar {1}, \
                 then create the box with --image-file image.tar (podman does it too)",
                printable(remote),
                printable(image)
            ),
            Error::OtherSocket { remote, image } => write!(
                f,
                "remote `{0}` is another daemon's socket on this machine, from which ours cannot \
                 fetch `{1}`\n\
                 copy the image first: incus image copy {0}:{1} local: --copy-aliases",
                printable(remote),
                printable(image)
            ),
            Error::Private { remote, image, why } => private(f, remote, image, why),
            Error::Certificate { path, source } => write!(
                f,
                "cannot read the server certificate `{}`: {source}\n\
                 add the remote again: incus remote add",
                path.display()
            ),
            Error::Incus(error) => error.fmt(f),
            Error::File(error) => error.fmt(f),
        }
    }
}

fn private(
    f: &mut fmt::Formatter<'_>,
    remote: &str,
    image: &str,
    why: &PrivateFailure,
) -> fmt::Result {
    let (remote, image) = (printable(remote), printable(image));
    write!(f, "cannot ask the private remote `{remote}` for image `{image}`: ")?;
    match why {
        PrivateFailure::NoClient => write!(
            f,
            "it trusts the client `incus`, which is not installed\n\
             install it, or get the image as a file and use --image-file"
        ),
        PrivateFailure::Client(words) => write!(
            f,
            "{}\nsee what it has: incus image list {remote}:",
            printable(words.trim().trim_start_matches("Error: "))
        ),
        PrivateFailure::Answer => {
            write!(f, "its answer was not understood\nsee what it has: incus image list {remote}:")
        }
    }
}

impl std::error::Error for Error {}
