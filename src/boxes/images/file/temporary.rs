//! A temporary file that has no name, so that nothing is left behind however the program ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::error::Fault;
use super::metadata::random;

/// Where temporary files go: TMPDIR, else the user's cache, which unlike `/tmp` is on a disk.
fn directory() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("TMPDIR")
        .or_else(|| cache().filter(|directory| directory.is_dir()))
        .unwrap_or_else(|| PathBuf::from("/var/tmp"))
}

/// Copies what `source` gives into a temporary file.
///
/// # Errors
/// [`Fault::Temporary`] for the file, [`Fault::Read`] for the source.
pub fn copy(mut source: impl Read) -> Result<File, Fault> {
    let directory = directory();
    let failed = |source| Fault::Temporary { directory: directory.clone(), source };
    let mut file = nameless(&directory).map_err(failed)?;
    let mut chunk = vec![0; 256 << 10];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => file.write_all(&chunk[..count]).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Read(error)),
        }
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}

fn nameless(directory: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let flags = rustix::fs::OFlags::TMPFILE.bits() as i32;
    if let Ok(file) = options.clone().custom_flags(flags).open(directory) {
        return Ok(file);
    }
    // Some file systems (NFS, overlayfs of old) have no O_TMPFILE.
    let path = directory.join(format!(".incusbox-{}", random()?));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_can_be_read_and_nothing_has_a_name() {
        let mut file = copy(&b"content"[..]).expect("room");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "content");
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&file.metadata().expect("open")), 0);
    }
}
