//! What opens what on the host stays so: GLib takes an entry of the user's directory before those of
//! the system, where no list of defaults names one. So the defaults that exports would change are
//! written down, in the list of the user's data directory that counts after all that the user chose.
//!
//! KDE goes by preferences, which exports do not have, so nothing is written down for it: what GLib
//! takes there may be another program than what KDE takes.
//!
//! Source: Association between MIME types and applications 1.0.1; GLib's `gdesktopappinfo.c`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::ground;
use super::manifest::Manifest;
use super::plan::{Content, Plan, READ, Wanted};
use crate::desktop::entry::{MAIN, names};
use crate::desktop::keyfile::KeyFile;

/// Whose the lists are, in the place of a box's id and of a user.
pub const OWNER: &str = "defaults";
/// The most ancestors of a type that are looked at.
const MOST_ANCESTORS: usize = 50;

/// The host without boxes.
#[derive(Clone, Debug, Default)]
struct Host {
    /// Types with a default in a list, or with a program that the user added.
    explicit: BTreeSet<String>,
    /// The program of a type that is found first.
    first: BTreeMap<String, String>,
    /// What a type is, too.
    parents: BTreeMap<String, Vec<String>>,
}

/// Where things are.
#[derive(Clone, Debug)]
struct Places {
    /// Directories of configuration, the user's first.
    config: Vec<PathBuf>,
    /// Directories of data, the user's first.
    data: Vec<PathBuf>,
    /// The beginnings of the names of lists, `gnome-`, and nothing.
    desktops: Vec<String>,
}

/// The lists that there shall be for what is exported now.
pub fn plan(manifest: &Manifest) -> Plan {
    let mut plan = Plan::default();
    let types = exported(manifest);
    if types.is_empty() {
        return plan;
    }
    let own = manifest.boxes.iter().find(|one| one.uuid == OWNER);
    // Those for other desktops stay.
    for (path, record) in own.iter().flat_map(|one| &one.files) {
        plan.files.insert(path.clone(), wanted(Content::Same, record.users.clone()));
    }
    let directories = xdg::BaseDirectories::new();
    let (Some(config), Some(data)) = (directories.get_config_home(), directories.get_data_home())
    else {
        return plan;
    };
    let Some(desktops) = lists(&ground::desktops(), has_kde()) else { return plan };
    let list = data.join("applications").join(format!("{}mimeapps.list", desktops[0]));
    let places = Places {
        config: [vec![config], directories.get_config_dirs()].concat(),
        data: [vec![data], directories.get_data_dirs()].concat(),
        desktops,
    };
    let files: BTreeSet<&PathBuf> =
        manifest.boxes.iter().flat_map(|one| one.files.keys()).collect();
    let pins = Host::look(&places, &files).pins(&types);
    plan.files.remove(&list);
    if !pins.is_empty() {
        let content = Content::Bytes(text(&pins).into());
        plan.files.insert(list, wanted(content, [OWNER.to_owned()].into()));
    }
    plan
}

fn wanted(content: Content, users: BTreeSet<String>) -> Wanted {
    Wanted { content, mode: READ, users, source: None }
}

/// What the names of lists begin with, those of the desktop's own first. `None` for KDE.
fn lists(desktops: &[String], has_kde: bool) -> Option<Vec<String>> {
    let is_plain =
        |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let is_kde = if desktops.is_empty() { has_kde } else { ground::is_kde(desktops) };
    if is_kde || !desktops.iter().all(is_plain) {
        return None;
    }
    Some(desktops.iter().map(|name| format!("{name}-")).chain([String::new()]).collect())
}

fn has_kde() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .any(|at| at.join("kbuildsycoca6").exists() || at.join("kbuildsycoca5").exists())
}

/// The types of all entries of boxes.
fn exported(manifest: &Manifest) -> BTreeSet<String> {
    let paths = manifest.boxes.iter().flat_map(|one| one.files.keys());
    let entries = paths.filter(|path| path.extension().is_some_and(|ending| ending == "desktop"));
    let types =
        |path: &PathBuf| read(path).map(|file| names(&file, b"MimeType")).unwrap_or_default();
    entries.flat_map(types).filter_map(|name| String::from_utf8(name).ok()).collect()
}

