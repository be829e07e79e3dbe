//! Why a file cannot be shared for a run, in facts and in words.

use std::fmt;
use std::io;

use crate::incus;
use crate::message::printable_bytes;

/// A file that was not shared.
#[derive(Debug)]
pub struct Unshared {
    /// The box.
    pub name: String,
    /// The file, or the first of several.
    pub path: Vec<u8>,
    /// What stands in the way.
    pub why: Why,
}

/// What stands in the way.
#[derive(Debug)]
pub enum Why {
    /// The user may not read it, or it is gone.
    Unreadable(io::Error),
    /// It is a socket, a device or a FIFO.
    NoFile,
    /// At this path is another file by now.
    Moved,
    /// Its path is not UTF-8, or has lost its name.
    NotText,
    /// It is `/`.
    Everything,
    /// There are more than this many.
    TooMany(usize),
    /// The box is a virtual machine.
    Machine,
    /// The run is one by Incus alone.
    Native,
    /// Incus would not.
    Refused(incus::Error),
    /// Incus did, and the box sees another file.
    StillUnseen,
    /// Incus did, and the user in the box may not read it.
    Private,
    /// Something on the host failed.
    Host(&'static str, io::Error),
}

impl fmt::Display for Unshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unshared { name, path, why } = self;
        write!(f, "`{}` cannot be shared with box `{name}`: ", printable_bytes(path))?;
        match why {
            Why::Unreadable(source) => return write!(f, "{source}"),
            Why::NoFile => f.write_str("it is neither a file nor a directory")?,
            Why::Moved => return f.write_str("it was just replaced by another\nopen it again"),
            Why::NotText => f.write_str("its path is not UTF-8, which Incus cannot pass")?,
            Why::Everything => return f.write_str("it is the whole host\nopen a directory of it"),
            Why::TooMany(most) => write!(f, "more than {most} files at once are too many")?,
            Why::Machine => f.write_str("it is a virtual machine")?,
            Why::Native => f.write_str("without the agent nobody knows what the box sees")?,
            Why::Refused(source) => write!(f, "{source}")?,
            Why::StillUnseen => f.write_str(
                "what Incus shows it there is another file; is the daemon on another machine, or was the file replaced?",
            )?,
            Why::Private => f.write_str(
                "it is not readable for everybody, and the box does not know your user's id or group",
            )?,
            Why::Host(doing, source) => write!(f, "{doing}: {source}")?,
        }
        write!(
            f,
            "\ncopy it to where both see it: your home, if the box shares that, or a volume \
             (incusbox info shows them)"
        )
    }
}

impl std::error::Error for Unshared {}
