//! The remotes of the user's Incus client: `config.yml`, with the ones that are built in.
//!
//! Read the way the client reads it (lxc/incus 6.0.4, `shared/cliconfig/file.go`), with one
//! difference: a configuration without the remote `images` gets the built-in one, since the short
//! names are on it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Error;
use super::names::REMOTE as IMAGES;
use crate::incus::instances::near;

/// The image server that short names are on, unless the user's `images` is another.
const IMAGES_ADDRESS: &str = "https://images.linuxcontainers.org";
/// The daemon that we talk to.
pub const LOCAL: &str = "local";
/// Where the system's remotes are, unless INCUS_GLOBAL_CONF says otherwise.
const GLOBAL_DIRECTORY: &str = "/etc/incus";

/// How a remote is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A tree of files on a web server.
    Simplestreams,
    /// Another Incus.
    Incus,
    /// A registry of container images.
    Oci,
}

impl Protocol {
    /// The word for it in requests to Incus.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Simplestreams => "simplestreams",
            Protocol::Incus => "incus",
            Protocol::Oci => "oci",
        }
    }
}

/// Whether an Incus gives its images to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To everybody.
    Public,
    /// To those whom it trusts.
    Private,
}

/// A server that has images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its URL; `unix://` for the daemon's own socket.
    pub address: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Who may have its images.
    pub access: Access,
    /// The project there, for an Incus.
    pub project: Option<String>,
    /// The file of its certificate, where it is one that no authority vouches for.
    pub certificate: PathBuf,
}

impl Remote {
    /// Whether this is the daemon that we talk to.
    pub fn is_ours(&self) -> bool {
        matches!(self.address.as_str(), "unix://" | "unix:")
    }

    /// Whether this is a socket on this machine, ours or another.
    pub fn is_socket(&self) -> bool {
        self.address.starts_with("unix:")
    }

    /// The certificate, where there is one.
    ///
    /// # Errors
    /// [`Error::Certificate`] for a file that is there and cannot be read.
    pub fn certificate(&self) -> Result<Option<String>, Error> {
        match std::fs::read_to_string(&self.certificate) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Certificate { path: self.certificate.clone(), source }),
        }
    }
}

/// All remotes, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remotes(BTreeMap<String, Remote>);

/// `config.yml`, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    remotes: Option<BTreeMap<String, Entry>>,
}

/// A remote in `config.yml`.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    addr: String,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    project: String,
    #[serde(default)]
    public: bool,
}

impl Remotes {
    /// Reads the client's configuration where the environment says it is.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Protocol`]; a file that is not there is none.
    pub fn load() -> Result<Remotes, Error> {
        Remotes::load_from(|name| std::env::var_os(name))
    }

    fn load_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Remotes, Error> {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = set("INCUS_CONF").or_else(|| Some(set("HOME")?.join(".config/incus")));
        let global = set("INCUS_GLOBAL_CONF").unwrap_or_else(|| GLOBAL_DIRECTORY.into());
        let all: Vec<PathBuf> = [Some(global), own].into_iter().flatten().collect();
        Remotes::of(&all)
    }

    /// Reads the configurations in these directories; a later one wins.
    ///
    /// # Errors
    /// As [`Remotes::load`].
    pub fn of(directories: &[PathBuf]) -> Result<Remotes, Error> {
        let mut remotes = BTreeMap::new();
        for directory in directories {
            remotes.extend(read(directory)?);
        }
        let local = Remote {
            address: "unix://".to_owned(),
            protocol: Protocol::Incus,
            access: Access::Private,
            project: None,
            certificate: PathBuf::new(),
        };
        let images = Remote {
            address: IMAGES_ADDRESS.to_owned(),
            protocol: Protocol::Simplestreams,
            access: Access::Public,
            ..local.clone()
        };
        remotes.insert(LOCAL.to_owned(), local);
        remotes.entry(IMAGES.to_owned()).or_insert(images);
        Ok(Remotes(remotes))
    }

    /// The remote of this name.
    pub fn get(&self, name: &str) -> Option<&Remote> {
        self.0.get(name)
    }

    /// The names of all remotes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The remotes most like `name`, at most three.
    pub fn alike(&self, name: &str) -> Vec<String> {
        near(name, &self.names().map(str::to_owned).collect::<Vec<_>>())
    }
}

