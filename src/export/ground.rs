//! What is on the host already, and where things go there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::apply::is_entry;
use super::beside;
use super::manifest::{Exports, Manifest};
use super::plan::{Ground, UNITS};
use crate::desktop::entry::SERVICES;
use crate::desktop::hosted::mime::{Known, PACKAGES};
use crate::desktop::hosted::{bus, digest};
use crate::incus::Client;

/// How deep directories of entries are looked into.
const DEEPEST: usize = 6;

/// Looks at the host, for a box with these exports, but for [`types`].
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
    Ok(Ground { data, runner: runner()?, ids, units, beside, buses, types: None, project })
}

/// Manual pages and completions of the user's own.
fn files_beside(data: &Path, is_ours: impl Fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    beside::DIRECTORIES
        .iter()
        .filter_map(|below| std::fs::read_dir(data.join(below)).ok())
        .flat_map(|there| there.flatten().map(|entry| entry.path()))
        .filter(|path| !is_ours(path))
        .collect()
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
        .filter_map(|path| bus::name_in(&std::fs::read(path).ok()?))
        .collect()
}

/// The files that say what types of files there are: those of data bases, by the directories they are
/// in, and the packages of the user's own, but for ours.
fn type_files(own: &Path, manifest: &Manifest) -> (Vec<[PathBuf; 3]>, Vec<PathBuf>) {
    let bases = xdg::BaseDirectories::new().get_data_dirs();
    let base =
        |data: PathBuf| ["types", "aliases", "globs2"].map(|name| data.join("mime").join(name));
    let is_ours = |path: &PathBuf| manifest.boxes.iter().any(|one| one.files.contains_key(path));
    let there = std::fs::read_dir(own.join(PACKAGES)).into_iter().flatten().flatten();
    let there = there.map(|entry| entry.path()).filter(|path| path.is_file() && !is_ours(path));
    let mut packages: Vec<PathBuf> = there.collect();
    packages.sort_unstable();
    (bases.into_iter().map(base).collect(), packages)
}

/// What the host knows of types of files. `None` where there is no data base.
pub fn types(own: &Path, manifest: &Manifest) -> Option<Known> {
    let (bases, packages) = type_files(own, manifest);
    let mut known = Known::default();
    for base in &bases {
        let [types, aliases, globs] = base.each_ref().map(|path| {
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        });
        known.add_base(&types, &aliases, &globs);
    }
    if known.is_empty() {
        return None;
    }
    for path in packages {
        known.add_package(&std::fs::read(path).unwrap_or_default());
    }
    Some(known)
}

/// What tells all that a plan is made from, but the box's answers, from anything else. `None` where it
/// cannot be told.
pub fn fingerprint(
    ground: &Ground,
    manifest: &Manifest,
    exports: &Exports,
    of_box: &impl Serialize,
) -> Option<String> {
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    };
    let (bases, packages) = type_files(&ground.data, manifest);
    let files: Vec<_> = bases.into_iter().flatten().chain(packages).collect();
    let files: Vec<_> = files.iter().map(|path| (path, stamp(path))).collect();
    let own = std::env::current_exe().ok();
    let Ground { data, runner, ids, units, beside, buses, types: _, project } = ground;
    let host =
        (data, runner, ids, units, beside, buses, project, files, own.as_ref().and_then(stamp));
    let chosen = (&exports.chosen, &exports.types);
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