fn text(pins: &BTreeMap<String, String>) -> Vec<u8> {
    let mut text = "# Made by incusbox: what opened these types before programs of boxes came. What you\n# choose in your desktop counts before it.\n[Default Applications]\n".to_owned();
    for (name, id) in pins {
        text.push_str(&format!("{name}={id};\n"));
    }
    text.into_bytes()
}

impl Host {
    /// Looks at the host, but for the files that are ours.
    fn look(places: &Places, ours: &BTreeSet<&PathBuf>) -> Host {
        let mut host = Host::default();
        let applications = |data: &PathBuf| data.join("applications");
        let directories: Vec<PathBuf> =
            places.config.iter().cloned().chain(places.data.iter().map(applications)).collect();
        for directory in &directories {
            let lists = places.desktops.iter().map(|desktop| format!("{desktop}mimeapps.list"));
            for list in lists.chain(["defaults.list".to_owned()]) {
                let path = directory.join(list);
                if !ours.contains(&path) {
                    host.add_list(&path, places.config.contains(directory));
                }
            }
        }
        for data in &places.data {
            let at = applications(data);
            for (name, ids) in pairs(&at.join("mimeinfo.cache"), b"MIME Cache") {
                let is_there = |id: &&String| {
                    let path = at.join(id);
                    !ours.contains(&path) && path.exists()
                };
                if let Some(id) = ids.iter().find(is_there) {
                    host.first.entry(name).or_insert_with(|| id.clone());
                }
            }
            let subclasses = std::fs::read_to_string(data.join("mime/subclasses"));
            for line in subclasses.unwrap_or_default().lines() {
                if let Some((child, parent)) = line.split_once(' ') {
                    host.parents.entry(child.to_owned()).or_default().push(parent.to_owned());
                }
            }
        }
        host
    }

    fn add_list(&mut self, path: &Path, is_config: bool) {
        let groups: &[&[u8]] = match is_config {
            true => &[b"Default Applications", b"Added Associations"],
            false => &[b"Default Applications"],
        };
        for group in groups {
            self.explicit.extend(pairs(path, group).into_iter().map(|(name, _)| name));
        }
    }

    /// What opens each of these types now, where exports would change that.
    fn pins(&self, types: &BTreeSet<String>) -> BTreeMap<String, String> {
        let pin = |name: &String| {
            let line = self.line(name);
            let id = line.iter().find_map(|one| self.first.get(one))?;
            // A default of an ancestor counts before any program that no list names.
            let is_explicit = line.iter().any(|one| self.explicit.contains(one));
            (!is_explicit).then(|| (name.clone(), id.clone()))
        };
        types.iter().filter_map(pin).collect()
    }

    /// A type and its ancestors.
    fn line(&self, name: &str) -> Vec<String> {
        let mut line = vec![name.to_owned()];
        let mut at = 0;
        while at < line.len() && line.len() < MOST_ANCESTORS {
            let mut parents = self.parents.get(&line[at]).cloned().unwrap_or_default();
            if line[at].starts_with("text/") {
                parents.push("text/plain".to_owned());
            }
            parents.retain(|parent| !line.contains(parent));
            line.extend(parents);
            at += 1;
        }
        line
    }
}

/// The keys of a group of a file, each with its list of ids.
fn pairs(path: &Path, group: &[u8]) -> Vec<(String, Vec<String>)> {
    let Some(text) = std::fs::read(path).ok().and_then(|bytes| String::from_utf8(bytes).ok())
    else {
        return Vec::new();
    };
    // No key file of ours: its keys have slashes.
    let header = format!("[{}]", String::from_utf8_lossy(group));
    let mut is_in = false;
    let mut pairs = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_in = line == header;
        } else if let (true, Some((name, ids))) = (is_in, line.split_once('=')) {
            let ids = ids.split(';').filter(|id| !id.is_empty()).map(str::to_owned).collect();
            pairs.push((name.trim().to_owned(), ids));
        }
    }
    pairs
}

