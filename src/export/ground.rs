//! What is on the host already, and where things go there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags};
use serde::Serialize;

use super::apply::is_entry;
use super::beside;
use super::manifest::{Exports, Manifest};
use crate::agent::protocol::apps::MOST_BUS;
use crate::agent::protocol::service::ServiceName;
use crate::desktop::entry::SERVICES;
use crate::desktop::hosted::mime::{Known, PACKAGES};
use crate::desktop::hosted::{bus, digest};
use crate::incus::Client;

/// Where units go, below the data directory.
pub const UNITS: &str = "systemd/user";
/// Where hosts have their commands.
const COMMANDS: [&str; 6] =
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
/// How deep directories of entries are looked into.
const DEEPEST: usize = 6;

/// Where files of a kind go on the host, and what is there.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// `$XDG_DATA_HOME`.
    pub data: PathBuf,
    /// `incusbox-run`, by its path.
    pub runner: String,
    /// The ids of entries that are not this box's.
    pub ids: BTreeSet<String>,
    /// The names of the user's units that are not this box's.
    pub units: BTreeSet<String>,
    /// Manual pages and completions in the user's directories that are not this box's, and directories
    /// for them that cannot be written.
    pub beside: BTreeSet<PathBuf>,
    /// The names that the session bus starts something for which is not this box's; `None` where
    /// the box is not on the host's bus.
    pub buses: Option<BTreeSet<String>>,
    /// The shims outside of `~/.local/bin` whose commands the host has, too.
    pub second: BTreeSet<PathBuf>,
    /// The files that say what types of files there are, as they were before they were read.
    pub type_files: TypeFiles,
    /// What types of files there are; `None` where nothing tells.
    pub types: Option<Known>,
    /// The project, where `incusbox-run` has to be told.
    pub project: Option<String>,
}

/// What tells whether a file is the same: inode, size, time of change.
type Stamp = (u64, u64, i64, i64);

/// The files that say what types of files there are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TypeFiles {
    /// Those of data bases, by the directories they are in: types, other names, endings.
    bases: Vec<[PathBuf; 3]>,
    /// The packages of the user's own, but for ours.
    packages: Vec<PathBuf>,
    stamps: Vec<Option<Stamp>>,
}

impl Ground {
    /// Whether the host has a unit of this name, or a template before which it would come.
    pub fn has_unit(&self, service: &ServiceName) -> bool {
        let name = service.as_str();
        let template = name.split_once('@').map(|(stem, _)| format!("{stem}@.service"));
        self.units.contains(name) || template.is_some_and(|template| self.units.contains(&template))
    }
}

