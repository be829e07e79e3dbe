//! `xdg-open` in a box: addresses and shared files are opened by the host's programs, files of the
//! box by its own.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::protocol::BOX;
use super::protocol::desktop::{ON, Switch, runtime};
use super::protocol::hand_over::{
    Answer, DIRECTORY, MOST_BYTES, OPEN, Wish, file_path, has_scheme,
};
use crate::message;

/// The name that it is called by.
pub const NAME: &str = "xdg-open";
/// What the box's own program is opening: it may end up here again with it.
const GUARD: &str = "INCUSBOX_OPENS";
/// The status of xdg-open(1) for "a file or program was not found" and for "the action failed".
const NOT_FOUND: u8 = 2;
const FAILED: u8 = 4;

/// Opens what the command line says.
pub fn main(arguments: &[OsString]) -> u8 {
    if std::env::var_os(GUARD).is_some_and(|opens| arguments.get(1) == Some(&opens)) {
        // The box's own program found nothing better than this one; it has other ways to try.
        return FAILED;
    }
    let wish = match arguments {
        [_, what] if !what.as_bytes().starts_with(b"-") => wish(what),
        _ => None,
    };
    match wish.and_then(|wish| hand_over(&wish).ok()) {
        Some(Answer::Ended(status)) => status,
        Some(Answer::Refused(text)) => {
            message::say(NAME, format!("the host did not open it: {text}"));
            FAILED
        }
        Some(Answer::NotHere | Answer::Said { .. }) | None => by_own_program(arguments),
    }
}

/// What the host is asked for; `None` where there is nothing to ask.
fn wish(what: &OsStr) -> Option<Wish> {
    let text = what.to_str().unwrap_or_default();
    let path = match file_path(text) {
        Some(path) => path?,
        None if has_scheme(text) && !Path::new(what).exists() => {
            return Some(Wish::Url(text.to_owned()));
        }
        None => PathBuf::from(what),
    };
    let path = path.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    Some(Wish::File {
        path: path.into_os_string().into_vec(),
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

/// Asks the session of the host, where the box shares its bus: whoever may speak there may open.
pub fn hand_over(wish: &Wish) -> io::Result<Answer> {
    let uid = rustix::process::getuid().as_raw();
    if !Path::new(ON).join(Switch::Bus.name()).exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut host = UnixStream::connect(format!("{}/{DIRECTORY}/{OPEN}", runtime(uid)))?;
    let mut line = serde_json::to_vec(wish)?;
    line.push(b'\n');
    host.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(host.take(MOST_BYTES)).read_until(b'\n', &mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Becomes the program that the box would have run without this one.
fn by_own_program(arguments: &[OsString]) -> u8 {
    let own = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let all = std::env::var_os("PATH").unwrap_or_default();
    let is_another = |path: &PathBuf| path.canonicalize().is_ok_and(|path| Some(path) != own);
    let find = |name: &str| {
        std::env::split_paths(&all).map(|at| at.join(name)).find(|path| is_another(path))
    };
    let rest = arguments.get(1..).unwrap_or_default();
    let mut command = match (find(NAME), find("gio")) {
        (Some(program), _) => Command::new(program),
        (None, Some(program)) => {
            let mut command = Command::new(program);
            command.arg("open");
            command
        }
        (None, None) => {
            let what = rest.first().map(|what| what.to_string_lossy()).unwrap_or_default();
            message::say(
                NAME,
                format!(
                    "the host's session cannot be reached to open `{}`, and this box has no xdg-open of its own\n\
                     on the host, see what is wrong: incusbox doctor {}",
                    message::printable(&what),
                    std::env::var(BOX).unwrap_or_default()
                ),
            );
            return NOT_FOUND;
        }
    };
    if let Some(what) = rest.first() {
        command.env(GUARD, what);
    }
    let error = command.args(rest).exec();
    message::say(NAME, format!("starting the box's own {NAME}: {error}"));
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_handed_over_and_files_with_what_they_are() {
        let of = |text: &str| wish(OsStr::new(text));
        assert_eq!(of("https://a/b"), Some(Wish::Url("https://a/b".to_owned())));
        let there = std::fs::metadata("/etc/passwd").expect("a file");
        let (device, inode) = (there.dev(), there.ino());
        for text in
            ["/etc/passwd", "/etc/../etc/passwd", "file:///etc/passwd", "FILE:/etc/pass%77d"]
        {
            let path = b"/etc/passwd".to_vec();
            assert_eq!(of(text), Some(Wish::File { path, device, inode }), "{text}");
        }
        for text in ["/nowhere/x", "file:///nowhere", "file://host", "file:/%zz", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
