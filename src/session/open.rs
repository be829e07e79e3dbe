//! Opening what a program in a box hands over, with the host's programs.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::export;
use crate::agent::protocol::hand_over::{Answer, MOST_BYTES, Wish, has_scheme};

/// How long a guest may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// What opens things, the first that is there.
const OPENERS: &[&[&str]] = &[&["xdg-open"], &["gio", "open"]];

/// Does what a guest wants, and says what became of it.
pub fn answer(guest: UnixStream) {
    // First, as long as who connected is there.
    let whose = export::whose(&guest);
    let mut line = Vec::new();
    let asked = guest
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| BufReader::new((&guest).take(MOST_BYTES)).read_until(b'\n', &mut line));
    let Ok(1..) = asked else { return };
    let answer = match serde_json::from_slice(&line) {
        Ok(Wish::Export { verb, words }) => export::answer(whose, verb, &words),
        Ok(wish) => fulfil(&wish),
        Err(error) => Answer::Refused(format!("this is no wish: {error}")),
    };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        let _gone_meanwhile = (&guest).write_all(&line);
    }
}

fn fulfil(wish: &Wish) -> Answer {
    match wish {
        Wish::Url(url) if is_openable(url) => open(OsStr::new(url)),
        Wish::Url(_) | Wish::Export { .. } => {
            Answer::Refused("this is no address that can be opened".to_owned())
        }
        Wish::File { path, device, inode } => {
            let path = OsString::from_vec(path.clone());
            let is_the_same = std::fs::metadata(&path)
                .is_ok_and(|here| (here.dev(), here.ino()) == (*device, *inode));
            let is_whole = std::path::Path::new(&path).is_absolute();
            if is_the_same && is_whole { open(&path) } else { Answer::NotHere }
        }
    }
}

/// Files have a wish of their own, which tells whether they are the host's.
fn is_openable(url: &str) -> bool {
    let is_file = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"));
    has_scheme(url) && !is_file && !url.chars().any(char::is_control)
}

fn open(what: &OsStr) -> Answer {
    for opener in OPENERS {
        let mut command = Command::new(opener[0]);
        command.args(&opener[1..]).arg(what).stdin(Stdio::null()).current_dir("/");
        match command.status() {
            Ok(status) => {
                let code = status.code().or_else(|| Some(128 + status.signal()?));
                return Answer::Ended(code.and_then(|code| code.try_into().ok()).unwrap_or(1));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Answer::Refused(error.to_string()),
        }
    }
    Answer::Refused("the host has neither xdg-open nor gio".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_opened_as_addresses() {
        for url in ["https://example.org/?a=b#c", "mailto:a@b", "magnet:?x"] {
            assert!(is_openable(url), "{url}");
        }
        for other in ["file:///etc/passwd", "FILE:/x", "/etc/passwd", "-h", "a\nb:c", "x:\n"] {
            assert!(!is_openable(other), "{other}");
        }
    }

    #[test]
    fn another_file_of_the_same_name_is_not_opened() {
        let there = std::fs::metadata("/etc/passwd").expect("a file");
        let wish = |path: &str, inode| Wish::File { path: path.into(), device: there.dev(), inode };
        assert_eq!(fulfil(&wish("/etc/passwd", there.ino() + 1)), Answer::NotHere);
        assert_eq!(fulfil(&wish("/nowhere", there.ino())), Answer::NotHere);
    }

    #[test]
    fn what_is_no_wish_is_refused_and_silence_gets_no_answer() {
        let said = |words: &[u8]| {
            let (mut own, guest) = UnixStream::pair().expect("a pair");
            own.write_all(words).expect("words");
            own.shutdown(std::net::Shutdown::Write).expect("an end");
            answer(guest);
            let mut text = String::new();
            own.read_to_string(&mut text).expect("an answer");
            text
        };
        assert!(said(b"hello\n").contains("refused"));
        assert!(said(b"{\"url\":\"file:///etc/passwd\"}\n").contains("refused"));
        assert_eq!(said(b""), "");
    }
}
