//! Bringing a file to Incus as an image, or as an instance where it is a backup.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::architecture::fits;
use super::compression::Compression;
use super::container::{self, Config};
use super::error::{Error, Fault};
use super::layers;
use super::leftover::mark;
use super::metadata::{Init, Metadata, random};
use super::recognise::{Backup, Kind, Root, recognise};
use super::section::Section;
use super::settings::{init_of, note};
use super::temporary;
use super::tree::What;
use crate::incus::Client;
use crate::incus::images::Novelty;
use crate::incus::upload::{Body, Failure, copy};
use crate::sys::signals::{Signals, let_pass};

/// A file that a box can be made from.
#[derive(Debug)]
pub struct ImageFile {
    path: PathBuf,
    file: File,
    kind: Kind,
}

/// An image that came from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether it was there before; if not, it is for one box and may be deleted when that is made.
    pub novelty: Novelty,
    /// Whether LXC finds an init in it.
    pub init: Init,
    /// The settings of a container image.
    pub oci: Option<Config>,
    /// How many device nodes were left out: a box has its own.
    pub devices_left_out: usize,
}

/// What is told while a file is brought in.
pub enum Progress {
    /// So many layers of so many were read.
    Layers(u64, u64),
    /// So many bytes were sent, of so many where that is known.
    Sent(u64, Option<u64>),
}

/// Who is told of it.
type Tell<'a> = &'a mut dyn FnMut(Progress);

impl ImageFile {
    /// Opens a file and tells what it is.
    ///
    /// # Errors
    /// For a file that is not there, or that no box can be made from.
    pub fn open(path: &Path) -> Result<ImageFile, Error> {
        let _nothing_is_begun = let_pass();
        let file = open(path).map_err(|fault| fault.of(path))?;
        let kind = recognise(&file).map_err(|fault| fault.of(path))?;
        Ok(ImageFile { path: path.to_owned(), file, kind })
    }

    /// What the backup that it is says of itself; `None` for images.
    pub fn backup(&self) -> Option<&Backup> {
        match &self.kind {
            Kind::Backup(backup) => Some(backup),
            _ => None,
        }
    }

    /// Whether LXC finds an init in it, as far as that is looked at; without bringing it in.
    ///
    /// # Errors
    /// For whatever is wrong with it.
    pub fn init(&self, client: &mut Client) -> Result<Init, Error> {
        let here = client.architectures().map_err(|error| Fault::Incus(error).of(&self.path))?;
        let _nothing_is_begun = let_pass();
        let look = || {
            let unpacked = self.uncompressed()?;
            let container = container::open(unpacked.as_ref().unwrap_or(&self.file), &here)?;
            Ok(init_of(&layers::merge(&container.layers, &mut |_| {})?.tree))
        };
        match self.kind {
            Kind::Container => look().map_err(|fault: Fault| fault.of(&self.path)),
            _ => Ok(Init::Unknown),
        }
    }

    /// Brings it to Incus as an image.
    ///
    /// # Errors
    /// For a backup, for an image of another machine, and for whatever is wrong with it.
    pub fn import(&self, client: &mut Client, tell: Tell<'_>) -> Result<Imported, Error> {
        let here = client.architectures().map_err(|error| Fault::Incus(error).of(&self.path))?;
        let imported = match &self.kind {
            Kind::Root(root) => self.import_root(client, root, &here, tell),
            Kind::Squashfs => self.import_squashfs(client, &here, tell),
            Kind::Unified(metadata) => self.import_unified(client, metadata, &here, tell),
            Kind::Half(metadata) => self.import_half(client, metadata, &here, tell),
            Kind::Container => self.import_container(client, &here, tell),
            Kind::Backup(_) => Err(Fault::IsBackup),
        };
        imported.map_err(|fault| fault.of(&self.path))
    }

    /// Makes the instance `name` from the backup that it is, in `pool` or where it was before.
    ///
    /// # Errors
    /// Everything that Incus refuses, and reading.
    pub fn restore(
        &self,
        client: &mut Client,
        signals: &mut Signals,
        (name, pool): (&str, Option<&str>),
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let mut restored = || {
            let (mut whole, total) = self.whole()?;
            let mut sent = |sent| tell(Progress::Sent(sent, Some(total)));
            let restored = client.restore((name, pool), signals, &mut whole, &mut sent);
            restored.map_err(|failure| match failure {
                Failure::Incus(error) => Fault::Incus(error),
                Failure::Source(error) => Fault::Read(error),
                Failure::Signal(signal) => Fault::Signal(signal),
            })
        };
        restored().map_err(|fault| fault.of(&self.path))
    }

    fn whole(&self) -> Result<(Section<'_>, u64), Fault> {
        let length = self.file.metadata().map_err(Fault::Read)?.len();
        Ok((Section::new(&self.file, 0, length), length))
    }

