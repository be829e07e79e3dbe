//! The root directory that layers amount to, as names and attributes; content stays where it is.
//!
//! Each entry of each layer is applied in order, as a container engine unpacks it (OCI image
//! specification, "Image Layer Filesystem Changeset"), to this tree in memory and never to a disk.
//! So nothing in a layer can reach outside, and a hard link finds its file although a later layer
//! replaced or removed the name that it was made for: names point to content, and content stays as
//! long as one name does.
//!
//! An entry below a symbolic link goes where the link leads, with the image's root as `/`, as it
//! would in the container. A link that climbs out of the root is refused, since no image needs it.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use super::entries::{Attributes, Entry, Kind, Xattrs};
use super::error::{Fault, Unsafe};

/// The most names that all layers together may have.
const MOST_NAMES: usize = 4_000_000;
/// The most bytes that names and attributes may have, in sum over all layers.
const MOST_BYTES: usize = 1 << 30;
/// The most symbolic links on the way to a name, as in path_resolution(7).
const MOST_LINKS: u32 = 40;
/// Above the number of any layer.
const EVERY_LAYER: usize = usize::MAX;
/// The most components of a name, links resolved.
const MOST_DEPTH: usize = 1024;

/// Content in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The layer's number, from the lowest.
    pub layer: usize,
    /// The entry's number in it.
    pub entry: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Owner, mode, time.
    pub attributes: Attributes,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A regular file with the content of this number.
    File(usize),
}

/// A name in the tree. The attributes of regular files are with their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it stands for.
    pub what: What,
    /// The layer that it came with.
    layer: usize,
    /// Owner, mode, time.
    pub attributes: Attributes,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// The tree; names without slashes at either end, the root's is empty.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    contents: Vec<Content>,
    /// What was hidden by the present layer: once is enough, and costs the time of a walk.
    hidden: (usize, HashSet<Vec<u8>>),
    bytes: usize,
    names: usize,
    devices: usize,
}

/// Directories that no layer has an entry for.
const IMPLIED: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: 0 };

impl Default for Tree {
    fn default() -> Tree {
        let root =
            Node { what: What::Directory, layer: 0, attributes: IMPLIED, xattrs: Vec::new() };
        let nodes = BTreeMap::from([(Vec::new(), root)]);
        let hidden = (0, HashSet::new());
        Tree { nodes, contents: Vec::new(), hidden, bytes: 0, names: 0, devices: 0 }
    }
}

