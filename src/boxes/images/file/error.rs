//! Why no box can be made from a file, in facts; the wording is in one `Display`. Names of entries
//! come from a stranger's archive and are shown without control characters.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::incus;
use crate::message::{printable, printable_bytes};

/// A failure with a file.
#[derive(Debug)]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// What is the matter.
    pub fault: Fault,
}

/// What is the matter with a file.
#[derive(Debug)]
pub enum Fault {
    /// It cannot be opened.
    Open(io::Error),
    /// It is a directory, a device or a pipe.
    NotRegular,
    /// It cannot be read, or not decompressed.
    Read(io::Error),
    /// It is not what it begins as.
    Damaged(String),
    /// Nothing that is known.
    Unrecognised {
        /// What it looks like, where that can be told.
        looks_like: Option<&'static str>,
    },
    /// The disk of a virtual machine.
    VmDisk,
    /// One half of an image in two files, without the other beside it.
    Half {
        /// What is missing.
        missing: &'static str,
        /// The names under which it was looked for.
        looked_for: Vec<PathBuf>,
    },
    /// An entry that must not be in an archive.
    Unsafe {
        /// The entry's name.
        entry: Vec<u8>,
        /// What it does.
        why: Unsafe,
    },
    /// An entry of a kind that cannot be merged.
    Unsupported {
        /// The entry's name.
        entry: Vec<u8>,
        /// The kind.
        what: &'static str,
    },
    /// More than any image has.
    TooMuch(&'static str),
    /// A part whose content is not what its name or the manifest says.
    Digest {
        /// The part.
        part: String,
        /// What was expected, in hexadecimal digits.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A part that the manifest names is not there.
    Missing(String),
    /// Several images, of which none was chosen.
    Several(Vec<String>),
    /// A signal came.
    Signal(i32),
    /// An image for other machines.
    Architecture {
        /// What it is for.
        image: Vec<String>,
        /// What Incus runs here.
        here: Vec<String>,
    },
    /// No temporary file can be made, or not written.
    Temporary {
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It became another file while it was read.
    Changed,
    /// An instance's backup, which is not an image.
    IsBackup,
    /// Incus failed or refused.
    Incus(incus::Error),
}

/// What an entry of an archive must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsafe {
    /// Its name begins with a slash.
    Absolute,
    /// Its name has `..` in it.
    Upwards,
    /// A symbolic link on its way leads out of the image.
    LeadsOut,
    /// The symbolic links on its way have no end.
    Loop,
    /// It is a hard link to something that is not there.
    Target,
    /// It removes something that has no name.
    Whiteout,
}

impl Fault {
    /// The failure with the file that has it.
    pub fn of(self, path: &Path) -> Error {
        Error { path: path.to_owned(), fault: self }
    }
}

impl From<incus::Error> for Fault {
    fn from(error: incus::Error) -> Fault {
        Fault::Incus(error)
    }
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsafe::Absolute => "its name begins with `/`",
            Unsafe::Upwards => "its name has `..` in it",
            Unsafe::LeadsOut => "a symbolic link on its way leads out of the image",
            Unsafe::Loop => "the symbolic links on its way have no end",
            Unsafe::Target => "it is a hard link to something that is not in the image",
            Unsafe::Whiteout => "it removes something that has no name",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(&self.path.display().to_string());
        match &self.fault {
            Fault::Open(source) => write!(f, "cannot open the image file `{path}`: {source}"),
            Fault::NotRegular => write!(
                f,
                "`{path}` is not a regular file\n\
                 name the archive itself, or save the stream into a file first"
            ),
            Fault::Read(source) => {
                write!(f, "cannot read the image file `{path}`: {}", printable(&source.to_string()))
            }
            Fault::Damaged(what) => write!(
                f,
                "the image file `{path}` is damaged: {}\nget or make it once more",
                printable(what)
            ),
            Fault::Unrecognised { looks_like } => {
                write!(f, "`{path}` is no image that is known here")?;
                if let Some(looks_like) = looks_like {
                    write!(f, ": it looks like {looks_like}")?;
                }
                write!(
                    f,
                    "\nknown are a tar archive of a root directory, what `incus image export` and \
                     `incus export` make, and what `docker save` and `podman save` make"
                )
            }
            Fault::VmDisk => write!(
                f,
                "`{path}` is the disk of a virtual machine, and boxes are containers\n\
                 import it yourself: incus image import METADATA `{path}`"
            ),
            Fault::Half { missing, looked_for } => {
                write!(f, "`{path}` is half of an image: its {missing} is missing")?;
                for (number, name) in looked_for.iter().enumerate() {
                    let before = if number == 0 { "\nit was looked for as" } else { "," };
                    write!(f, "{before} `{}`", printable(&name.display().to_string()))?;
                }
                write!(f, "\nput both files of the export beside each other")
            }
            Fault::Unsafe { entry, why } => write!(
                f,
                "the image file `{path}` is refused for its entry `{}`: {why}\n\
                 no image needs that: ask whoever made it",
                printable_bytes(entry)
            ),
            Fault::Unsupported { entry, what } => write!(
                f,
                "the image file `{path}` has an entry `{}` that cannot be used: {what}",
                printable_bytes(entry)
            ),
            Fault::TooMuch(what) => {
                write!(f, "the image file `{path}` is refused: {what}, more than any image has")
            }
            Fault::Digest { part, expected, found } => write!(
                f,
                "the image file `{path}` is damaged: {} has the digest {}, and {} was expected\n\
                 get or make it once more",
                printable(part),
                printable(found),
                printable(expected)
            ),
            Fault::Signal(_) => f.write_str("interrupted"),
            Fault::Missing(part) => write!(
                f,
                "the image file `{path}` is not whole: `{}` is missing\nget or make it once more",
                printable(part)
            ),
            Fault::Several(names) => write!(
                f,
                "`{path}` has several images: {}\nsave one of them alone, such as: docker save -o \
                 image.tar {}",
                printable(&names.join(", ")),
                printable(names.first().map_or("IMAGE", String::as_str))
            ),
            Fault::Architecture { image, here } => write!(
                f,
                "`{path}` is an image for {}, and Incus runs {} here\n\
                 get it for this machine, such as: docker pull --platform",
                printable(&image.join(", ")),
                here.join(", ")
            ),
            Fault::Temporary { directory, source } => write!(
                f,
                "cannot unpack `{path}` into a temporary file in `{}`: {source}\n\
                 name a directory with more room: TMPDIR=/var/tmp",
                directory.display()
            ),
            Fault::Changed => write!(f, "the image file `{path}` was changed while it was read"),
            Fault::IsBackup => write!(
                f,
                "`{path}` is the backup of an instance and no image\nimport it: incus import {path}"
            ),
            Fault::Incus(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
