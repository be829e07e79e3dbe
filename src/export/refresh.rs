//! Tells the desktop that files changed: what it does not see by itself, or not at once. A tool that
//! is not there has nothing to tell.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::ground;
use crate::desktop::entry::SERVICES;
use crate::desktop::hosted::mime;

/// The longest that a tool may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does what the changed files ask for, icons first. Returns what went wrong, in sentences.
pub fn refresh<'a>(data: &Path, changed: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let (theme, applications) = (data.join("icons/hicolor"), data.join("applications"));
    let (mime, packages) = (data.join("mime"), data.join(mime::PACKAGES));
    let [mut has_icons, mut has_types, mut has_entries, mut has_units, mut has_buses] = [false; 5];
    let buses = data.join(SERVICES);
    for path in changed {
        has_icons |= path.starts_with(&theme);
        has_types |= path.starts_with(&packages);
        has_entries |= path.starts_with(&applications);
        has_units |= ground::is_unit(path);
        has_buses |= path.starts_with(&buses);
    }
    let mut wrong = Vec::new();
    if has_icons {
        // What a cache of icons is older than, it does not hold for. (GTK, `gtkiconcache.c`)
        let touched = std::fs::File::open(&theme)
            .and_then(|directory| directory.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            wrong.push(format!("`{}` could not be touched: {error}", theme.display()));
        }
    }
    let mut run = |program: &str, words: &[&str]| match ended(program, words) {
        Ok(()) => {}
        Err(why) => wrong.push(format!(
            "`{program}` {why}\nthe files are in their places; the desktop may see them later"
        )),
    };
    if has_types {
        run("update-mime-database", &[&mime.to_string_lossy()]);
    }
    if has_entries {
        run("update-desktop-database", &["-q", &applications.to_string_lossy()]);
    }
    if has_units && has_manager() {
        run("systemctl", &["--user", "daemon-reload"]);
    }
    if has_buses && std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some() {
        // It does not see a directory that is new.
        let call = [
            "--session",
            "--type=method_call",
            "--dest=org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.ReloadConfig",
        ];
        run("dbus-send", &call);
    }
    let is_kde = ground::is_kde(&ground::desktops());
    if (has_entries || has_types) && is_kde {
        let version = std::env::var("KDE_SESSION_VERSION").unwrap_or_default();
        let program = if version == "5" { "kbuildsycoca5" } else { "kbuildsycoca6" };
        run(program, &[]);
    }
    if has_icons && is_kde {
        let signal = [
            "--session",
            "--type=signal",
            "/KIconLoader",
            "org.kde.KIconLoader.iconChanged",
            "int32:0",
        ];
        run("dbus-send", &signal);
    }
    wrong
}

/// Stops and disables units that are about to go.
pub fn stop<'a>(units: impl Iterator<Item = &'a PathBuf>) {
    let names = units.filter_map(|path| path.file_name()?.to_str());
    let names: Vec<&str> = names.collect();
    if !names.is_empty() && has_manager() {
        let words = ["--user", "--no-block", "--quiet", "disable", "--now", "--"];
        // One that does not run and is not enabled is as it should be.
        let _so = ended("systemctl", &[&words[..], &names].concat());
    }
}

/// Whether the user has a service manager.
pub fn has_manager() -> bool {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime.is_some_and(|runtime| runtime.join("systemd/private").exists())
}

/// Runs a tool, if it is there.
fn ended(program: &str, words: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let mut child = match command.spawn() {
        // Denied is what a directory of PATH says that the user may not enter.
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => return Ok(()),
        other => other.map_err(|error| format!("does not start: {error}"))?,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("failed: {status}")),
            None if Instant::now() > deadline => {
                let _ended_just_now = child.kill();
                let _so = child.wait();
                return Err(format!("did not end within {} s", PATIENCE.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