impl Tree {
    /// Applies entry number `number` of layer number `layer`.
    ///
    /// # Errors
    /// For entries that no image needs and that could do harm, and for too many of them.
    pub fn apply(&mut self, layer: usize, number: u64, entry: &Entry) -> Result<(), Fault> {
        let refuse = |why| Fault::Unsafe { entry: entry.name.clone(), why };
        self.count(entry)?;
        let parts = parts(&entry.name).map_err(refuse)?;
        let Some((base, parent)) = parts.split_last() else {
            if entry.kind == Kind::Directory {
                self.put(Vec::new(), layer, What::Directory, entry);
            }
            return Ok(());
        };
        let parent = self.resolve(parent).map_err(refuse)?;
        if let Some(hidden) = base.strip_prefix(b".wh.") {
            return self.whiteout(layer, &parent, hidden).map_err(refuse);
        }
        self.make_directories(&parent, layer);
        let path = join(&parent, base);
        match entry.kind {
            Kind::Directory => self.put(path, layer, What::Directory, entry),
            Kind::Symlink => self.put(path, layer, What::Symlink(entry.link.clone()), entry),
            Kind::Fifo => self.put(path, layer, What::Fifo, entry),
            Kind::File => {
                self.contents.push(Content {
                    layer,
                    entry: number,
                    size: entry.size,
                    attributes: entry.attributes,
                    xattrs: entry.xattrs.clone(),
                });
                let what = What::File(self.contents.len() - 1);
                self.put(path, layer, what, entry);
            }
            Kind::HardLink => {
                let target = self.target(&entry.link).map_err(refuse)?;
                if target.what == What::Directory {
                    return Err(refuse(Unsafe::Target));
                }
                self.remove(&path, EVERY_LAYER);
                self.nodes.insert(path, Node { layer, ..target });
            }
            // A box gets its devices from LXC, and may not make others.
            Kind::Device => {
                self.devices += 1;
                self.remove(&path, EVERY_LAYER);
            }
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry) -> Result<(), Fault> {
        self.names += 1;
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.bytes += entry.name.len() + entry.link.len() + xattrs;
        if self.names > MOST_NAMES {
            return Err(Fault::TooMuch("it has over 4 million entries"));
        }
        if self.bytes > MOST_BYTES {
            return Err(Fault::TooMuch("its names and attributes fill over 1 GiB"));
        }
        Ok(())
    }

    /// Puts something at `path`, whose parent is there. Only a directory over a directory keeps
    /// what is below.
    fn put(&mut self, path: Vec<u8>, layer: usize, what: What, entry: &Entry) {
        let is_directory = |what: &What| *what == What::Directory;
        let keeps = is_directory(&what)
            && self.nodes.get(&path).is_some_and(|node| is_directory(&node.what));
        if !keeps {
            self.remove(&path, EVERY_LAYER);
        }
        let is_file = matches!(what, What::File(_));
        let xattrs = if is_file { Vec::new() } else { entry.xattrs.clone() };
        self.nodes.insert(path, Node { what, layer, attributes: entry.attributes, xattrs });
    }

    /// Removes what layers below `layer` have at `path` and below.
    fn remove(&mut self, path: &[u8], layer: usize) {
        self.remove_one(path, layer);
        self.remove_below(path, layer);
    }

    fn remove_one(&mut self, path: &[u8], layer: usize) {
        if self.nodes.get(path).is_some_and(|node| node.layer < layer) {
            self.nodes.remove(path);
        }
    }

    fn remove_below(&mut self, path: &[u8], layer: usize) {
        let lowest = join(path, b"");
        let below: Vec<Vec<u8>> = self
            .nodes
            .range::<[u8], _>((Bound::Excluded(lowest.as_slice()), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(&lowest))
            .filter(|(_, node)| node.layer < layer)
            .map(|(name, _)| name.clone())
            .collect();
        for name in below {
            self.nodes.remove(&name);
        }
    }

    /// What a file `.wh.HIDDEN` does. It hides what lower layers have, wherever in its layer it
    /// stands.
    fn whiteout(&mut self, layer: usize, parent: &[u8], hidden: &[u8]) -> Result<(), Unsafe> {
        if self.hidden.0 != layer {
            self.hidden = (layer, HashSet::new());
        }
        let path = match hidden {
            b".wh..opq" => parent.to_vec(),
            // Notes of aufs about itself.
            _ if hidden.starts_with(b".wh.") => return Ok(()),
            b"" | b"." | b".." => return Err(Unsafe::Whiteout),
            _ => join(parent, hidden),
        };
        if hidden != b".wh..opq" {
            self.remove_one(&path, layer);
        }
        if self.hidden.1.insert(path.clone()) {
            self.remove_below(&path, layer);
            // What this layer itself has below is there all the same, and so are its parents.
            for parent in self.orphans(&path) {
                self.make_directories(&parent, layer);
            }
        }
        Ok(())
    }

    /// The parents below `top` that are missing.
    fn orphans(&self, top: &[u8]) -> Vec<Vec<u8>> {
        let lowest = join(top, b"");
        self.nodes
            .range::<[u8], _>((Bound::Excluded(lowest.as_slice()), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(&lowest))
            .map(|(name, _)| parent_of(name).to_vec())
            .filter(|parent| !self.nodes.contains_key(parent))
            .collect()
    }

    /// Makes what is missing of the directories on the way to `path`, itself included.
    fn make_directories(&mut self, path: &[u8], layer: usize) {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let name = &path[..end];
            if self.nodes.get(name).is_none_or(|node| node.what != What::Directory) {
                let (what, xattrs) = (What::Directory, Vec::new());
                let node = Node { what, layer, attributes: IMPLIED, xattrs };
                self.nodes.insert(name.to_vec(), node);
            }
        }
    }

    /// The node that a hard link's target names.
    fn target(&self, link: &[u8]) -> Result<Node, Unsafe> {
        let parts = parts(link)?;
        let (base, parent) = parts.split_last().ok_or(Unsafe::Target)?;
        let path = join(&self.resolve(parent)?, base);
        self.nodes.get(&path).cloned().ok_or(Unsafe::Target)
    }

    /// Where `parts` leads, every symbolic link followed.
    fn resolve(&self, parts: &[&[u8]]) -> Result<Vec<u8>, Unsafe> {
        let mut left: Vec<Vec<u8>> = parts.iter().rev().map(|part| part.to_vec()).collect();
        let (mut at, mut links) = (Vec::new(), 0);
        while let Some(part) = left.pop() {
            if left.len() > MOST_DEPTH {
                return Err(Unsafe::Loop);
            }
            match part.as_slice() {
                b"" | b"." => continue,
                // Only from a link: names with it were refused.
                b".." if at.is_empty() => return Err(Unsafe::LeadsOut),
                b".." => at = parent_of(&at).to_vec(),
                _ => {
                    let next = join(&at, &part);
                    let Some(Node { what: What::Symlink(to), .. }) = self.nodes.get(&next) else {
                        at = next;
                        continue;
                    };
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Unsafe::Loop);
                    }
                    if to.starts_with(b"/") {
                        at.clear();
                    }
                    left.extend(to.rsplit(|b| *b == b'/').map(<[u8]>::to_vec));
                }
            }
        }
        Ok(at)
    }

    /// The node at `path`, links followed to the end, and its real name.
    pub fn find(&self, path: &str) -> Option<(Vec<u8>, &Node)> {
        let parts: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').collect();
        let real = self.resolve(&parts).ok()?;
        self.nodes.get(&real).map(|node| (real, node))
    }

    /// All names in order, parents before children, the root first.
    pub fn nodes(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_slice(), node))
    }

    /// The content of this number.
    pub fn content(&self, number: usize) -> &Content {
        &self.contents[number]
    }

    /// How many device nodes were left out.
    pub fn devices(&self) -> usize {
        self.devices
    }
}

/// The parts of a name of an archive.
fn parts(name: &[u8]) -> Result<Vec<&[u8]>, Unsafe> {
    if name.starts_with(b"/") {
        return Err(Unsafe::Absolute);
    }
    let parts = name.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&&b".."[..]) { Err(Unsafe::Upwards) } else { Ok(parts) }
}

fn join(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() { base.to_vec() } else { [parent, b"/", base].concat() }
}

fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |at| &path[..at])
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
