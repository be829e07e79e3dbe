//! A file of the host as what a box is shown: opened as the user first, for Incus opens it as root.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::refusal::Why;
use crate::agent::protocol::Opened;

/// The most bytes of a name in the box. Incus makes a file name of a device's name and the whole
/// path in the box, in which a hyphen counts twice.
const MOST_NAME: usize = 140;
/// Of these, what an ending may have.
const MOST_ENDING: usize = 20;

/// Descriptors of files are from this one on: Incus is told their numbers, and a process that comes to
/// the same process id has hardly any there.
const FIRST_DESCRIPTOR: i32 = 700;

/// A file as it was found.
#[derive(Debug)]
pub struct Source {
    /// Open for reading.
    pub file: OwnedFd,
    /// The path without any link in it.
    pub path: PathBuf,
}

/// Opens a file as the user, if it is the one that was meant.
pub fn find(meant: &Opened) -> Result<Source, Why> {
    let path = meant.to_path();
    // The kernel decides whether the user may read it. It waits for nobody at a FIFO or a device.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let kind = std::fs::metadata(path).map_err(Why::Unreadable)?.file_type();
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        return Err(Why::NoFile);
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(Why::Unreadable)?;
    let meta = file.metadata().map_err(Why::Unreadable)?;
    if !meta.is_file() && !meta.is_dir() {
        return Err(Why::NoFile);
    }
    let real = real_path(&file)?;
    let there = std::fs::symlink_metadata(&real).map_err(Why::Unreadable)?;
    let is_it = |meta: &std::fs::Metadata| (meta.dev(), meta.ino()) == (meant.device, meant.inode);
    if !is_it(&meta) || !is_it(&there) {
        return Err(Why::Moved);
    }
    if real == Path::new("/") {
        return Err(Why::Everything);
    }
    // Where the limit is lower than that, any number is as good.
    let moved = rustix::io::fcntl_dupfd_cloexec(&file, FIRST_DESCRIPTOR);
    Ok(Source { file: moved.unwrap_or_else(|_| file.into()), path: real })
}

/// The path that the kernel knows an open file by.
fn real_path(file: &File) -> Result<PathBuf, Why> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(Why::Unreadable)
}

/// What a file is called in the box: its name, as far as that is a harmless one.
pub fn name_in_box(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let harmless = |c: char| {
        let is_odd = c.is_control() || c == '\\' || c == '\u{fffd}' || turns(c);
        if is_odd { '_' } else { c }
    };
    let name: String = name.chars().map(harmless).collect();
    let ending = match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MOST_ENDING => &name[at..],
        _ => "",
    };
    let stem = &name[..name.len() - ending.len()];
    let mut left = MOST_NAME.saturating_sub(cost(ending));
    let fits = |c: &char| {
        let cost = cost(c.encode_utf8(&mut [0; 4]));
        let does = cost <= left;
        left = if does { left - cost } else { 0 };
        does
    };
    let stem: String = stem.chars().take_while(fits).collect();
    let name = stem + ending;
    if name.is_empty() { "file".to_owned() } else { name }
}

fn cost(text: &str) -> usize {
    text.len() + text.bytes().filter(|byte| *byte == b'-').count()
}

/// Characters that turn the direction of what follows, or break a line.
fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn meant(path: &Path) -> Opened {
        let meta = path.metadata().expect("a file");
        let path = path.as_os_str().as_bytes().to_vec();
        Opened { path, device: meta.dev(), inode: meta.ino() }
    }

    #[test]
    fn a_name_in_the_box_is_a_harmless_one_that_incus_takes() {
        let of = |name: &str| name_in_box(Path::new(name));
        assert_eq!(of("/a/b c%.txt"), "b c%.txt");
        assert_eq!(of("/a/-ü\n\u{202e}.t\\"), "-ü__.t_");
        assert_eq!(of("/"), "file");
        assert_eq!(of("/a/.hidden"), ".hidden");
        let long = of(&format!("/{}ü.tar.gz", "x".repeat(240)));
        assert!(long.ends_with("xx.gz") && long.len() == MOST_NAME, "{long}");
        assert_eq!(of(&format!("/{}", "-".repeat(255))).len(), MOST_NAME / 2);
        let odd = std::ffi::OsStr::from_bytes(b"/a/\xff.c");
        assert_eq!(name_in_box(Path::new(odd)), "_.c");
    }

    #[test]
    fn a_file_is_what_its_links_lead_to_if_it_is_the_one_that_was_meant() {
        let directory =
            std::env::temp_dir().join(format!("incusbox-source-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let directory = directory.canonicalize().expect("a path");
        let (file, link) = (directory.join("file"), directory.join("link"));
        std::fs::write(&file, "x").expect("a file");
        std::os::unix::fs::symlink("file", &link).expect("a link");
        let found = find(&meant(&link));
        let other = find(&Opened { inode: 1, ..meant(&link) });
        std::fs::remove_dir_all(&directory).expect("removed");
        assert_eq!(found.expect("a file").path, file);
        assert!(matches!(other, Err(Why::Moved)), "{other:?}");
        assert!(matches!(find(&meant(Path::new("/dev/null"))), Err(Why::NoFile)));
        assert!(matches!(find(&meant(Path::new("/usr/.."))), Err(Why::Everything)));
    }
}
