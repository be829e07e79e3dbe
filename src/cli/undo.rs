//! What `incusbox setup` added to the host's files, and taking that back.
//!
//! The record is a command a line, the last first to be run. Setup does the same as root: called by
//! sudo, or by itself where the user may not use the daemon. What root added for a user is recorded
//! in a directory of root's under the user's id, and no file of the user's is written as root. Undo
//! finds both.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::print;
use super::setup::as_root;
use crate::boxes::doctor::SYSCTL;
use crate::boxes::error::Error;
use crate::boxes::host::HostUser;
use crate::boxes::remedy::Remedy;
use crate::message;

/// Where root keeps records.
const OF_ROOT: &str = "/var/lib/incusbox";

/// What was added as root, for a user or for root itself.
fn record_of_root(user: Option<&HostUser>) -> PathBuf {
    let id = user.map_or(0, |user| user.uid);
    Path::new(OF_ROOT).join(format!("setup-undo-{id}"))
}

/// What was added by a user.
fn own_record() -> Result<PathBuf, Error> {
    xdg::BaseDirectories::with_prefix("incusbox").place_state_file("setup-undo").map_err(|source| {
        Error::Host { doing: "finding a place for the record of this setup", source }
    })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command that takes a step back, where there is one.
fn opposite(step: &Remedy) -> Option<Vec<String>> {
    let Remedy::AsRoot(words) = step else { return None };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // usermod adds a range of root's, but takes none away while root has a process: always.
    let line_of = |ids: &str| format!("/^root:{}:1$/d", ids.split('-').next().unwrap_or(ids));
    let without = |ids: &str, file: &str| ["sed", "-i", &line_of(ids), file].map(str::to_owned);
    match words[..] {
        ["usermod", "--add-subuids", ids, "root"] => Some(without(ids, "/etc/subuid").into()),
        ["usermod", "--add-subgids", ids, "root"] => Some(without(ids, "/etc/subgid").into()),
        ["usermod", "--append", "--groups", group, who] => {
            Some(["gpasswd", "--delete", who, group].map(str::to_owned).into())
        }
        ["sh", "-c", command] if command.contains(SYSCTL) => {
            Some(["rm", "-f", SYSCTL].map(str::to_owned).into())
        }
        _ => None,
    }
}

/// Records a step that was done, if it can be taken back.
///
/// # Errors
/// [`Error::Host`] when the record cannot be written.
pub fn remember(step: &Remedy, user: Option<&HostUser>) -> Result<(), Error> {
    let Some(back) = opposite(step) else { return Ok(()) };
    let host = |source| Error::Host { doing: "writing the record of this setup", source };
    let path = if is_root() {
        std::fs::create_dir_all(OF_ROOT).map_err(host)?;
        record_of_root(user)
    } else {
        own_record()?
    };
    let mut file =
        std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(host)?;
    if is_root() {
        // Whatever root's umask is, the user has to find it.
        let readable = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(OF_ROOT, readable(0o755)).map_err(host)?;
        file.set_permissions(readable(0o644)).map_err(host)?;
    }
    writeln!(file, "{}", shell_words::join(back)).map_err(host)
}

/// Takes back what setup added, the last first.
///
/// # Errors
/// [`Error::Host`] when a command fails; what was taken back until then is not in the record any more.
pub fn undo(user: Option<&HostUser>, dry: bool) -> Result<ExitCode, Error> {
    let mut has_any = take_back(&record_of_root(user), dry)?;
    if !is_root() {
        has_any |= take_back(&own_record()?, dry)?;
    }
    if !has_any {
        // A file that a user may write is not run by root.
        let by_whom = match (is_root(), user) {
            (true, Some(_)) => " as root\nwhat it added without sudo: incusbox setup --undo",
            _ => "",
        };
        message::say(
            super::PROGRAM,
            format!("setup has added nothing to this host's files{by_whom}"),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs what stands in a record; whether anything does.
fn take_back(path: &Path, dry: bool) -> Result<bool, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => {
            return Err(Error::Host { doing: "reading the record of the setup", source });
        }
    };
    let mut lines: Vec<&str> = text.lines().collect();
    let has_any = !lines.is_empty();
    while let Some(line) = lines.pop() {
        print(&format!("sudo {line}\n"))?;
        if dry {
            continue;
        }
        let words = shell_words::split(line).map_err(|error| Error::Host {
            doing: "reading the record of the setup",
            source: std::io::Error::other(error),
        })?;
        as_root(&words)?;
        forget_last(path, &lines)?;
    }
    Ok(has_any)
}

/// Takes the last line out of a record, of which `rest` is left.
fn forget_last(path: &Path, rest: &[&str]) -> Result<(), Error> {
    if path.starts_with(OF_ROOT) {
        let file = path.to_string_lossy();
        let words: &[&str] =
            if rest.is_empty() { &["rm", "-f", &file] } else { &["sed", "-i", "$d", &file] };
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        return as_root(&words);
    }
    let rest: String = rest.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, rest)
        .map_err(|source| Error::Host { doing: "writing the record of the setup", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_hosts_files_has_an_opposite() {
        let back = |words: &[&str]| opposite(&Remedy::as_root(words)).map(shell_words::join);
        assert_eq!(
            back(&["usermod", "--add-subuids", "1000-1000", "root"]).as_deref(),
            Some("sed -i '/^root:1000:1$/d' /etc/subuid")
        );
        assert_eq!(
            back(&["usermod", "--append", "--groups", "incus-admin", "dev"]).as_deref(),
            Some("gpasswd --delete dev incus-admin")
        );
        assert_eq!(back(&["modprobe", "fuse"]), None);
    }

    #[test]
    fn what_root_added_for_a_user_is_where_that_user_looks() {
        let user = HostUser { uid: 1000, ..HostUser::default() };
        let path = record_of_root(Some(&user));
        assert_eq!(path, Path::new("/var/lib/incusbox/setup-undo-1000"));
        assert_eq!(record_of_root(None), Path::new("/var/lib/incusbox/setup-undo-0"));
    }
}
