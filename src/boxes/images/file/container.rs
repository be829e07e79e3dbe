//! Container images as `docker save`, `podman save` and `skopeo copy` write them into one file: an
//! archive with a manifest, a configuration and layers.
//!
//! Two forms, which newer Docker writes both into one archive: the older one has `manifest.json`
//! (moby/moby, `image/spec/v1.2.md`), the OCI layout `index.json` and `blobs/` (OCI image
//! specification, "Image Layout").

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::architecture::{fits, of_oci};
use super::entries::{Entries, Kind};
use super::error::Fault;
use super::layers::{Layer, verify};
use super::recognise::tidy;
use super::section::Section;

/// The most members of the outer archive: three for each layer, in the oldest form.
const MOST_MEMBERS: usize = 20_000;
/// The most layers; Docker itself makes at most 127.
const MOST_LAYERS: usize = 1000;
/// The most of a manifest or configuration, in bytes.
const MOST_JSON: u64 = 8 << 20;
/// How deep an index may point to indexes.
const MOST_DEPTH: usize = 4;
/// The most links from member to member: old Docker writes a layer once for several images.
const MOST_LINKS: usize = 8;

/// A container image in a file.
#[derive(Debug)]
pub struct Container<'f> {
    /// The name that it was saved under.
    pub name: Option<String>,
    /// What machine it is for, in Incus's names.
    pub architecture: String,
    /// Its settings.
    pub config: Config,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer<'f>>,
}

/// The settings of a container image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The program that is always run.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or the whole command where there is no entrypoint.
    pub cmd: Option<Vec<String>>,
    /// Variables, `NAME=VALUE`.
    pub env: Option<Vec<String>>,
    /// The directory that it runs in.
    pub working_dir: Option<String>,
    /// The user, `USER[:GROUP]`, by names or numbers.
    pub user: Option<String>,
    /// The signal that ends it.
    pub stop_signal: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    os: String,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<Config>,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

/// A manifest or an index: which one is told by what it has.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// What the outer archive has.
enum Member<'f> {
    File(Section<'f>),
    /// Another member's name.
    Link(Vec<u8>),
}

struct Members<'f>(BTreeMap<Vec<u8>, Member<'f>>);

/// Opens the image in `file`, which must not be compressed, for a machine that runs `here`.
///
/// # Errors
/// For a file that is not whole, of another machine, or with several images.
pub fn open<'f>(file: &'f File, here: &[String]) -> Result<Container<'f>, Fault> {
    let members = Members::read(file)?;
    if members.0.contains_key(&b"manifest.json"[..]) {
        return members.docker(here);
    }
    members.oci(here)
}

