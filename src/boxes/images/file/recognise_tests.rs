//! What files are, whatever they are called.

use std::io::Write;

use tar::EntryType;

use super::super::entries::Attributes;
use super::super::temporary;
use super::super::writer::{Head, Writer};
use super::*;

/// An archive with these entries; a name with a slash at its end is a directory.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, content) in files {
        let kind = if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
        let size = content.len() as u64;
        let attributes = Attributes { mode: 0o755, ..Attributes::default() };
        let head =
            Head { name: name.as_bytes(), kind, link: b"", size, attributes, xattrs: &Vec::new() };
        writer.entry(&head).expect("a vector");
        writer.content(size, &mut &content[..]).expect("a vector");
    }
    writer.finish().expect("a vector")
}

fn kind(bytes: &[u8]) -> Result<Kind, Fault> {
    recognise(&temporary::copy(bytes).expect("room"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector");
    encoder.finish().expect("a vector")
}

fn program() -> Vec<u8> {
    let mut bytes = std::fs::read("/proc/self/exe").expect("this very program");
    bytes.truncate(4096);
    bytes
}

#[test]
fn a_root_directory_with_or_without_a_dot_compressed_or_not() {
    let program = program();
    for dot in ["", "./"] {
        let name = |name: &str| format!("{dot}{name}");
        let names =
            [name("bin/"), name("etc/"), name("usr/"), name("bin/x"), name("etc/os-release")];
        let plain = archive(&[
            (&names[0], b""),
            (&names[1], b""),
            (&names[2], b""),
            (&names[3], &program),
            (&names[4], b"NAME=x\n"),
        ]);
        for bytes in [gzip(&plain), plain] {
            let Kind::Root(root) = kind(&bytes).expect("known") else { panic!("no root") };
            assert_eq!(root.os_release.as_deref(), Some("NAME=x\n"));
            assert!(root.architecture.is_some() && root.has_etc);
        }
    }
}

#[test]
fn an_image_of_incus_and_its_half() {
    let yaml = b"architecture: x86_64\ncreation_date: 7\n";
    let metadata = Metadata::read(yaml).expect("well-formed");
    assert_eq!((metadata.architecture.as_str(), metadata.creation_date), ("x86_64", 7));
    for files in [
        [("metadata.yaml", &yaml[..]), ("rootfs/etc/x", b""), ("templates/x", b"")],
        [("rootfs/etc/x", b""), ("templates/x", b""), ("./metadata.yaml", &yaml[..])],
    ] {
        let found = kind(&gzip(&archive(&files))).expect("known");
        assert!(matches!(found, Kind::Unified(ref it) if it.architecture == "x86_64"), "{found:?}");
    }
    let half = kind(&archive(&[("metadata.yaml", yaml), ("templates/", b"")])).expect("known");
    assert!(matches!(half, Kind::Half(_)), "{half:?}");
    assert_eq!(kind(b"hsqs and more").expect("known"), Kind::Squashfs);
}

#[test]
fn a_backup_tells_of_its_instance() {
    let index = b"name: dev\nbackend: dir\npool: default\ntype: container\nsnapshots: []\nconfig:\n  \
        container:\n    devices:\n      eth0:\n        network: incusbox-iso\n        type: nic\n      a: {}\n";
    let files: &[(&str, &[u8])] =
        &[("backup/index.yaml", index), ("backup/container/rootfs/etc/x", b"")];
    let Kind::Backup(backup) = kind(&archive(files)).expect("known") else { panic!("no backup") };
    assert_eq!((backup.name.as_str(), backup.pool.as_str()), ("dev", "default"));
    assert_eq!(backup.networks().collect::<Vec<_>>(), ["incusbox-iso"]);
}

#[test]
fn container_images_old_and_new() {
    let digest = "0123456789abcdef".repeat(4);
    for name in [
        "manifest.json".to_owned(),
        "oci-layout".to_owned(),
        "blobs/sha256/".to_owned(),
        format!("{digest}/layer.tar"),
        format!("{digest}.json"),
    ] {
        assert_eq!(kind(&archive(&[(&name, b"")])).expect("known"), Kind::Container, "{name}");
    }
}

#[test]
fn what_is_nothing_of_these_says_what_it_looks_like() {
    let looks = |bytes: &[u8]| match kind(bytes) {
        Err(Fault::Unrecognised { looks_like }) => looks_like.unwrap_or("nothing"),
        other => panic!("{other:?}"),
    };
    assert_eq!(looks(b""), "an empty file");
    assert_eq!(looks(b"PK\x03\x04"), "a zip archive");
    assert_eq!(looks(&program()), "a program");
    assert_eq!(looks(b"hello there\n"), "text");
    assert_eq!(looks(&[0; 4096]), "nothing");
    assert_eq!(
        looks(&archive(&[("src/main.rs", b""), ("etc/x", b"")])),
        "an archive of something else"
    );
    assert_eq!(looks(&archive(&[("rootfs/etc/", b"")])), "an Incus image without metadata.yaml");
    assert!(matches!(kind(b"QFI\xfb\0\0\0\x03"), Err(Fault::VmDisk)));
    assert!(matches!(kind(&gzip(b"hello there")), Err(Fault::Damaged(_))));
    assert!(kind(&gzip(b"hello")[..12]).is_err());
}
