//! Reading layers twice: once to learn what they amount to and that nobody changed them, and once
//! to write that as one archive. Nothing is unpacked, and what is kept in memory is names.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use tar::EntryType;

use super::architecture;
use super::compression::Compression;
use super::entries::{Entries, Kind};
use super::error::Fault;
use super::metadata::hex;
use super::recognise::{is_os_release, is_program, text, tidy};
use super::section::Section;
use super::tree::{Content, Node, Tree, What};
use super::writer::{Head, Writer};

/// A layer in the file.
#[derive(Debug)]
pub struct Layer<'f> {
    /// Its name there.
    pub name: String,
    /// Where it is.
    pub section: Section<'f>,
    /// The digest of its bytes as they are there, in hexadecimal digits, where something says it.
    pub digest: Option<String>,
    /// The digest of the archive that it is when decompressed, where the configuration says it.
    pub diff_id: Option<String>,
}

/// What layers amount to.
#[derive(Debug, Default)]
pub struct Merged {
    /// Names and attributes.
    pub tree: Tree,
    /// The text of os-release(5).
    pub os_release: Option<String>,
    /// What the first program found is for.
    pub architecture: Option<&'static str>,
}

/// Reads and counts into a digest.
struct Hashing<R> {
    source: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(source: R) -> Hashing<R> {
        Hashing { source, hash: Sha256::new() }
    }

    /// Reads what is left, and gives the digest of all.
    fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex(&self.hash.finalize()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The archive of a layer.
fn open<'r>(section: &Section<'_>, source: impl Read + 'r) -> Result<Box<dyn Read + 'r>, Fault> {
    let mut head = Vec::new();
    section.clone().take(16).read_to_end(&mut head).map_err(Fault::Read)?;
    Ok(Compression::of(&head).reader(source))
}

fn check(part: &str, expected: Option<&String>, found: &str) -> Result<(), Fault> {
    match expected {
        Some(expected) if expected != found => Err(Fault::Digest {
            part: part.to_owned(),
            expected: expected.clone(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The digest of a part of the file.
///
/// # Errors
/// Those of reading, and [`Fault::Digest`] where it is not `expected`.
pub fn verify(name: &str, section: &Section<'_>, expected: &str) -> Result<(), Fault> {
    let found = Hashing::new(section.clone()).finish().map_err(Fault::Read)?;
    check(name, Some(&expected.to_owned()), &found)
}

/// Reads all layers, the lowest first, and applies each to those below it.
///
/// # Errors
/// For layers that are damaged, not what they were when the image was made, or unsafe.
pub fn merge(layers: &[Layer<'_>], progress: &mut dyn FnMut(u64)) -> Result<Merged, Fault> {
    let mut merged = Merged::default();
    for (number, layer) in layers.iter().enumerate() {
        if let Some(digest) = &layer.digest {
            verify(&layer.name, &layer.section, digest)?;
        }
        let mut archive = Hashing::new(open(&layer.section, layer.section.clone())?);
        let mut entries = Entries::streamed(&mut archive);
        let mut entry_number = 0;
        while let Some(entry) = entries.next()? {
            merged.tree.apply(number, entry_number, &entry)?;
            entry_number += 1;
            if entry.kind == Kind::File {
                let name = tidy(&entry.name);
                if is_os_release(&name) {
                    merged.os_release = Some(String::from_utf8_lossy(&text(&mut entries)?).into());
                } else if merged.architecture.is_none() && is_program(&name, &entry) {
                    let mut head = Vec::new();
                    (&mut entries).take(20).read_to_end(&mut head).map_err(Fault::Read)?;
                    merged.architecture = architecture::of_elf(&head);
                }
            }
        }
        let found = archive.finish().map_err(Fault::Read)?;
        check(&layer.name, layer.diff_id.as_ref(), &found)?;
        progress(number as u64 + 1);
    }
    Ok(merged)
}

/// Writes what [`merge`] learnt: directories, then files in the order in which they are read, each
/// with its other names behind it, then links and pipes.
///
/// # Errors
/// Those of the output, and [`Fault::Changed`] for layers that are not what they were.
pub fn write(layers: &[Layer<'_>], tree: &Tree, out: impl Write) -> Result<(), Fault> {
    let mut writer = Writer::new(out);
    let mut names: HashMap<usize, Vec<&[u8]>> = HashMap::new();
    for (name, node) in tree.nodes() {
        match node.what {
            What::Directory => write_node(&mut writer, name, node)?,
            What::File(content) => names.entry(content).or_default().push(name),
            What::Symlink(_) | What::Fifo => {}
        }
    }
    let mut wanted: HashMap<(usize, u64), usize> = HashMap::new();
    for number in names.keys() {
        let content = tree.content(*number);
        wanted.insert((content.layer, content.entry), *number);
    }
    for (number, layer) in layers.iter().enumerate() {
        let mut left = wanted.keys().filter(|(layer, _)| *layer == number).count();
        let mut entries = Entries::streamed(open(&layer.section, layer.section.clone())?);
        let mut entry_number = 0;
        while left > 0 {
            let entry = entries.next()?.ok_or(Fault::Changed)?;
            if let Some(content) = wanted.get(&(number, entry_number)) {
                let names = names.get(content).map(Vec::as_slice).unwrap_or_default();
                let content = tree.content(*content);
                if entry.size != content.size || entry.kind != Kind::File {
                    return Err(Fault::Changed);
                }
                write_file(&mut writer, names, content, &mut entries)?;
                left -= 1;
            }
            entry_number += 1;
        }
    }
    for (name, node) in tree.nodes() {
        if matches!(node.what, What::Symlink(_) | What::Fifo) {
            write_node(&mut writer, name, node)?;
        }
    }
    writer.finish().map_err(Fault::Read)?;
    Ok(())
}

fn write_node<W: Write>(writer: &mut Writer<W>, name: &[u8], node: &Node) -> Result<(), Fault> {
    let (kind, link) = match &node.what {
        What::Symlink(link) => (EntryType::Symlink, link.as_slice()),
        What::Fifo => (EntryType::Fifo, &b""[..]),
        What::Directory | What::File(_) => (EntryType::Directory, &b""[..]),
    };
    let mut name = [b"./", name].concat();
    if kind == EntryType::Directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    let (attributes, xattrs) = (node.attributes, &node.xattrs);
    let head = Head { name: &name, kind, link, size: 0, attributes, xattrs };
    writer.entry(&head).map_err(Fault::Read)
}

fn write_file<W: Write>(
    writer: &mut Writer<W>,
    names: &[&[u8]],
    content: &Content,
    source: &mut dyn Read,
) -> Result<(), Fault> {
    let Some((first, others)) = names.split_first() else { return Ok(()) };
    let Content { attributes, xattrs, size, .. } = content;
    let first = [b"./", *first].concat();
    let (mut head_size, mut kind, mut link) = (*size, EntryType::Regular, &b""[..]);
    for name in std::iter::once(first.clone()).chain(others.iter().map(|it| [b"./", *it].concat()))
    {
        let head =
            Head { name: &name, kind, link, size: head_size, attributes: *attributes, xattrs };
        writer.entry(&head).map_err(Fault::Read)?;
        if kind == EntryType::Regular {
            writer.content(*size, source).map_err(Fault::Read)?;
        }
        (head_size, kind, link) = (0, EntryType::Link, &first);
    }
    Ok(())
}
