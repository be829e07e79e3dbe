//! What a file is, told from its content: names say nothing (`image.tar` is all of them).
//!
//! Only as much is read as the answer needs. In an archive that is not compressed content is
//! skipped, so that also what tells itself by its last entry (`docker save` of old) costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use super::compression::Compression;
use super::entries::{self, Entries, Entry, Kind as EntryKind};
use super::error::Fault;
use super::section::Section;
use super::{architecture, metadata::Metadata};
use crate::incus::objects::Devices;

/// The most entries that are looked at for an answer.
const MOST_ENTRIES: usize = 2_000_000;
/// The most of a compressed archive that is read to learn the machine and name of a root
/// directory, in bytes of what it decompresses to.
const MOST_HEAD: u64 = 256 << 20;
/// The most of a small file inside, in bytes.
const MOST_TEXT: u64 = 1 << 20;

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// An archive of a root directory.
    Root(Root),
    /// A root directory as squashfs, which is not looked into.
    Squashfs,
    /// An Incus image with metadata and root directory.
    Unified(Metadata),
    /// The metadata of an Incus image whose root directory is another file.
    Half(Metadata),
    /// A backup of an instance.
    Backup(Backup),
    /// A container image.
    Container,
}

/// What the head of a root directory's archive says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// What its programs are for.
    pub architecture: Option<&'static str>,
    /// The text of os-release(5).
    pub os_release: Option<String>,
    /// Whether there is an `etc`.
    pub has_etc: bool,
}

/// What a backup says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Backup {
    /// The instance's name.
    #[serde(default)]
    pub name: String,
    /// The storage pool that it was in.
    #[serde(default)]
    pub pool: String,
    /// `container` or `virtual-machine`.
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    config: Configuration,
}

/// The part of a backup's index that tells of the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
struct Configuration {
    /// A virtual machine, too.
    #[serde(default)]
    container: Instance,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
struct Instance {
    #[serde(default)]
    config: Option<BTreeMap<String, String>>,
    #[serde(default)]
    devices: Option<Devices>,
}

impl Backup {
    /// Whether the instance was a box.
    pub fn is_box(&self) -> bool {
        let config = self.config.container.config.iter().flatten();
        config
            .into_iter()
            .any(|(key, value)| key.starts_with("user.incusbox.") && !value.is_empty())
    }

    /// The networks that its own devices are plugged into.
    pub fn networks(&self) -> impl Iterator<Item = &str> {
        let devices = self.config.container.devices.iter().flat_map(Devices::values);
        devices.filter_map(|device| device.get("network")).map(String::as_str)
    }
}

/// Directories at the top of every root directory.
const TOP: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root",
    "run", "sbin", "srv", "sys", "tmp", "usr", "var",
];

/// Tells what `file` is.
///
/// # Errors
/// For what is nothing that a box can be made from.
pub fn recognise(file: &File) -> Result<Kind, Fault> {
    let whole = || Section::whole(file).map_err(Fault::Read);
    let mut head = Vec::new();
    whole()?.take(1024).read_to_end(&mut head).map_err(Fault::Read)?;
    let disks: [&[u8]; 3] = [b"QFI\xfb", b"KDMV", b"vhdxfile"];
    if disks.iter().any(|magic| head.starts_with(magic)) {
        return Err(Fault::VmDisk);
    }
    if head.starts_with(b"hsqs") {
        return Ok(Kind::Squashfs);
    }
    let compression = Compression::of(&head);
    let found = if compression == Compression::None {
        if !entries::begins(&head) {
            return Err(Fault::Unrecognised { looks_like: looks_like(&head) });
        }
        from_names(&mut Entries::new(whole()?, Section::skip))?
    } else {
        from_names(&mut Entries::streamed(compression.reader(whole()?)))?
    };
    match found {
        Kind::Root(_) if compression == Compression::None => {
            from_root(&mut Entries::new(whole()?, Section::skip))
        }
        Kind::Root(_) => {
            let limited = compression.reader(whole()?).take(MOST_HEAD);
            from_root(&mut Entries::streamed(limited))
        }
        other => Ok(other),
    }
}

fn looks_like(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [] => "an empty file",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [0x7f, b'E', b'L', b'F', ..] => "a program",
        [b'{' | b'[', ..] => "JSON",
        [b'#', b'!', ..] => "a script",
        [0x04, 0x22, 0x4d, 0x18, ..] => "something compressed with lz4",
        _ if head.iter().all(|b| matches!(b, 9 | 10 | 13 | 32..)) => "text",
        _ => return None,
    })
}