impl<'f> Members<'f> {
    fn read(file: &'f File) -> Result<Members<'f>, Fault> {
        let section = Section::whole(file).map_err(Fault::Read)?;
        let mut entries = Entries::new(section, Section::skip);
        let mut members = BTreeMap::new();
        while let Some(entry) = entries.next()? {
            if members.len() >= MOST_MEMBERS {
                return Err(Fault::TooMuch("a container image with over 20000 parts"));
            }
            let name = tidy(&entry.name);
            let member = match entry.kind {
                Kind::File => {
                    Member::File(Section::new(file, entries.source().position(), entry.size))
                }
                // Relative to where the link is, as every symbolic link.
                Kind::Symlink => match beside(&name, &entry.link) {
                    Some(target) => Member::Link(target),
                    None => continue,
                },
                Kind::HardLink => Member::Link(tidy(&entry.link)),
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Members(members))
    }

    fn get(&self, name: &str) -> Result<Section<'f>, Fault> {
        let mut at = tidy(name.as_bytes());
        for _ in 0..MOST_LINKS {
            match self.0.get(&at) {
                Some(Member::File(section)) => return Ok(section.clone()),
                Some(Member::Link(target)) => at.clone_from(target),
                None => break,
            }
        }
        Err(Fault::Missing(name.to_owned()))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Fault> {
        let mut text = Vec::new();
        self.get(name)?.take(MOST_JSON).read_to_end(&mut text).map_err(Fault::Read)?;
        serde_json::from_slice(&text)
            .map_err(|error| Fault::Damaged(format!("`{name}` in it is malformed: {error}")))
    }

    fn docker(&self, here: &[String]) -> Result<Container<'f>, Fault> {
        let manifests: Vec<DockerManifest> = self.json("manifest.json")?;
        let names = |manifest: &DockerManifest| {
            let mut tags = manifest.repo_tags.iter().flatten();
            tags.next().cloned().unwrap_or_else(|| manifest.config.clone())
        };
        let [manifest] = manifests.as_slice() else {
            return Err(match manifests.is_empty() {
                true => Fault::Missing("an image in manifest.json".to_owned()),
                false => Fault::Several(manifests.iter().map(names).collect()),
            });
        };
        // The configuration is named by its digest, with `.json` or below `blobs/`.
        let base = manifest.config.rsplit('/').next().unwrap_or_default();
        let base = base.strip_suffix(".json").unwrap_or(base);
        if is_digest(base) {
            verify(&manifest.config, &self.get(&manifest.config)?, base)?;
        }
        let layers = manifest.layers.iter().map(|name| (name.clone(), None)).collect();
        let name = manifest.repo_tags.iter().flatten().next().cloned();
        self.container(name, &manifest.config, layers, here)
    }

    fn oci(&self, here: &[String]) -> Result<Container<'f>, Fault> {
        let index: Manifest = self.json("index.json")?;
        let mut images = Vec::new();
        self.flatten(index.manifests.unwrap_or_default(), MOST_DEPTH, &mut images)?;
        let chosen = choose(images, here)?;
        let name = reference(&chosen).cloned();
        let manifest: Manifest = self.json(&self.blob(&chosen.digest)?)?;
        let config = manifest.config.ok_or_else(|| Fault::Missing("a configuration".to_owned()))?;
        let layers = manifest
            .layers
            .iter()
            .map(|layer| Ok((path(&layer.digest)?, Some(digits(&layer.digest)?.to_owned()))));
        let layers = layers.collect::<Result<_, Fault>>()?;
        self.container(name, &self.blob(&config.digest)?, layers, here)
    }

    /// The member that a digest names, after its content was compared with that.
    fn blob(&self, digest: &str) -> Result<String, Fault> {
        let path = path(digest)?;
        verify(&path, &self.get(&path)?, digits(digest)?)?;
        Ok(path)
    }

    /// All images that an index points to, also by way of others.
    fn flatten(
        &self,
        descriptors: Vec<Descriptor>,
        depth: usize,
        images: &mut Vec<Descriptor>,
    ) -> Result<(), Fault> {
        for mut descriptor in descriptors {
            if images.len() > MOST_LAYERS || depth == 0 {
                return Err(Fault::TooMuch("an index of images without end"));
            }
            // An index of many platforms may come with the one that was pulled alone.
            if self.get(&path(&descriptor.digest)?).is_err() {
                continue;
            }
            let blob = self.blob(&descriptor.digest)?;
            let manifest: Manifest = self.json(&blob)?;
            match manifest.manifests {
                Some(mut inner) => {
                    for one in &mut inner {
                        one.annotations.extend(descriptor.annotations.clone());
                    }
                    self.flatten(inner, depth - 1, images)?;
                }
                None => {
                    if descriptor.platform.is_none() {
                        descriptor.platform = self.platform(&manifest);
                    }
                    images.push(descriptor);
                }
            }
        }
        Ok(())
    }

    /// What an image's own configuration says it is for.
    fn platform(&self, manifest: &Manifest) -> Option<Platform> {
        let config = manifest.config.as_ref()?;
        self.json(&path(&config.digest).ok()?).ok()
    }

