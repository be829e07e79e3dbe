//! What the kernel says of the box; in tests, what a test says.

use super::accounts::Ids;
use super::ids::IdMap;

/// Facts that do not stand in the box's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The ids that the box has.
    pub ids: Ids,
    /// The name of process 1.
    pub first_process: String,
    /// Whether the box runs, so that its programs can be run: not so for a tree of fixtures.
    pub life: Life,
}

/// Whether a tree is a running box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is the box that we run in.
    Running,
    /// Files only.
    Files,
}

impl Surroundings {
    /// Those of the box that we run in.
    pub fn ask() -> Surroundings {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        Surroundings {
            ids: Ids {
                users: IdMap::parse(&text("/proc/self/uid_map")),
                groups: IdMap::parse(&text("/proc/self/gid_map")),
            },
            first_process: text("/proc/1/comm").trim_end().to_owned(),
            life: Life::Running,
        }
    }
}
