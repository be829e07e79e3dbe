//! Exports that a program in a box asks for: what the user could ask for on the host, for that box
//! alone, and nothing that a command of the host's would be covered by.

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::agent::protocol::hand_over::{Answer, Verb};
use crate::export::manifest;
use crate::message::printable;
use crate::names::BoxName;
use crate::watch;

/// What may be said without a value, and with one.
const FLAGS: [&str; 7] =
    ["--all-apps", "--list", "--dry-run", "--json", "--sudo", "--all", "--verify"];
const OPTIONS: [&str; 6] = ["--app", "--bin", "--only", "--except", "--label", "--extra-flags"];
/// The most that is passed back of what was said, in bytes of each stream.
const MOST_SAID: usize = 24 << 10;

/// The variable that says that a program in a box asked.
pub const FOR_A_BOX: &str = "INCUSBOX_FOR_A_BOX";

/// One at a time, however many ask.
static TURN: Mutex<()> = Mutex::new(());

/// The project, if it is not the default one, and the name of a box.
pub type Whose = (Option<String>, BoxName);

/// Does what a guest asks for, for the box that it is in.
pub fn answer(whose: Option<Whose>, verb: Verb, words: &[String]) -> Answer {
    let Some((project, name)) = whose else {
        return Answer::Refused("this is no program in a box of this host's".to_owned());
    };
    let Ok(_turn) = TURN.try_lock() else {
        return Answer::Refused("the host is exporting something else; try again".to_owned());
    };
    if let Err(why) = check(words, name.as_str(), is_command) {
        return Answer::Refused(why);
    }
    let own = watch::own_program();
    let verb = match verb {
        Verb::Export => "export",
        Verb::Unexport => "unexport",
    };
    let mut command = Command::new(own.as_deref().map_or("incusbox".as_ref(), Path::as_os_str));
    command.arg(verb).arg(format!("--project={}", project.as_deref().unwrap_or("default")));
    command.arg(name.as_str()).args(words).stdin(Stdio::null());
    // A service may be older than the session's variables.
    let listing = manifest::listing().unwrap_or_default();
    command.env(FOR_A_BOX, "1").envs(listing.environment);
    match command.output() {
        Ok(output) => Answer::Said {
            status: output.status.code().and_then(|code| code.try_into().ok()).unwrap_or(1),
            stdout: said(&output.stdout),
            stderr: said(&output.stderr),
        },
        Err(error) => Answer::Refused(format!("the host's incusbox does not start: {error}")),
    }
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_SAID)]).into_owned()
}

/// Project and name of the box that the program at the other end is in. Incus has a control group
/// for each instance, which nothing in it gets out of; of boxes in boxes the outermost counts.
pub fn whose(guest: &UnixStream) -> Option<Whose> {
    let peer = rustix::net::sockopt::socket_peercred(guest).ok()?;
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", peer.pid.as_raw_nonzero()));
    box_of(&groups.ok()?)
}

fn box_of(groups: &str) -> Option<Whose> {
    let payload = groups.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        path.split('/').find_map(|part| part.strip_prefix("lxc.payload."))
    })?;
    // No name of an instance has an underscore.
    let (project, name) = match payload.rsplit_once('_') {
        Some((project, name)) => (Some(project.to_owned()), name),
        None => (None, payload),
    };
    Some((project, BoxName::new(name).ok()?))
}

/// Refuses what is for the host alone.
fn check(words: &[String], name: &str, is_command: fn(&OsStr) -> bool) -> Result<(), String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word.as_str(), None),
        };
        let shown = printable(option);
        if FLAGS.contains(&option) && value.is_none() {
            continue;
        }
        if !OPTIONS.contains(&option) {
            return Err(format!(
                "`{shown}` is nothing that can be said in a box\non the host: incusbox export {name} --help"
            ));
        }
        let value = value.or_else(|| words.next().map(String::as_str));
        let value = value.ok_or_else(|| format!("`{shown}` needs a value"))?;
        let file = Path::new(value).file_name().unwrap_or_default();
        // Who types `sudo` on the host must not type a password into a box.
        if option == "--bin" && is_command(file) {
            let shown = printable(&file.to_string_lossy());
            return Err(format!(
                "the host has a command `{shown}`, which only somebody there may cover\non the host: incusbox export {name} --bin {shown}"
            ));
        }
    }
    Ok(())
}

/// Whether the host has a command of this name that is no shim of ours, where the session looks for
/// commands or shells usually do.
fn is_command(file: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::home_dir().unwrap_or_default();
    let system = USUAL.iter().map(|directory| Path::new(directory).to_owned());
    let own = USUAL_AT_HOME.iter().map(|directory| home.join(directory));
    let ours = manifest::look().map(|manifest| manifest.boxes).unwrap_or_default();
    let is_ours = |path: &PathBuf| ours.iter().any(|one| one.files.contains_key(path));
    let all = std::env::split_paths(&path).chain(system).chain(own);
    all.map(|directory| directory.join(file)).any(|path| path.exists() && !is_ours(&path))
}

/// Where commands are, whatever the session knows of it.
const USUAL: [&str; 12] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/games",
    "/usr/games",
    "/snap/bin",
    "/var/lib/flatpak/exports/bin",
    "/run/current-system/sw/bin",
    "/nix/var/nix/profiles/default/bin",
];
/// The same below the home.
const USUAL_AT_HOME: [&str; 6] = [
    ".local/bin",
    "bin",
    ".cargo/bin",
    "go/bin",
    ".nix-profile/bin",
    ".local/share/flatpak/exports/bin",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_told_by_its_control_group() {
        let told = |text: &str| box_of(text).map(|(project, name)| (project, name.to_string()));
        assert_eq!(told("0::/lxc.payload.dev/user.slice\n"), Some((None, "dev".to_owned())));
        let project = Some("a_b".to_owned());
        assert_eq!(told("0::/x/lxc.payload.a_b_dev\n"), Some((project, "dev".to_owned())));
        let inner = "0::/lxc.payload.dev/lxc.payload.other/x\n";
        assert_eq!(told(inner), Some((None, "dev".to_owned())));
        let old = "12:pids:/lxc.payload.dev/x:y\n0::/\n";
        assert_eq!(told(old), Some((None, "dev".to_owned())));
        assert_eq!(told("0::/user.slice/lxc.monitor.dev\n"), None);
        assert_eq!(told("0::/lxc.payload./\n"), None);
    }

    #[test]
    fn what_is_for_the_host_alone_is_refused() {
        let check = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            check(&words, "dev", |file| file == "sudo")
        };
        for good in [&["--app", "x", "--bin=rg", "--all-apps"][..], &[], &["--label", "-x"]] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in [
            &["other"][..],
            &["--project", "x"],
            &["--export-path", "/x"],
            &["--bin", "/opt/sudo"],
            &["--bin=sudo"],
            &["--service", "x"],
            &["--app"],
            &["--all-apps=x"],
            &["--all-apps", "--share-files"],
            &["-x"],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