/// `name` without `./` and slashes around it.
pub fn tidy(name: &[u8]) -> Vec<u8> {
    let parts = name.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

/// The kind of archive, from the names in it.
fn from_names<R: Read>(entries: &mut Entries<R>) -> Result<Kind, Fault> {
    let mut metadata = None;
    let (mut has_root, mut top) = (false, BTreeSet::new());
    for _ in 0..MOST_ENTRIES {
        let Some(entry) = entries.next()? else { break };
        let name = tidy(&entry.name);
        let first = name.split(|b| *b == b'/').next().unwrap_or_default();
        if name == b"metadata.yaml" {
            metadata = Some(Metadata::read(&text(entries)?)?);
        } else if name == b"backup/index.yaml" {
            let index = text(entries)?;
            let backup = serde_yaml_ng::from_slice(&index).map_err(|error| {
                Fault::Damaged(format!("its backup/index.yaml is malformed: {error}"))
            })?;
            return Ok(Kind::Backup(backup));
        } else if is_container(&name) {
            return Ok(Kind::Container);
        } else if first == b"rootfs" || first == b"rootfs.img" {
            has_root = true;
        } else if let Some(known) = TOP.iter().find(|known| known.as_bytes() == first) {
            top.insert(*known);
        }
        if has_root && metadata.is_some() {
            break;
        }
        // Three, so that an archive of somebody's `etc` is none.
        if top.len() >= 3 && is_root(&top) {
            return Ok(Kind::Root(Root::default()));
        }
    }
    match metadata {
        Some(metadata) if has_root => Ok(Kind::Unified(metadata)),
        Some(metadata) => Ok(Kind::Half(metadata)),
        None if is_root(&top) => Ok(Kind::Root(Root::default())),
        None => {
            let looks_like = match has_root {
                true => "an Incus image without metadata.yaml",
                false => "an archive of something else",
            };
            Err(Fault::Unrecognised { looks_like: Some(looks_like) })
        }
    }
}

fn is_root(top: &BTreeSet<&str>) -> bool {
    let needed = ["bin", "etc", "usr"];
    needed.iter().filter(|name| top.contains(**name)).count() >= 2 || top.len() >= 4
}

/// Whether only `docker save` and its like have such a name at the top.
fn is_container(name: &[u8]) -> bool {
    let is_digest = |part: &[u8]| part.len() == 64 && part.iter().all(u8::is_ascii_hexdigit);
    let first = name.split(|b| *b == b'/').next().unwrap_or_default();
    let bare = first.strip_suffix(b".json").or(first.strip_suffix(b".tar")).unwrap_or(first);
    matches!(name, b"manifest.json" | b"oci-layout" | b"index.json" | b"repositories")
        || name.starts_with(b"blobs/sha256")
        || is_digest(bare)
}

/// What a root directory says of itself, from as much of it as is read.
fn from_root<R: Read>(entries: &mut Entries<R>) -> Result<Kind, Fault> {
    let mut root = Root::default();
    for _ in 0..MOST_ENTRIES {
        // The head ends where it ends.
        let Ok(Some(entry)) = entries.next() else { break };
        let name = tidy(&entry.name);
        root.has_etc |= name.starts_with(b"etc/") || name == b"etc";
        if entry.kind != EntryKind::File {
            continue;
        }
        if root.os_release.is_none() && is_os_release(&name) {
            root.os_release = text(entries).ok().map(|text| String::from_utf8_lossy(&text).into());
        }
        if root.architecture.is_none() && is_program(&name, &entry) {
            let mut head = Vec::new();
            let _short_then = entries.take(20).read_to_end(&mut head);
            root.architecture = architecture::of_elf(&head);
        }
        if root.architecture.is_some() && root.os_release.is_some() && root.has_etc {
            break;
        }
    }
    Ok(Kind::Root(root))
}

/// Whether the file tells what system this is.
pub fn is_os_release(name: &[u8]) -> bool {
    matches!(name, b"etc/os-release" | b"usr/lib/os-release")
}

/// Whether the file is likely to be a program of the system: other machines' programs may lie in
/// `lib` (firmware, libraries for emulation).
pub fn is_program(name: &[u8], entry: &Entry) -> bool {
    let name = name.strip_prefix(b"usr/").unwrap_or(name);
    let directory = name.split(|b| *b == b'/').next().unwrap_or_default();
    matches!(directory, b"bin" | b"sbin") && entry.attributes.mode & 0o100 != 0 && entry.size > 64
}

/// The content of a small file.
pub fn text<R: Read>(entries: &mut Entries<R>) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    entries.take(MOST_TEXT).read_to_end(&mut text).map_err(Fault::Read)?;
    Ok(text)
}

#[cfg(test)]
#[path = "recognise_tests.rs"]
pub(super) mod tests;
