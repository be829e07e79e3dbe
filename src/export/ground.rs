//! What is on the host already, and where things go there.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{Exports, Manifest};
use super::plan::Ground;
use crate::incus::Client;

/// How deep directories of entries are looked into.
const DEEPEST: usize = 6;

/// Looks at the host, for a box with these exports.
///
/// # Errors
/// When there is no home, or `incusbox-run` is not beside this program.
pub fn look(client: &Client, manifest: &Manifest, exports: &Exports) -> io::Result<Ground> {
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
    // Also those of other boxes that somebody took away just now.
    let others = manifest.boxes.iter().filter(|one| one.uuid != exports.uuid);
    let paths = others.flat_map(|one| one.files.keys()).filter(|path| path.parent() == Some(&own));
    ids.extend(paths.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())));
    let named = client.project().filter(|project| *project != "default");
    let implied = client.daemon().implied_project();
    let project = named.filter(|project| implied.as_deref() != Some(project));
    Ok(Ground { data, runner: runner()?, ids, project: project.map(str::to_owned) })
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