    /// Seconds since 1970 of the file's last change.
    fn changed(&self) -> i64 {
        let time = self.file.metadata().and_then(|metadata| metadata.modified()).ok();
        let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_secs() as i64)
    }

    /// Metadata of ours for a file that has none.
    fn metadata(&self, architecture: &str) -> Result<Metadata, Fault> {
        let mut metadata = Metadata {
            architecture: architecture.to_owned(),
            creation_date: self.changed(),
            ..Metadata::default()
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let name = crate::message::printable(&name);
        metadata.properties.insert("description".to_owned(), name);
        metadata.mark().map_err(Fault::Read)?;
        Ok(metadata)
    }

    fn import_root(
        &self,
        client: &mut Client,
        root: &Root,
        here: &[String],
        tell: Tell<'_>,
    ) -> Result<Imported, Fault> {
        let own = here.first().map_or("", String::as_str);
        let architecture = root.architecture.unwrap_or(own);
        check(architecture, here)?;
        let mut metadata = self.metadata(architecture)?;
        metadata.describe(root.os_release.as_deref().unwrap_or_default());
        if root.has_etc {
            metadata.name_hosts();
        }
        self.send_root(client, &metadata, tell)
    }

    fn import_squashfs(
        &self,
        client: &mut Client,
        here: &[String],
        tell: Tell<'_>,
    ) -> Result<Imported, Fault> {
        for path in halves(&self.path) {
            if let Some((file, Kind::Half(metadata))) = known(&path) {
                check(&metadata.architecture, here)?;
                return self.send_both(client, &file, &self.file, tell);
            }
        }
        let metadata = self.metadata(here.first().map_or("", String::as_str))?;
        self.send_root(client, &metadata, tell)
    }

    fn import_unified(
        &self,
        client: &mut Client,
        metadata: &Metadata,
        here: &[String],
        tell: Tell<'_>,
    ) -> Result<Imported, Fault> {
        check(&metadata.architecture, here)?;
        let (mut whole, total) = self.whole()?;
        let mut sent = |sent| tell(Progress::Sent(sent, Some(total)));
        let sent = client.import_unified(&mark(), &mut sent, |body| read(&mut whole, body));
        imported(sent)
    }

    fn import_half(
        &self,
        client: &mut Client,
        metadata: &Metadata,
        here: &[String],
        tell: Tell<'_>,
    ) -> Result<Imported, Fault> {
        check(&metadata.architecture, here)?;
        let looked_for = halves(&self.path);
        for path in &looked_for {
            if let Some((root, Kind::Root(_) | Kind::Squashfs)) = known(path) {
                return self.send_both(client, &self.file, &root, tell);
            }
        }
        Err(Fault::Half { missing: "root directory", looked_for })
    }

    fn import_container(
        &self,
        client: &mut Client,
        here: &[String],
        tell: Tell<'_>,
    ) -> Result<Imported, Fault> {
        let until_it_is_sent = let_pass();
        let unpacked = self.uncompressed()?;
        let file = unpacked.as_ref().unwrap_or(&self.file);
        let container = container::open(file, here)?;
        let count = container.layers.len() as u64;
        let merged =
            layers::merge(&container.layers, &mut |read| tell(Progress::Layers(read, count)))?;
        let architecture = match container.architecture.as_str() {
            "" => merged.architecture.or(here.first().map(String::as_str)).unwrap_or_default(),
            known => known,
        };
        check(architecture, here)?;
        let mut metadata = self.metadata(architecture)?;
        metadata.describe(merged.os_release.as_deref().unwrap_or_default());
        let init = init_of(&merged.tree);
        note(&mut metadata, &container);
        metadata.note_init(init);
        if matches!(merged.tree.find("etc"), Some((_, node)) if node.what == What::Directory) {
            metadata.name_hosts();
        }
        drop(until_it_is_sent);
        let mut imported = self.send(client, &metadata, None, tell, |body| {
            layers::write(&container.layers, &merged.tree, body).map_err(Stop)
        })?;
        imported.init = init;
        imported.oci = Some(container.config);
        imported.devices_left_out = merged.tree.devices();
        Ok(imported)
    }

    /// The file decompressed, where it is compressed: its parts are needed in any order.
    fn uncompressed(&self) -> Result<Option<File>, Fault> {
        let mut head = Vec::new();
        self.whole()?.0.take(16).read_to_end(&mut head).map_err(Fault::Read)?;
        match Compression::of(&head) {
            Compression::None => Ok(None),
            compression => temporary::copy(compression.reader(self.whole()?.0)).map(Some),
        }
    }

    /// Sends metadata of ours and the file as it is.
    fn send_root(
        &self,
        client: &mut Client,
        metadata: &Metadata,
        tell: Tell<'_>,
    ) -> Result<Imported, Fault> {
        let (mut whole, total) = self.whole()?;
        self.send(client, metadata, Some(total), tell, |body| read(&mut whole, body))
    }

    fn send(
        &self,
        client: &mut Client,
        metadata: &Metadata,
        total: Option<u64>,
        tell: Tell<'_>,
        root: impl FnOnce(&mut Body<'_>) -> Result<(), Stop>,
    ) -> Result<Imported, Fault> {
        let metadata = metadata.archive().map_err(Fault::Read)?;
        let boundary = random().map_err(Fault::Read)?;
        let mut sent = |sent| tell(Progress::Sent(sent, total));
        let sent = client.import_split(
            &boundary,
            &mark(),
            &mut sent,
            |body| Ok(body.write_all(&metadata)?),
            root,
        );
        imported(sent)
    }

    /// Sends two files as they are.
    fn send_both(
        &self,
        client: &mut Client,
        metadata: &File,
        root: &File,
        tell: Tell<'_>,
    ) -> Result<Imported, Fault> {
        let whole = |file| Section::whole(file).map_err(Fault::Read);
        let (mut metadata, mut content) = (whole(metadata)?, whole(root)?);
        let total = root.metadata().map_err(Fault::Read)?.len();
        let boundary = random().map_err(Fault::Read)?;
        let mut sent = |sent| tell(Progress::Sent(sent, Some(total)));
        let sent = client.import_split(
            &boundary,
            &mark(),
            &mut sent,
            |body| read(&mut metadata, body),
            |body| read(&mut content, body),
        );
        imported(sent)
    }
}

/// Why the making of a body stopped. Where the connection broke, that is what is told instead.
struct Stop(Fault);

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop(Fault::Read(error))
    }
}