    fn container(
        &self,
        name: Option<String>,
        config: &str,
        layers: Vec<(String, Option<String>)>,
        here: &[String],
    ) -> Result<Container<'f>, Fault> {
        let file: ConfigFile = self.json(config)?;
        let architecture = of_oci(&file.architecture, file.variant.as_deref());
        let is_linux = matches!(file.os.as_str(), "" | "linux");
        if !is_linux || !(architecture.is_empty() || fits(&architecture, here)) {
            let image =
                if is_linux { architecture } else { format!("{architecture} on {}", file.os) };
            return Err(Fault::Architecture { image: vec![image], here: here.to_owned() });
        }
        if layers.len() > MOST_LAYERS {
            return Err(Fault::TooMuch("it has over 1000 layers"));
        }
        let diff_ids = file.rootfs.diff_ids;
        if !diff_ids.is_empty() && diff_ids.len() != layers.len() {
            return Err(Fault::Damaged("its configuration is for other layers".to_owned()));
        }
        let layers = layers.into_iter().enumerate().map(|(number, (name, digest))| {
            let diff_id = match diff_ids.get(number) {
                Some(diff_id) => Some(digits(diff_id)?.to_owned()),
                None => None,
            };
            Ok(Layer { section: self.get(&name)?, name, digest, diff_id })
        });
        Ok(Container {
            name,
            architecture,
            config: file.config.unwrap_or_default(),
            created: file.created.unwrap_or_default(),
            layers: layers.collect::<Result<_, Fault>>()?,
        })
    }
}

/// The name that an image was saved under.
fn reference(descriptor: &Descriptor) -> Option<&String> {
    let names = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    names.iter().find_map(|name| descriptor.annotations.get(*name))
}

/// The image for a machine that runs `here`, the first of these before others.
fn choose(images: Vec<Descriptor>, here: &[String]) -> Result<Descriptor, Fault> {
    let is_image = |image: &Descriptor| {
        let platform = image.platform.as_ref();
        // What Docker says of how an image was built, as if it were one.
        platform.is_none_or(|platform| platform.os != "unknown")
            && !image.annotations.contains_key("vnd.docker.reference.type")
    };
    let architecture = |image: &Descriptor| match &image.platform {
        Some(platform) if matches!(platform.os.as_str(), "linux" | "") => {
            of_oci(&platform.architecture, platform.variant.as_deref())
        }
        Some(platform) => format!("{}/{}", platform.os, platform.architecture),
        None => String::new(),
    };
    let images: Vec<Descriptor> = images.into_iter().filter(is_image).collect();
    let rank = |image: &Descriptor| {
        let architecture = architecture(image);
        let exact = here.iter().position(|name| *name == architecture);
        exact.or((architecture.is_empty() || fits(&architecture, here)).then_some(here.len()))
    };
    let Some(best) = images.iter().filter_map(rank).min() else {
        return Err(match images.is_empty() {
            true => Fault::Missing("an image in index.json".to_owned()),
            false => {
                let image = images.iter().map(architecture).collect();
                Fault::Architecture { image, here: here.to_owned() }
            }
        });
    };
    let mut fitting: Vec<Descriptor> =
        images.into_iter().filter(|image| rank(image) == Some(best)).collect();
    fitting.dedup_by(|a, b| a.digest == b.digest);
    if fitting.len() > 1 {
        let name = |image: &Descriptor| reference(image).unwrap_or(&image.digest).clone();
        return Err(Fault::Several(fitting.iter().map(name).collect()));
    }
    fitting.pop().ok_or_else(|| Fault::Missing("an image in index.json".to_owned()))
}

/// The hexadecimal digits of `sha256:…`, the only algorithm in use.
fn digits(digest: &str) -> Result<&str, Fault> {
    let digits = digest.strip_prefix("sha256:").filter(|digits| is_digest(digits));
    digits.ok_or_else(|| Fault::Damaged(format!("`{digest}` in it is no SHA-256 digest")))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn path(digest: &str) -> Result<String, Fault> {
    Ok(format!("blobs/sha256/{}", digits(digest)?))
}

/// Where a symbolic link `link` of the member `name` leads, inside the archive.
fn beside(name: &[u8], link: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = name.split(|b| *b == b'/').collect();
    parts.pop();
    for part in link.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
