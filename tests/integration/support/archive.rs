//! Archives that tests make.

use std::io::Write;

use sha2::{Digest, Sha256};

/// A tar archive in the making.
pub struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    /// An empty one.
    pub fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn header(mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header
    }

    /// With a file of root's.
    pub fn file(mut self, name: &str, mode: u32, content: &[u8]) -> Tar {
        let mut header = Tar::header(mode, content.len());
        self.0.append_data(&mut header, name, content).expect("a vector");
        self
    }

    /// With a file of this user's.
    pub fn owned(mut self, name: &str, owner: u64) -> Tar {
        let mut header = Tar::header(0o600, 6);
        header.set_uid(owner);
        self.0.append_data(&mut header, name, &b"owned\n"[..]).expect("a vector");
        self
    }

    /// With a directory of root's.
    pub fn directory(mut self, name: &str, mode: u32) -> Tar {
        let mut header = Tar::header(mode, 0);
        header.set_entry_type(tar::EntryType::Directory);
        self.0.append_data(&mut header, name, &b""[..]).expect("a vector");
        self
    }

    fn link(mut self, kind: tar::EntryType, name: &str, target: &str) -> Tar {
        let mut header = Tar::header(0o777, 0);
        header.set_entry_type(kind);
        self.0.append_link(&mut header, name, target).expect("a vector");
        self
    }

    /// With a symbolic link.
    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Symlink, name, target)
    }

    /// With another name of a file.
    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Link, name, target)
    }

    /// An extended attribute of the next entry.
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Tar {
        let key = format!("SCHILY.xattr.{name}");
        self.0.append_pax_extensions([(key.as_str(), value)]).expect("a vector");
        self
    }

    /// The archive.
    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("a vector")
    }
}

/// The SHA-256 digest in hexadecimal digits.
pub fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compressed.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector");
    encoder.finish().expect("a vector")
}