fn read(source: &mut Section<'_>, body: &mut Body<'_>) -> Result<(), Stop> {
    copy(source, body)?;
    Ok(())
}

fn imported(sent: Result<(String, Novelty), Failure<Stop>>) -> Result<Imported, Fault> {
    match sent {
        Ok((fingerprint, novelty)) => Ok(Imported {
            fingerprint,
            novelty,
            init: Init::Unknown,
            oci: None,
            devices_left_out: 0,
        }),
        Err(Failure::Incus(error)) => Err(Fault::Incus(error)),
        Err(Failure::Source(Stop(fault))) => Err(fault),
        Err(Failure::Signal(signal)) => Err(Fault::Signal(signal)),
    }
}

/// Opens a regular file; a pipe that nobody writes to must not make us wait.
fn open(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let mut file = options.open(path).map_err(Fault::Open)?;
    if !file.metadata().map_err(Fault::Open)?.is_file() {
        return Err(Fault::NotRegular);
    }
    file.rewind().map_err(Fault::Open)?;
    Ok(file)
}

fn check(architecture: &str, here: &[String]) -> Result<(), Fault> {
    if here.is_empty() || fits(architecture, here) {
        return Ok(());
    }
    Err(Fault::Architecture { image: vec![architecture.to_owned()], here: here.to_owned() })
}

/// What a file beside ours is, if it is anything.
fn known(path: &Path) -> Option<(File, Kind)> {
    let file = open(path).ok()?;
    let kind = recognise(&file).ok()?;
    Some((file, kind))
}

/// The names that the other half of an image in two files may have: those of `incus image export`
/// (`meta-FP.tar.xz` and `FP.squashfs`, or `NAME` and `NAME.root`) and of the image server
/// (`incus.tar.xz` and `rootfs.squashfs`).
fn halves(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let endings = ["squashfs", "tar.xz", "tar.zst", "tar.gz", "tar.bz2", "tar"];
    let stem = |name: &str| {
        let ending = endings.iter().find_map(|ending| name.strip_suffix(ending)?.strip_suffix('.'));
        ending.unwrap_or(name).to_owned()
    };
    let mut names = vec![format!("{name}.root")];
    names.extend(name.strip_suffix(".root").map(str::to_owned));
    let bare = stem(&name);
    let other = match bare.as_str() {
        "incus" | "metadata" | "meta" | "lxd" => vec!["rootfs".to_owned()],
        "rootfs" => vec!["incus".to_owned(), "metadata".to_owned()],
        _ => match bare.strip_prefix("meta-") {
            Some(fingerprint) => vec![fingerprint.to_owned()],
            None => vec![format!("meta-{bare}")],
        },
    };
    names.extend(other.iter().flat_map(|other| endings.map(|it| format!("{other}.{it}"))));
    names.into_iter().map(|name| path.with_file_name(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_half_is_looked_for_where_exports_put_it() {
        let has = |name: &str, other: &str| {
            halves(&Path::new("/x").join(name)).contains(&Path::new("/x").join(other))
        };
        assert!(has("meta-ab12.tar.xz", "ab12.squashfs"));
        assert!(has("ab12.squashfs", "meta-ab12.tar.xz"));
        assert!(has("my.image", "my.image.root"));
        assert!(has("incus.tar.xz", "rootfs.squashfs"));
        assert!(has("metadata.tar", "rootfs.tar.zst"));
    }
}