/// Looks at the host, for a box with these exports, but for the types of files, which take a while ([`TypeFiles::read`]).
///
/// # Errors
/// When there is no home, or `incusbox-run` is not beside this program.
pub fn look(
    client: &Client,
    manifest: &Manifest,
    exports: &Exports,
    is_on_bus: bool,
) -> io::Result<Ground> {
    let data = data_home()?;
    let own = data.join("applications");
    let mut ids = BTreeSet::new();
    let directories = xdg::BaseDirectories::new().get_data_dirs();
    for directory in directories.iter().map(|path| path.join("applications")) {
        walk(&directory, "", DEEPEST, &mut |id, _| {
            ids.insert(id);
        });
    }
    walk(&own, "", DEEPEST, &mut |id, path| {
        if !exports.files.contains_key(path) {
            ids.insert(id);
        }
    });
    let is_ours = |path: &Path| exports.files.contains_key(path);
    let mut units: BTreeSet<String> = unit_directories(&data)
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|there| there.flatten())
        .filter(|entry| !is_ours(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let mut buses = is_on_bus.then(|| names_on_bus(&data, &directories, is_ours));
    let mut beside = files_beside(&data, is_ours);
    let own_units = data.join(UNITS);
    let own_buses = data.join(SERVICES);
    // Also those of other boxes that somebody took away just now.
    let others = manifest.boxes.iter().filter(|one| one.uuid != exports.uuid);
    for path in others.flat_map(|one| one.files.keys()) {
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
        if beside::DIRECTORIES.iter().any(|below| path.starts_with(data.join(below))) {
            beside.insert(path.clone());
        }
        match path.parent() {
            Some(parent) if parent == own && is_entry(path) => drop(ids.insert(file.to_owned())),
            Some(parent) if parent == own_units => drop(units.insert(file.to_owned())),
            Some(parent) if parent == own_buses => {
                let stem = file.strip_suffix(".service").unwrap_or(file).to_owned();
                buses.iter_mut().for_each(|names| names.extend([stem.clone()]));
            }
            _ => {}
        }
    }
    let named = client.project().filter(|project| *project != "default");
    let implied = client.daemon().implied_project();
    let project = named.filter(|project| implied.as_deref() != Some(project));
    let project = project.map(str::to_owned);
    let own_commands = std::env::home_dir().map(|home| home.join(".local/bin"));
    let is_second = |shim: &&PathBuf| {
        let is_hosts = |name| COMMANDS.iter().any(|place| Path::new(place).join(name).is_file());
        shim.parent() != own_commands.as_deref() && shim.file_name().is_some_and(is_hosts)
    };
    let second = exports.chosen.commands.keys().filter(is_second).cloned().collect();
    let type_files = TypeFiles::find(&data, manifest);
    let runner = runner()?;
    let types = None;
    Ok(Ground { data, runner, ids, units, beside, buses, second, type_files, types, project })
}

/// Manual pages and completions of the user's own.
fn files_beside(data: &Path, is_ours: impl Fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    let directories = beside::DIRECTORIES.iter().map(|below| data.join(below));
    let (usable, shut): (Vec<_>, Vec<_>) = directories.partition(|path| is_writable(path));
    usable
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|there| there.flatten().map(|entry| entry.path()))
        .filter(|path| !is_ours(path))
        .chain(shut)
        .collect()
}

/// Whether files can be put into a directory, if need be after it is made.
fn is_writable(directory: &Path) -> bool {
    let there = directory.ancestors().find(|path| path.symlink_metadata().is_ok());
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    there.is_some_and(|path| path.is_dir() && rustix::fs::access(path, wanted).is_ok())
}

/// The names that the session bus starts something for, but for what is ours.
///
/// Source: dbus-daemon(1), `standard_session_servicedirs`.
fn names_on_bus(
    own: &Path,
    directories: &[PathBuf],
    is_ours: impl Fn(&Path) -> bool,
) -> BTreeSet<String> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let fixed = ["/usr/local/share", "/usr/share"].map(PathBuf::from);
    let places: BTreeSet<PathBuf> = runtime
        .into_iter()
        .chain(directories.iter().cloned())
        .chain(fixed)
        .chain([own.into()])
        .collect();
    places
        .iter()
        .filter_map(|place| std::fs::read_dir(place.join(SERVICES)).ok())
        .flat_map(|there| there.flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "service") && !is_ours(path))
        .filter_map(|path| bus::name_in(&small_file(&path)?))
        .collect()
}

/// A small regular file, whatever is there instead of one: a shared home is also a box's.
fn small_file(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let is_file = file.metadata().ok()?.is_file();
    let mut bytes = Vec::new();
    file.take(MOST_BUS as u64).read_to_end(&mut bytes).ok().filter(|_| is_file)?;
    Some(bytes)
}

impl TypeFiles {
    fn find(own: &Path, manifest: &Manifest) -> TypeFiles {
        let base =
            |data: PathBuf| ["types", "aliases", "globs2"].map(|name| data.join("mime").join(name));
        let bases: Vec<_> =
            xdg::BaseDirectories::new().get_data_dirs().into_iter().map(base).collect();
        let is_ours =
            |path: &PathBuf| manifest.boxes.iter().any(|one| one.files.contains_key(path));
        let there = std::fs::read_dir(own.join(PACKAGES)).into_iter().flatten().flatten();
        let there = there.map(|entry| entry.path()).filter(|path| path.is_file() && !is_ours(path));
        let mut packages: Vec<PathBuf> = there.collect();
        packages.sort_unstable();
        let stamps = bases.iter().flatten().chain(&packages).map(stamp).collect();
        TypeFiles { bases, packages, stamps }
    }

