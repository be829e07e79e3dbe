//! What of the host's desktop session a command in the box may reach: the variables that name its
//! sockets, and what tells whether the box sees the directories that these are in now.

use super::wire::{Malformed, Reader, put_bytes};

/// A part of the session that a box gets or does not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// X11 and Wayland.
    Display,
    /// PipeWire and PulseAudio.
    Audio,
    /// The session bus.
    Bus,
    /// The ssh-agent.
    SshAgent,
    /// The nodes of graphics processors, and what their drivers need.
    Gpu,
    /// Fonts, icons and themes: files, and nothing of the session's.
    Themes,
}

impl Switch {
    /// All of them.
    pub const ALL: [Switch; 6] = [
        Switch::Display,
        Switch::Audio,
        Switch::Bus,
        Switch::SshAgent,
        Switch::Gpu,
        Switch::Themes,
    ];

    /// Its name: the option of a box, and the file in [`ON`].
    pub fn name(self) -> &'static str {
        match self {
            Switch::Display => "display",
            Switch::Audio => "audio",
            Switch::Bus => "bus",
            Switch::SshAgent => "ssh-agent",
            Switch::Gpu => "gpu",
            Switch::Themes => "themes",
        }
    }

    /// The host's variables that name its sockets.
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Switch::Display => &["DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY"],
            Switch::Audio => &["PULSE_SERVER", "PIPEWIRE_REMOTE"],
            Switch::Bus => &["DBUS_SESSION_BUS_ADDRESS"],
            Switch::SshAgent => &["SSH_AUTH_SOCK"],
            Switch::Gpu | Switch::Themes => &[],
        }
    }

    /// Those that [`SWITCHES`] names.
    pub fn listed(told: &str) -> Vec<Switch> {
        let is_on = |switch: &Switch| told.split_whitespace().any(|name| name == switch.name());
        Switch::ALL.into_iter().filter(is_on).collect()
    }

    /// Whether it needs the sockets in the user's runtime directory.
    pub fn needs_session(self) -> bool {
        !self.variables().is_empty()
    }

    /// The switch that a variable belongs to.
    pub fn of_variable(name: &[u8]) -> Option<Switch> {
        let has = |switch: &Switch| switch.variables().iter().any(|own| own.as_bytes() == name);
        Switch::ALL.into_iter().find(has)
    }
}

/// In a box: the directory of what was decided for it.
pub const CONFIGURATION: &str = "/etc/incusbox";

/// In a box: the directory with a file for each switch that is on. Where there is no such
/// directory nobody ever decided, and variables pass as they are.
pub const ON: &str = "/etc/incusbox/on";

/// The host's directory of X11 sockets, and where programs in a box look for them, too.
pub const X11_SOCKETS: &str = "/tmp/.X11-unix";

/// In a box: where the host's directory of X11 sockets is shown.
pub const X11: &str = "/mnt/.incusbox/x11";

/// In a box: what is shown of the host's `/usr/share`. Programs look for anything at all in such a
/// directory, so there must be nothing but fonts, icons and themes: what the host has installed is
/// not in the box.
pub const SHARE: &str = "/mnt/.incusbox/share";

/// In a box: the fonts that the host's administrator added.
pub const LOCAL_FONTS: &str = "/mnt/.incusbox/local/fonts";

/// The user's runtime directory, on the host as in a box.
pub fn host_runtime(uid: u32) -> String {
    format!("/run/user/{uid}")
}

/// In a box: where the host's runtime directory of this user is shown. (systemd has its own word
/// for a user's id.)
pub fn runtime(uid: impl std::fmt::Display) -> String {
    format!("/mnt/.incusbox/{uid}/run")
}

/// Which directory it is: a path may come to mean another one, as `/run/user/UID` does when the
/// user logs in again, and what a box was shown before stays the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file system's number.
    pub device: u64,
    /// The directory's in it.
    pub inode: u64,
}

impl Identity {
    /// Of the directory at `path`; `None` where there is none.
    pub fn of(path: &str) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
        Some(Identity { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// A number that differs from that of any other cookie and does not tell this one; 0 for none.
pub fn mark_of(cookie: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    if cookie.is_empty() {
        return 0;
    }
    // The same in both programs of a build, which belong together.
    let mut hasher = DefaultHasher::new();
    hasher.write(cookie);
    hasher.finish().max(1)
}

/// In the configuration of a box: the switches that are on.
pub const SWITCHES: &str = "user.incusbox.switches";

/// The number of a display of this machine: `:1`, `:1.0`, `unix:1`.
pub fn local_display(display: &[u8]) -> Option<String> {
    let display = std::str::from_utf8(display).ok()?;
    let number = display.strip_prefix("unix").unwrap_or(display).strip_prefix(':')?;
    let number = number.split('.').next().unwrap_or_default();
    let is_one = !number.is_empty() && number.len() <= 5;
    (is_one && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.to_owned())
}

/// The host's session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desktop {
    /// Whose.
    pub uid: u32,
    /// `/run/user/UID`.
    pub runtime: Option<Identity>,
    /// `/tmp/.X11-unix`.
    pub x11: Option<Identity>,
    /// Which cookie lets a program in at `DISPLAY`, without telling it; 0 for none.
    pub cookie_mark: u64,
    /// The cookie: an Xauthority file for `DISPLAY` that holds on any host. Only a box that may open
    /// windows gets it, and only if it has not got it yet; else it is empty.
    pub cookie: Vec<u8>,
    /// The variables of all switches.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Run the command although directories are not the ones that the box sees.
    pub insists: bool,
}

pub(super) fn encode(desktop: &Desktop, out: &mut Vec<u8>) {
    out.extend_from_slice(&desktop.uid.to_le_bytes());
    for identity in [desktop.runtime, desktop.x11] {
        out.push(u8::from(identity.is_some()));
        if let Some(Identity { device, inode }) = identity {
            out.extend_from_slice(&device.to_le_bytes());
            out.extend_from_slice(&inode.to_le_bytes());
        }
    }
    out.extend_from_slice(&desktop.cookie_mark.to_le_bytes());
    put_bytes(out, &desktop.cookie);
    out.extend_from_slice(&(desktop.environment.len() as u32).to_le_bytes());
    for (name, value) in &desktop.environment {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    out.push(u8::from(desktop.insists));
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Desktop, Malformed> {
    let identity = |reader: &mut Reader<'_>| -> Result<Option<Identity>, Malformed> {
        Ok(match reader.flag()? {
            true => Some(Identity { device: reader.u64()?, inode: reader.u64()? }),
            false => None,
        })
    };
    Ok(Desktop {
        uid: reader.u32()?,
        runtime: identity(reader)?,
        x11: identity(reader)?,
        cookie_mark: reader.u64()?,
        cookie: reader.bytes()?.to_vec(),
        environment: reader
            .list(|reader| Ok((reader.bytes()?.to_vec(), reader.bytes()?.to_vec())))?,
        insists: reader.flag()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_of_this_machine_has_a_number() {
        let number = |display: &str| local_display(display.as_bytes());
        assert_eq!(number(":0"), Some("0".to_owned()));
        assert_eq!(number("unix:12.1"), Some("12".to_owned()));
        for other in
            ["", ":", "localhost:10.0", "host/unix:0", ":x", ":1/../2", "/tmp/x", ":123456"]
        {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