fn read(path: &Path) -> Option<KeyFile> {
    let file = KeyFile::parse(&std::fs::read(path).ok()?).ok()?;
    file.groups().contains(&MAIN).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Tree(PathBuf);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Tree {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("incusbox-defaults-{}-{number}", std::process::id());
            let tree = Tree(std::env::temp_dir().join(name));
            for (path, text) in files {
                let path = tree.0.join(path);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                std::fs::write(path, text).expect("a file");
            }
            tree
        }

        fn pins(&self, types: &[&str]) -> Vec<String> {
            let places = Places {
                config: vec![self.0.join("config")],
                data: vec![self.0.join("home"), self.0.join("usr")],
                desktops: vec!["gnome-".to_owned(), String::new()],
            };
            let ours = self.0.join("home/applications/box.desktop");
            let host = Host::look(&places, &[&ours].into());
            let types = types.iter().map(|name| (*name).to_owned()).collect();
            host.pins(&types).into_iter().map(|(name, id)| format!("{name}={id}")).collect()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _so = std::fs::remove_dir_all(&self.0);
        }
    }

    const CACHE: &str = "[MIME Cache]\ntext/plain=gone.desktop;vim.desktop;\ntext/x-c=vim.desktop;\nimage/png=eog.desktop;\nx/child=vim.desktop;\n";
    const HOST: [(&str, &str); 6] = [
        ("usr/applications/mimeinfo.cache", CACHE),
        ("usr/applications/vim.desktop", ""),
        ("usr/applications/eog.desktop", ""),
        (
            "home/applications/mimeinfo.cache",
            "[MIME Cache]\ntext/plain=box.desktop;\nimage/png=box.desktop;mine.desktop;\n",
        ),
        ("home/applications/box.desktop", ""),
        ("home/applications/mine.desktop", ""),
    ];
    const TYPES: [&str; 4] = ["text/plain", "text/x-c", "image/png", "audio/ogg"];

    #[test]
    fn what_opened_a_type_before_is_written_down() {
        let expected = ["image/png=mine.desktop", "text/plain=vim.desktop", "text/x-c=vim.desktop"];
        assert_eq!(Tree::new(&HOST).pins(&TYPES), expected);
    }

    #[test]
    fn what_a_list_names_needs_no_other_also_not_for_its_kinds() {
        for (list, text, expected) in [
            (
                "config/mimeapps.list",
                "[Default Applications]\ntext/plain=a.desktop\n",
                &["image/png=mine.desktop"][..],
            ),
            (
                "usr/applications/gnome-mimeapps.list",
                "[Default Applications]\nimage/png=a.desktop;\n",
                &["text/plain=vim.desktop", "text/x-c=vim.desktop"],
            ),
            (
                "config/mimeapps.list",
                "[Added Associations]\nimage/png=a.desktop;\n",
                &["text/plain=vim.desktop", "text/x-c=vim.desktop"],
            ),
            (
                "config/mimeapps.list",
                "[Removed Associations]\nimage/png=a.desktop;\n",
                &["image/png=mine.desktop", "text/plain=vim.desktop", "text/x-c=vim.desktop"],
            ),
        ] {
            let mut files = HOST.to_vec();
            files.push((list, text));
            assert_eq!(Tree::new(&files).pins(&TYPES), expected, "{list}: {text}");
        }
        let mut files = HOST.to_vec();
        files.push((
            "usr/mime/subclasses",
            "x/child x/parent\nx/parent image/png\nimage/png x/child\n",
        ));
        files.push(("config/mimeapps.list", "[Default Applications]\nimage/png=a.desktop\n"));
        assert_eq!(Tree::new(&files).pins(&["x/child"]), [""; 0]);
    }

    #[test]
    fn the_list_is_the_desktops_own_and_none_for_kde() {
        let of = |names: &[&str]| {
            lists(&names.iter().map(|name| (*name).into()).collect::<Vec<_>>(), true)
        };
        assert_eq!(of(&["ubuntu", "gnome"]).expect("lists"), ["ubuntu-", "gnome-", ""]);
        assert_eq!(of(&["kde"]), None);
        assert_eq!(of(&["../x"]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(lists(&[], false).expect("a list"), [""]);
    }
}
