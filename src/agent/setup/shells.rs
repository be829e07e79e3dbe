//! The login shell: the host's where the box has it, else the nearest.

use std::path::Path;

use super::tree::Tree;

/// Where shells are, by distribution: `/bin` and `/usr/bin` are one on most.
const DIRECTORIES: &[&str] = &["/bin", "/usr/bin", "/usr/local/bin"];
/// What a user who misses a shell manages best with.
const NEAREST: &[&str] = &["bash", "zsh", "ash", "sh"];

/// A shell of the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its path.
    pub path: String,
    /// The name of the wanted one, where it is another program.
    pub instead_of: Option<String>,
}

/// Chooses the shell for somebody who has `wanted` on the host.
pub fn choose(tree: &Tree, wanted: &str) -> Choice {
    if tree.is_executable(wanted) {
        return Choice { path: wanted.to_owned(), instead_of: None };
    }
    // A path of the host's alone, as `/run/current-system/sw/bin/zsh`.
    let name = Path::new(wanted).file_name().and_then(|name| name.to_str()).unwrap_or("sh");
    let here = |name: &str| {
        let mut paths = DIRECTORIES.iter().map(|directory| format!("{directory}/{name}"));
        paths.find(|path| tree.is_executable(path))
    };
    if let Some(path) = here(name) {
        return Choice { path, instead_of: None };
    }
    let path = NEAREST.iter().find_map(|name| here(name));
    Choice { path: path.unwrap_or_else(|| "/bin/sh".to_owned()), instead_of: Some(name.to_owned()) }
}
