//! Setting a box up: what `incusbox create` tells `incusbox-agent setup`, and what that answers.
//!
//! The request is one JSON object on the agent's stdin, up to its end. The answers are JSON
//! objects on stdout, a line each; the last is `Done` or `Failed`. JSON and not the frames of a
//! run: nothing here is hot, and a person can read what happened. Every part of a request may be
//! repeated: what is as wanted already is left alone, so `create` can resume and `adopt` and `set`
//! can use the same request.

use serde::{Deserialize, Serialize};

/// What a box shall be like inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// The box's name, for messages and `/etc/hosts`.
    pub box_name: String,
    /// Whether the box is thrown away unless the set-up comes to its end.
    #[serde(default)]
    pub is_new: bool,
    /// What the box calls itself; the box's name unless the user wants another.
    pub hostname: String,
    /// The host user that the box gets an account for; `None` for root's own boxes.
    pub user: Option<UserAccount>,
    /// The locale variables of the host's user, e.g. `LANG` to `de_DE.UTF-8`.
    pub locale: Vec<(String, String)>,
    /// The host's time zone, e.g. `Europe/Berlin`.
    pub time_zone: Option<String>,
    /// Whether podman, docker and the like shall work inside: subordinate ids for the user, and
    /// their configuration where the defaults do not work here. `false` takes nothing away.
    pub nesting: bool,
    /// The parts of the host's session that the box gets, by name; `None` leaves it as it is.
    #[serde(default)]
    pub switches: Option<Vec<String>>,
    /// Packages that must be there, by their names in the box's distribution.
    pub packages: Vec<String>,
    /// Run by `/bin/sh` as root before packages are installed.
    pub pre_init_hooks: Vec<String>,
    /// Run by `/bin/sh` as root at the end.
    pub init_hooks: Vec<String>,
}

/// An account of the host that the box shall have too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAccount {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Name of the primary group.
    pub group: String,
    /// Id of the primary group.
    pub gid: u32,
    /// The comment (GECOS) field: the full name.
    pub comment: String,
    /// Home directory, the same path as on the host.
    pub home: String,
    /// Whether the home is the host's, or the box's own and to be filled from `/etc/skel`.
    pub home_is_mounted: bool,
    /// The wanted login shell, e.g. `/usr/bin/zsh`; the nearest that the box has is taken.
    pub shell: String,
    /// Supplementary groups that make sense in a box, by name; those that the box lacks are made
    /// only where the list of groups in the agent says so.
    pub groups: Vec<String>,
    /// Whether the user may become root without a password.
    pub sudo: bool,
}

/// What the agent says while it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetupEvent {
    /// A step begins: a word or two for a progress line, e.g. `accounts`.
    Step(String),
    /// A line that a package manager or a hook wrote.
    Output(String),
    /// Something is not as it was asked for, and that is no reason to stop.
    Warning(String),
    /// Everything is as it was asked for.
    Done(SetupResult),
    /// A step failed.
    Failed {
        /// The step.
        step: String,
        /// What happened, to what, and why.
        text: String,
    },
}

/// What a box turned out to be like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupResult {
    /// `ID` of os-release, e.g. `debian`.
    pub distribution: String,
    /// `PRETTY_NAME` of os-release.
    pub pretty_name: String,
    /// The shell that the account got.
    pub shell: String,
    /// The name of the init system: `systemd`, `openrc`, `none` …
    pub init: String,
    /// The package manager: `apt`, `dnf`, `pacman`, `zypper`, `apk`, or nothing.
    pub package_manager: Option<String>,
}
