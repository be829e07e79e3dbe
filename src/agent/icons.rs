//! Pictures for icons, found in all the places where a desktop in the box would look.
//!
//! Source: Icon Theme Specification 0.13. What index files say of sizes is not asked: a picture says
//! its own size, and the host places it by that.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The theme that programs bring their icons for.
const OWN: &str = "hicolor";
/// Those that are asked next, before any other.
const USUAL: [&str; 4] = ["Adwaita", "breeze", "oxygen", "gnome"];
/// The endings of pictures.
const ENDINGS: [&str; 3] = ["png", "svg", "xpm"];
/// The most pictures of one icon: sizes, and twice that for fine screens.
const MOST_PICTURES: usize = 32;
/// The most directories that are read.
const MOST_DIRECTORIES: usize = 20_000;
/// How deep a theme's pictures are: `48x48/apps`.
const DEEPEST: usize = 2;

/// Where pictures are: base directories of themes, and directories of pictures alone.
pub struct Places {
    themes: Vec<PathBuf>,
    pixmaps: Vec<PathBuf>,
}

impl Places {
    /// Those of the data directories, and of the user's home if that is the box's.
    pub fn of(data: &[PathBuf], home: Option<&Path>) -> Places {
        let own = home.map(|home| home.join(".icons"));
        let themes = own.into_iter().chain(data.iter().map(|path| path.join("icons"))).collect();
        Places { themes, pixmaps: data.iter().map(|path| path.join("pixmaps")).collect() }
    }

    /// The paths of the pictures of each icon.
    pub fn find(&self, icons: &BTreeSet<String>) -> BTreeMap<String, Vec<PathBuf>> {
        let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        // What is still to be found, by the names of files without endings.
        let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for icon in icons {
            if icon.starts_with('/') {
                found.insert(icon.clone(), vec![PathBuf::from(icon)]);
            } else {
                wanted.entry(stem(icon)).or_default().push(icon);
            }
        }
        let mut left = MOST_DIRECTORIES;
        let mut visit = |directories: Vec<PathBuf>, deepest: usize, wanted: &mut BTreeMap<_, _>| {
            let mut pictures: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
            for directory in directories {
                walk(&directory, deepest, &mut left, &mut |name: &str, path| {
                    if wanted.contains_key(name) {
                        pictures.entry(name.to_owned()).or_default().push(path);
                    }
                });
            }
            for (name, mut paths) in pictures {
                paths.truncate(MOST_PICTURES);
                let icons: Vec<&str> = wanted.remove(&*name).unwrap_or_default();
                for icon in icons {
                    found.insert(icon.to_owned(), paths.clone());
                }
            }
        };
        visit(self.theme(OWN), DEEPEST, &mut wanted);
        visit(self.pixmaps.clone(), 0, &mut wanted);
        for theme in self.others() {
            if wanted.is_empty() {
                break;
            }
            visit(self.theme(&theme), DEEPEST, &mut wanted);
        }
        found
    }

    fn theme(&self, name: &str) -> Vec<PathBuf> {
        self.themes.iter().map(|base| base.join(name)).collect()
    }

    /// All themes but that of programs.
    fn others(&self) -> Vec<String> {
        let mut all = BTreeSet::new();
        for base in &self.themes {
            all.extend(names(base).into_iter().filter_map(|name| name.into_string().ok()));
        }
        let usual = USUAL.map(str::to_owned).into_iter().filter(|name| all.contains(name));
        let mut others: Vec<String> = usual.collect();
        others.extend(all.into_iter().filter(|name| !USUAL.contains(&&**name) && name != OWN));
        others
    }
}

/// The name of an icon; some entries add the ending of a file.
fn stem(icon: &str) -> &str {
    let ended = icon.rsplit_once('.').filter(|(_, ending)| ENDINGS.contains(ending));
    ended.map_or(icon, |(name, _)| name)
}

/// Tells of every picture below a directory, by its name without the ending.
fn walk(directory: &Path, depth: usize, left: &mut usize, tell: &mut dyn FnMut(&str, PathBuf)) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    for name in names(directory) {
        let Some(text) = name.to_str() else { continue };
        match text.rsplit_once('.') {
            Some((stem, ending)) if ENDINGS.contains(&ending) => tell(stem, directory.join(text)),
            // Links to directories are followed: themes have them. The depth is bounded.
            _ if depth > 0 => {
                let path = directory.join(text);
                if path.is_dir() {
                    walk(&path, depth - 1, left, tell);
                }
            }
            _ => {}
        }
    }
}

/// The names in a directory, in order, that of scalable pictures last.
fn names(directory: &Path) -> Vec<OsString> {
    let Ok(there) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<OsString> = there.flatten().map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    names
}

/// What tells whether a file is still the same.
pub fn stamp(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let time = |seconds: i64, nanoseconds: i64| format!("{seconds}.{nanoseconds:09}");
    let changed = time(meta.ctime(), meta.ctime_nsec());
    Some(format!("{}:{}:{changed}", meta.ino(), meta.len()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn tree(files: &[&str]) -> (PathBuf, Places) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("incusbox-icons-{}-{number}", std::process::id());
        let base = std::env::temp_dir().join(name);
        for file in files {
            let path = base.join(file);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, "picture").expect("a file");
        }
        let places = Places::of(&[base.join("local"), base.join("usr")], Some(&base.join("home")));
        (base, places)
    }

    fn found(files: &[&str], icon: &str) -> Vec<String> {
        let (base, places) = tree(files);
        let found = places.find(&[icon.to_owned()].into());
        let paths = found.get(icon).cloned().unwrap_or_default();
        let short = |path: PathBuf| {
            path.strip_prefix(&base).unwrap_or(&path).to_string_lossy().into_owned()
        };
        let all = paths.into_iter().map(short).collect();
        std::fs::remove_dir_all(base).expect("it goes");
        all
    }

    const FILES: [&str; 8] = [
        "usr/icons/hicolor/48x48/apps/edit.png",
        "usr/icons/hicolor/scalable/apps/edit.svg",
        "usr/icons/Adwaita/48x48/apps/edit.png",
        "home/.icons/hicolor/16x16/apps/edit.png",
        "usr/pixmaps/old.xpm",
        "usr/icons/Zeta/apps/48/only.svg",
        "usr/icons/breeze/apps/48/both.svg",
        "usr/icons/Aaa/apps/48/both.svg",
    ];

    #[test]
    fn all_sizes_of_the_programs_own_theme_come_the_users_first() {
        let all = [
            "home/.icons/hicolor/16x16/apps/edit.png",
            "usr/icons/hicolor/48x48/apps/edit.png",
            "usr/icons/hicolor/scalable/apps/edit.svg",
        ];
        assert_eq!(found(&FILES, "edit"), all);
        assert_eq!(found(&FILES, "edit.png"), all, "an ending is none of the name");
    }

    #[test]
    fn pixmaps_come_next_and_then_any_theme() {
        assert_eq!(found(&FILES, "old"), ["usr/pixmaps/old.xpm"]);
        assert_eq!(found(&FILES, "only"), ["usr/icons/Zeta/apps/48/only.svg"]);
        assert_eq!(found(&FILES, "both"), ["usr/icons/breeze/apps/48/both.svg"]);
        assert_eq!(found(&FILES, "none"), [""; 0]);
        assert_eq!(found(&FILES, "/opt/x/icon.png"), ["/opt/x/icon.png"]);
    }
}
