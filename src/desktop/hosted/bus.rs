//! The file by which the host's session bus starts a program of a box.
//!
//! Source: D-Bus Specification 0.43, "Message Bus Starting Services"; how the command is split, from
//! dbus-daemon 1.14 and dbus-broker 33.

use crate::desktop::keyfile::KeyFile;
use crate::names::{BoxName, DesktopId};

/// The group.
const MAIN: &[u8] = b"D-BUS Service";
/// The most bytes of a name.
const MOST_NAME: usize = 255;
/// Names that stand for a part of the desktop itself: who starts as one of them is handed passwords.
const RESERVED: [&str; 3] = ["org.freedesktop.", "org.gtk.vfs", "org.kde.kwalletd"];

/// Which program of which box it starts.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The box.
    pub name: &'a BoxName,
    /// Its project, where that is not what `incusbox-run` finds by itself.
    pub project: Option<&'a str>,
    /// `incusbox-run`, by its path.
    pub runner: &'a str,
    /// More arguments for the program.
    pub flags: &'a [String],
}

/// The name on the bus of a program with this id, where it may have one.
///
/// # Errors
/// The reason why it may not.
pub fn name(id: &DesktopId) -> Result<&str, &'static str> {
    let name = id.as_str().strip_suffix(".desktop").unwrap_or(id.as_str());
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let is_element = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(is_letter)
    };
    let is_name = name.len() <= MOST_NAME && name.contains('.') && name.split('.').all(is_element);
    match () {
        () if !is_name => Err("its id is no name on the bus"),
        () if RESERVED.iter().any(|prefix| name.starts_with(prefix)) => {
            Err("its name is the desktop's own")
        }
        () => Ok(name),
    }
}

/// The name that a file of a service is for.
pub fn name_in(bytes: &[u8]) -> Option<String> {
    let mut file = KeyFile::parse(bytes).ok()?;
    file.tidy();
    String::from_utf8(file.get(MAIN, b"Name")?).ok()
}

/// The file for the host.
///
/// # Errors
/// The reason why there can be none.
pub fn rewritten(bytes: &[u8], name: &str, subject: &Subject<'_>) -> Result<Vec<u8>, String> {
    if name_in(bytes).as_deref() != Some(name) {
        return Err("its service on the bus has another name".to_owned());
    }
    let mut file = KeyFile::parse(bytes).map_err(|error| error.to_string())?;
    file.tidy();
    let command = file.get(MAIN, b"Exec").and_then(|value| String::from_utf8(value).ok());
    let command = command.and_then(|command| shell_words::split(&command).ok()).unwrap_or_default();
    if command.is_empty() {
        return Err("its service on the bus has no command".to_owned());
    }
    let mut words = vec![subject.runner.to_owned(), "--notify".to_owned()];
    words.extend(subject.project.map(|project| format!("--project={project}")));
    words.extend([subject.name.to_string(), "--".to_owned()]);
    words.extend(command);
    words.extend(subject.flags.iter().cloned());
    let words: Option<Vec<String>> = words.iter().map(|word| quoted(word)).collect();
    let words = words.ok_or("the command of its service on the bus has characters of a shell's")?;
    Ok(format!(
        "# Made by incusbox; what is changed here is set aside.\n[D-BUS Service]\nName={name}\nExec={}\n",
        words.join(" ")
    )
    .into_bytes())
}

/// A word as both implementations of the bus read it: they agree on single quotes, not on backslashes.
fn quoted(word: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match word.contains(['\'', '\\']) || word.chars().any(char::is_control) {
        true => None,
        false if !word.is_empty() && word.chars().all(is_plain) => Some(word.to_owned()),
        false => Some(format!("'{word}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(file: &str) -> Result<String, String> {
        let name = BoxName::new("dev").expect("a name");
        let flags = ["--x".to_owned()];
        let subject = Subject {
            name: &name,
            project: Some("work"),
            runner: "/usr/bin/incusbox-run",
            flags: &flags,
        };
        let made = rewritten(file.as_bytes(), "org.test.App", &subject)?;
        Ok(String::from_utf8(made).expect("text"))
    }

    #[test]
    fn the_bus_starts_incusbox_run_and_nothing_else() {
        let text = made(
            "[D-BUS Service]\nName=org.test.App\nExec=/usr/bin/app --gapplication-service \"a b\" ''\nSystemdService=app.service\nUser=root\n",
        );
        let expected = "# Made by incusbox; what is changed here is set aside.\n[D-BUS Service]\nName=org.test.App\nExec=/usr/bin/incusbox-run --notify --project=work dev -- /usr/bin/app --gapplication-service 'a b' '' --x\n";
        assert_eq!(text.as_deref(), Ok(expected));
        for (file, why) in [
            ("[D-BUS Service]\nName=org.test.Other\nExec=a\n", "another name"),
            ("[D-BUS Service]\nName=org.test.App\n", "no command"),
            ("[D-BUS Service]\nName=org.test.App\nExec=a 'b\n", "no command"),
            ("[D-BUS Service]\nName=org.test.App\nExec=a \"it's\"\n", "a shell's"),
            ("[D-BUS Service]\nName=org.test.App\nExec=a \\nUser=root\n", ""),
        ] {
            match made(file) {
                Err(error) => assert!(!why.is_empty() && error.contains(why), "{error}"),
                Ok(text) => assert_eq!((why, text.lines().count()), ("", 4), "{text}"),
            }
        }
    }

    #[test]
    fn a_program_has_the_name_of_its_id_but_none_of_the_desktops() {
        let of = |id: &str| {
            let id = DesktopId::new(&format!("{id}.desktop")).expect("an id");
            name(&id).map(str::to_owned)
        };
        assert_eq!(of("org.kde.kate").as_deref(), Ok("org.kde.kate"));
        assert!(of("org.freedesktop.secrets").is_err());
        for none in ["kate", "org.kde.4ever", "org..x", "org.a b"] {
            assert_eq!(of(none), Err("its id is no name on the bus"), "{none}");
        }
    }
}
