//! The user's session manager, from boot on: `/run/user/UID`, its bus, `systemctl --user`.
//!
//! Nobody logs in to a box, so without lingering there would be no session. logind reads the
//! directory of lingering users when it starts; if it has started, it is asked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::command::Run;
use super::failure::Failure;
use super::surroundings::Life;
use super::tree::{Access, Change, Tree};
use super::wanted::Wanted;
use crate::exit::ExitStatus;

const DIRECTORY: &str = "/var/lib/systemd/linger";
/// The call is answered at once, but a box that still boots may have to start logind for it.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_FOR_MANAGER: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Writes down that the user lingers; logind reads that when it starts.
///
/// # Errors
/// Of the files.
pub fn allow(tree: &Tree, user: &Wanted) -> Result<Change, Failure> {
    tree.make_directory(DIRECTORY, Access::root(0o755))?;
    let path = PathBuf::from(DIRECTORY).join(&user.name);
    match tree.exists(&path) {
        true => Ok(Change::Kept),
        false => tree.write(&path, b"", Access::root(0o644)),
    }
}

/// Lets the user linger, now. Returns what is odd about it.
///
/// # Errors
/// Of the files.
pub fn linger(tree: &Tree, user: &Wanted, life: Life) -> Result<Option<String>, Failure> {
    let change = allow(tree, user)?;
    let has_session = tree.exists(format!("/run/user/{}/systemd", user.uid));
    if life == Life::Files || (change == Change::Kept && has_session) {
        return Ok(None);
    }
    if !tree.exists("/run/dbus/system_bus_socket") {
        // Either the box boots, and logind will read the file; or there is none to come.
        let has_bus =
            ["dbus-daemon", "dbus-broker"].iter().any(|name| tree.program(name).is_some());
        return Ok((!has_bus).then(|| {
            "the box has no D-Bus, so its users have no session (`systemctl --user`): \
             install `dbus` and, on Debian, `libpam-systemd` in it"
                .to_owned()
        }));
    }
    let argv = ["loginctl", "enable-linger", &user.name];
    let mut said = Vec::new();
    let ended = Run { argv: &argv, environment: &[], limit: Some(PATIENCE) }
        .run(|line| said.push(String::from_utf8_lossy(line).into_owned()));
    let trouble = match ended {
        Ok(ExitStatus::Code(0)) => return Ok(wait_for_session(tree, user)),
        Ok(_) => said.join(" "),
        Err(error) => error.to_string(),
    };
    Ok(Some(format!("the session of `{}` starts at the box's next boot: {trouble}", user.name)))
}

/// Waits for the user's manager, which takes a moment, so that its failure can be told: a machine
/// with many boxes runs out of inotify instances (`fs.inotify.max_user_instances`, 128 for all
/// boxes together), and systemd cannot start a manager without one.
fn wait_for_session(tree: &Tree, user: &Wanted) -> Option<String> {
    let unit = format!("user@{}.service", user.uid);
    let deadline = Instant::now() + PATIENCE_FOR_MANAGER;
    let is_there = || tree.exists(format!("/run/user/{}/systemd/private", user.uid));
    while !is_there() {
        let argv = ["systemctl", "is-active", &unit];
        let state =
            Run { argv: &argv, environment: &[], limit: Some(PATIENCE_FOR_MANAGER) }.answer();
        // `inactive` is what it is until logind has asked for it.
        let has_failed = state == "failed";
        if has_failed || Instant::now() >= deadline {
            return (!is_there()).then(|| {
                format!(
                    "the session of `{}` did not start: `systemctl status {unit}` in the box \
                     tells why",
                    user.name
                )
            });
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    None
}