/// The remotes of one directory's `config.yml`.
fn read(directory: &Path) -> Result<BTreeMap<String, Remote>, Error> {
    let path = directory.join("config.yml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // A configuration that nobody may read is none of ours: the system's may be root's.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(Error::Config { path, why: error.to_string() }),
    };
    let config: Option<Config> = serde_yaml_ng::from_str(&text)
        .map_err(|error| Error::Config { path, why: error.to_string() })?;
    let entries = config.and_then(|config| config.remotes).unwrap_or_default();
    entries
        .into_iter()
        // A name becomes part of a file's path.
        .filter(|(name, _)| !name.contains('/') && !name.is_empty())
        .map(|(name, entry)| {
            let protocol = match entry.protocol.as_str() {
                "" | "incus" | "lxd" => Protocol::Incus,
                "simplestreams" => Protocol::Simplestreams,
                "oci" => Protocol::Oci,
                _ => return Err(Error::Protocol { remote: name, protocol: entry.protocol }),
            };
            let access = if entry.public { Access::Public } else { Access::Private };
            let project = Some(entry.project).filter(|name| !name.is_empty() && name != "default");
            let certificate = directory.join("servercerts").join(format!("{name}.crt"));
            let remote = Remote { address: entry.addr, protocol, access, project, certificate };
            Ok((name, remote))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str, config: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("ibx-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("servercerts")).expect("a directory");
            std::fs::write(path.join("config.yml"), config).expect("a file");
            Directory(path)
        }

        fn load(&self) -> Result<Remotes, Error> {
            Remotes::of(std::slice::from_ref(&self.0))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _left_behind = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_configuration_as_the_client_writes_it() {
        let directory = Directory::new(
            "remotes",
            "default-remote: local\n\
             remotes:\n  \
               docker:\n    addr: https://docker.io\n    protocol: oci\n    public: true\n  \
               images:\n    addr: https://mirror.example\n    protocol: simplestreams\n    public: true\n  \
               local:\n    addr: unix:///elsewhere\n    public: false\n  \
               work:\n    addr: https://10.0.0.1:8443\n    auth_type: tls\n    project: team\n    protocol: incus\n    public: false\n\
             aliases: {}\n",
        );
        std::fs::write(directory.0.join("servercerts/work.crt"), "PEM").expect("a file");
        let remotes = directory.load().expect("well-formed");
        assert_eq!(remotes.names().collect::<Vec<_>>(), ["docker", "images", "local", "work"]);
        let get = |name: &str| remotes.get(name).expect("known").clone();
        assert_eq!(get("docker").protocol, Protocol::Oci);
        assert_eq!(get("images").address, "https://mirror.example");
        assert!(get("local").is_ours(), "local cannot be another");
        let work = get("work");
        assert_eq!((work.access, work.project.as_deref()), (Access::Private, Some("team")));
        assert_eq!(work.certificate().expect("readable").as_deref(), Some("PEM"));
        assert_eq!(get("docker").certificate().expect("readable"), None);
        assert_eq!(remotes.alike("wrok"), ["work"]);
    }

    #[test]
    fn without_a_configuration_there_are_the_built_in_remotes() {
        for text in ["{}", "", "remotes: {}\n", "remotes:\n"] {
            let remotes = Directory::new("empty", text).load().expect("well-formed");
            assert_eq!(remotes.names().collect::<Vec<_>>(), ["images", "local"], "{text:?}");
        }
        let nowhere = Remotes::load_from(|_| Some("/nonexistent".into())).expect("none is fine");
        assert_eq!(nowhere.get("images").expect("built in").address, IMAGES_ADDRESS);
        assert!(Remotes::load_from(|_| None).is_ok());
    }

    #[test]
    fn a_configuration_that_is_none_is_said_to_be_so() {
        let broken = Directory::new("broken", "remotes: [\n").load().expect_err("no YAML");
        assert!(broken.to_string().contains("config.yml"), "{broken}");
        let strange = Directory::new("strange", "remotes:\n  x:\n    protocol: gopher\n").load();
        let strange = strange.expect_err("no protocol").to_string();
        assert!(strange.contains("`x` speaks `gopher`"), "{strange}");
    }
}
