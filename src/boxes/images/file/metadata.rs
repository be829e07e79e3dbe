//! What Incus wants to know of an image that has no words of its own for it: `metadata.yaml`.
//!
//! Source: lxc/incus 6.0.4, `doc/reference/image_format.md`. Properties become `image.NAME` in the
//! configuration of each box that is made from the image.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::error::Fault;

/// The property that says whether the image has an init: `present` or `none`.
pub const INIT: &str = "incusbox.init";
/// What precedes the properties that hold a container image's own settings.
pub const OCI: &str = "incusbox.oci.";
/// The property that marks an image which incusbox brought in from a file: in the file itself it makes
/// each import another image, and at Incus it tells whose it is.
pub const IMPORT: &str = "incusbox.import";

/// Whether there is something for LXC to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// There is an init.
    Present,
    /// There is none: the box needs one from outside.
    Missing,
    /// Nobody looked, since the file is passed on unread.
    Unknown,
}

/// `metadata.yaml`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Incus's name of the machine.
    #[serde(default)]
    pub architecture: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub creation_date: i64,
    /// What is shown of the image and kept with each box.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Files that are made anew for each box, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, Template>,
}

/// A file that is made anew for each box.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// On which occasions.
    #[serde(default)]
    pub when: Vec<String>,
    /// The file below `templates/`.
    #[serde(default)]
    pub template: String,
}

const HOST_NAME: &str = "hostname.tpl";

impl Metadata {
    /// Takes name, version and description from the text of os-release(5).
    pub fn describe(&mut self, os_release: &str) {
        let fields = [("NAME", "os"), ("VERSION_ID", "release"), ("PRETTY_NAME", "description")];
        for line in os_release.lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']);
            let property = fields.iter().find(|(field, _)| *field == name.trim());
            if let (Some((_, property)), false) = (property, value.is_empty()) {
                self.properties.insert((*property).to_owned(), crate::message::printable(value));
            }
        }
    }

    /// Gives each box its name as the host name; `/etc` must be there.
    pub fn name_hosts(&mut self) {
        let when = ["create", "copy", "rename"].map(str::to_owned).to_vec();
        let template = Template { when, template: HOST_NAME.to_owned() };
        self.templates.insert("/etc/hostname".to_owned(), template);
    }

    /// Notes whether there is an init.
    pub fn note_init(&mut self, init: Init) {
        let value = match init {
            Init::Present => "present",
            Init::Missing => "none",
            Init::Unknown => return,
        };
        self.properties.insert(INIT.to_owned(), value.to_owned());
    }

    /// Marks the image as one of a single import, so that no two imports share one: what was
    /// imported for one box may then be deleted when that is made.
    ///
    /// # Errors
    /// Where the kernel has no random numbers.
    pub fn mark(&mut self) -> io::Result<()> {
        self.properties.insert(IMPORT.to_owned(), random()?);
        Ok(())
    }

    /// The archive that Incus wants: `metadata.yaml` and the templates.
    ///
    /// # Errors
    /// None that can happen in memory.
    pub fn archive(&self) -> io::Result<Vec<u8>> {
        let yaml = serde_yaml_ng::to_string(self).map_err(io::Error::other)?;
        let mut builder = tar::Builder::new(Vec::new());
        let mut files = vec![("metadata.yaml", yaml)];
        if !self.templates.is_empty() {
            files.push(("templates/hostname.tpl", "{{ container.name }}\n".to_owned()));
        }
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            builder.append_data(&mut header, name, content.as_bytes())?;
        }
        builder.into_inner()
    }

    /// Reads `metadata.yaml`.
    ///
    /// # Errors
    /// For what is none.
    pub fn read(yaml: &[u8]) -> Result<Metadata, Fault> {
        serde_yaml_ng::from_slice(yaml)
            .map_err(|error| Fault::Damaged(format!("its metadata.yaml is malformed: {error}")))
    }
}

/// 32 hexadecimal digits that nobody else has.
pub fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(hex(&bytes))
}

/// `bytes` in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::images::file::entries::Entries;

    #[test]
    fn metadata_is_an_archive_with_what_was_noted() {
        let mut metadata = Metadata { architecture: "x86_64".to_owned(), ..Metadata::default() };
        metadata.describe("NAME='Some OS'\nVERSION_ID=\"1\u{1b}\"\nPRETTY_NAME=\nID=x\n");
        metadata.note_init(Init::Missing);
        metadata.name_hosts();
        let archive = metadata.archive().expect("in memory");
        let mut entries = Entries::streamed(&archive[..]);
        let first = entries.next().expect("well-formed").expect("an entry");
        assert_eq!(first.name, b"metadata.yaml");
        let mut yaml = Vec::new();
        io::Read::read_to_end(&mut entries, &mut yaml).expect("in memory");
        assert_eq!(Metadata::read(&yaml).expect("well-formed"), metadata);
        assert_eq!(metadata.properties["os"], "Some OS");
        assert_eq!(metadata.properties["release"], "1\u{fffd}");
        assert_eq!(metadata.properties[INIT], "none");
        assert!(!metadata.properties.contains_key("description"));
        assert_eq!(
            entries.next().expect("well-formed").expect("two").name,
            b"templates/hostname.tpl"
        );
    }

    #[test]
    fn no_two_imports_are_the_same() {
        assert_ne!(random().expect("a number"), random().expect("a number"));
    }
}
