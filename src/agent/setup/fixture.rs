//! Trees and requests for tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::accounts::Ids;
use super::ids::IdMap;
use super::report::Report;
use super::steps::Steps;
use super::surroundings::{Life, Surroundings};
use super::tree::Tree;
use crate::agent::protocol::setup::{SetupEvent, SetupRequest, SetupResult, UserAccount};

/// The distributions whose files stand in `tests/fixtures/distributions`.
pub const DISTRIBUTIONS: &[&str] = &[
    "debian-12",
    "debian-13",
    "ubuntu-24.04",
    "arch",
    "fedora-42",
    "opensuse-tumbleweed",
    "alpine-3.22",
];

/// One thing in a tree: path, kind and mode, inode, time of change, content.
pub type Seen = (PathBuf, u32, u64, (i64, i64), Vec<u8>);

/// A directory that goes with its last user.
#[derive(Debug)]
pub struct Scratch {
    /// Where it is.
    pub path: PathBuf,
}

impl Scratch {
    /// An empty one.
    pub fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("incusbox-setup-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a scratch directory");
        Scratch { path }
    }

    /// A copy of a distribution's files.
    pub fn of(distribution: &str) -> Scratch {
        let scratch = Scratch::new();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/distributions");
        copy(&fixtures.join(distribution), &scratch.path);
        let list = scratch.text("tree");
        std::fs::remove_file(scratch.path.join("tree")).expect("a list");
        for line in list.lines() {
            match *line.split(' ').collect::<Vec<_>>() {
                ["x", path] => scratch.program(path),
                ["f", path] => scratch.file(path, ""),
                ["d", path] => scratch.directory(path),
                ["l", path, target] => scratch.link(path, target),
                _ => panic!("{line}"),
            };
        }
        scratch
    }

    /// Makes a file with its directories.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Scratch {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, content).expect("a file");
        self
    }

    /// Makes a directory.
    pub fn directory(&self, path: &str) -> &Scratch {
        std::fs::create_dir_all(self.path.join(path)).expect("directories");
        self
    }

    /// Makes a program.
    pub fn program(&self, path: &str) -> &Scratch {
        use std::os::unix::fs::PermissionsExt;
        self.file(path, "");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path.join(path), mode).expect("chmod");
        self
    }

    /// Makes a link.
    pub fn link(&self, path: &str, target: &str) -> &Scratch {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::os::unix::fs::symlink(target, path).expect("a link");
        self
    }

    /// The content of a file.
    pub fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path.join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether there is something.
    pub fn has(&self, path: &str) -> bool {
        self.path.join(path).symlink_metadata().is_ok()
    }

    /// It as a tree.
    pub fn tree(&self) -> Tree {
        Tree::open(&self.path).expect("a tree")
    }

    /// Everything below it: path, kind and mode, inode, time of change, content.
    pub fn state(&self) -> Vec<Seen> {
        let mut found = Vec::new();
        look(&self.path, &mut found);
        found
    }

    /// Sets the tree up; what was said, and how it ended.
    pub fn set_up(&self, request: &SetupRequest) -> (Vec<SetupEvent>, Result<SetupResult, String>) {
        self.set_up_under("systemd", request)
    }

    /// The same with another process 1.
    pub fn set_up_under(
        &self,
        first_process: &str,
        request: &SetupRequest,
    ) -> (Vec<SetupEvent>, Result<SetupResult, String>) {
        let mut events = Vec::new();
        let mut sink = |event: &SetupEvent| {
            events.push(event.clone());
            true
        };
        let result = self.set_up_with(first_process, request, &mut sink);
        (events, result)
    }

    /// The same with a listener of the caller's.
    pub fn set_up_telling(
        &self,
        request: &SetupRequest,
        sink: &mut dyn FnMut(&SetupEvent) -> bool,
    ) -> Result<SetupResult, String> {
        self.set_up_with("systemd", request, sink)
    }

    fn set_up_with(
        &self,
        first_process: &str,
        request: &SetupRequest,
        sink: &mut dyn FnMut(&SetupEvent) -> bool,
    ) -> Result<SetupResult, String> {
        let mut report = Report::new(sink);
        let (tree, surroundings) = (self.tree(), surroundings(first_process));
        let steps = Steps::new(&tree, &surroundings, request, &mut report);
        steps.and_then(Steps::set_up).map_err(|failure| failure.to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.path);
    }
}

/// A box that is files only.
fn surroundings(first_process: &str) -> Surroundings {
    let ids = || IdMap::parse("0 1000000 1000000000");
    Surroundings {
        ids: Ids { users: ids(), groups: ids() },
        first_process: first_process.to_owned(),
        life: Life::Files,
    }
}

/// The request for `dev`, 1000.
pub fn request() -> SetupRequest {
    SetupRequest {
        box_name: "mybox".to_owned(),
        hostname: "mybox".to_owned(),
        user: Some(UserAccount {
            name: "dev".to_owned(),
            uid: 1000,
            group: "dev".to_owned(),
            gid: 1000,
            comment: "Dev Eloper,,,".to_owned(),
            home: "/home/dev".to_owned(),
            home_is_mounted: false,
            shell: "/bin/bash".to_owned(),
            groups: Vec::new(),
            sudo: true,
        }),
        ..SetupRequest::default()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{from:?}: {error}")) {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            copy(&from, &to);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(from).expect("a link"), to)
                .expect("a link");
        } else {
            std::fs::copy(from, to).expect("a copy");
        }
    }
}

fn look(path: &Path, found: &mut Vec<Seen>) {
    use std::os::unix::fs::MetadataExt;
    let meta = path.symlink_metadata().expect("metadata");
    let content = if meta.is_file() { std::fs::read(path).expect("content") } else { Vec::new() };
    // A temporary name that came and went shows in the directory's time, a new file in its inode.
    let time = (meta.mtime(), meta.mtime_nsec());
    found.push((path.to_owned(), meta.mode(), meta.ino(), time, content));
    if meta.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path)
            .expect("entries")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        for entry in entries {
            look(&entry, found);
        }
    }
}
