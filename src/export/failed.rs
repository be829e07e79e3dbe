//! What failed with which file on the host, and what to do about it. It travels as an [`io::Error`]
//! of the same kind.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::message::printable;

/// A file or directory, and what was wrong with it.
#[derive(Debug)]
struct Failed {
    path: PathBuf,
    source: io::Error,
}

/// Says of which file an error is, unless the error says it already.
pub fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |source| {
        if source.get_ref().is_some_and(|inner| inner.is::<Failed>()) {
            return source;
        }
        io::Error::new(source.kind(), Failed { path: path.to_owned(), source })
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed { path, source } = self;
        let directory = path.parent().unwrap_or(path).to_string_lossy();
        let quoted = printable(&shell_words::quote(&directory));
        write!(f, "`{}`: {source}", printable(&path.to_string_lossy()))?;
        match source.kind() {
            ErrorKind::StorageFull => {
                write!(f, "\nsee what is full: df -h {quoted}; df -i {quoted}")?
            }
            ErrorKind::QuotaExceeded => f.write_str("\nsee how much is yours: quota -s")?,
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                write!(f, "\nsee whose it is: ls -ld {quoted}; findmnt -T {quoted}")?;
            }
            _ if source.raw_os_error() == Some(libc::EIO) => {
                f.write_str("\nsee what the kernel says of the device: journalctl -k -p err")?;
            }
            _ => return Ok(()),
        }
        f.write_str("\nno file is half written; when that is mended, do the same again")
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_named_once_with_its_cause_and_the_next_step() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = at(Path::new("/a b"))(at(Path::new("/x y/z"))(full));
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let text = error.to_string();
        assert!(text.starts_with("`/x y/z`: No space left on device"), "{text}");
        assert!(text.contains("df -h '/x y';") && !text.contains("/a b"), "{text}");
        let other = at(Path::new("/x"))(io::Error::from_raw_os_error(libc::EEXIST)).to_string();
        assert_eq!(other.lines().count(), 1, "{other}");
    }
}