    /// What the host knows of types of files. `None` where there is no data base.
    pub fn read(&self) -> Option<Known> {
        let mut known = Known::default();
        for base in &self.bases {
            let [types, aliases, globs] = base.each_ref().map(|path| {
                String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
            });
            known.add_base(&types, &aliases, &globs);
        }
        if known.is_empty() {
            return None;
        }
        for path in &self.packages {
            known.add_package(&std::fs::read(path).unwrap_or_default());
        }
        Some(known)
    }
}

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
}

/// What tells all that a plan is made from, but the box's answers, from anything else. `None` where it
/// cannot be told.
pub fn fingerprint(ground: &Ground, exports: &Exports, of_box: &impl Serialize) -> Option<String> {
    let Ground {
        data,
        runner,
        ids,
        units: _,
        beside,
        buses,
        second,
        type_files,
        types: _,
        project,
    } = ground;
    // Of all units a session makes new ones with every program.
    let taken: Vec<bool> =
        exports.chosen.services.iter().map(|service| ground.has_unit(service)).collect();
    let host = (data, runner, ids, taken, beside, buses, second, type_files, project);
    let own = std::env::current_exe().ok().as_ref().and_then(stamp);
    let chosen = (&exports.chosen, &exports.types, own);
    Some(digest(&serde_json::to_vec(&(of_box, host, chosen)).ok()?))
}

/// Where the user's service manager finds units (systemd.unit(5)).
fn unit_directories(data: &Path) -> Vec<PathBuf> {
    let base = xdg::BaseDirectories::new();
    let own = base.get_config_home().map(|config| config.join(UNITS));
    let fixed = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"];
    let fixed = fixed.iter().map(|place| Path::new(place).join(UNITS));
    let others = base.get_data_dirs().into_iter().map(|data| data.join(UNITS));
    let runtime =
        std::env::var_os("XDG_RUNTIME_DIR").map(|path| PathBuf::from(path).join("systemd"));
    let made = ["user", "generator.early", "generator", "generator.late", "transient"];
    let made = runtime.iter().flat_map(|runtime| made.map(|name| runtime.join(name)));
    let own: Vec<PathBuf> = own.into_iter().chain(made).collect();
    own.into_iter().chain(fixed).chain(others).chain([data.join(UNITS)]).collect()
}

/// Whether a file is a unit.
pub fn is_unit(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "service")
        && path.parent().is_some_and(|parent| parent.ends_with(UNITS))
}

/// `$XDG_DATA_HOME`.
///
/// # Errors
/// When there is no home.
pub fn data_home() -> io::Result<PathBuf> {
    xdg::BaseDirectories::new()
        .get_data_home()
        .ok_or_else(|| io::Error::other("the variable HOME is not set"))
}

/// The names of the desktop, `$XDG_CURRENT_DESKTOP`, in small letters.
pub fn desktops() -> Vec<String> {
    let names = std::env::var("XDG_CURRENT_DESKTOP").unwrap_or_default().to_lowercase();
    names.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The variables by which all this is decided.
pub fn environment() -> BTreeMap<String, String> {
    let names = ["XDG_DATA_HOME", "XDG_DATA_DIRS", "XDG_CURRENT_DESKTOP", "KDE_SESSION_VERSION"];
    names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}

/// Whether these are KDE's.
pub fn is_kde(desktops: &[String]) -> bool {
    desktops.iter().any(|name| name == "kde")
}

/// `incusbox-run`, beside this program.
fn runner() -> io::Result<String> {
    let path = std::env::current_exe()?.with_file_name("incusbox-run");
    let none = || io::Error::other(format!("`{}` is not there", path.display()));
    if !path.is_file() {
        return Err(none());
    }
    path.to_str().map(str::to_owned).ok_or_else(none)
}

/// Tells of every entry below a directory, by its id.
fn walk(directory: &Path, prefix: &str, depth: usize, tell: &mut dyn FnMut(String, &Path)) {
    let Ok(there) = std::fs::read_dir(directory) else { return };
    for entry in there.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let id = format!("{prefix}{name}");
        if name.ends_with(".desktop") {
            tell(id, &entry.path());
        } else if depth > 0 && entry.path().is_dir() {
            walk(&entry.path(), &format!("{id}-"), depth - 1, tell);
        }
    }
}
