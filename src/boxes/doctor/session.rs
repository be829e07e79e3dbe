//! Checks of what a box gets of the host's desktop.

use super::{Patient, Seen};
use crate::agent::protocol::desktop::{
    Desktop, Identity, Switch, X11, X11_SOCKETS, host_runtime, local_display, runtime,
};
use crate::agent::protocol::hand_over::BUS;
use crate::boxes::desktop::{on, shares};
use crate::boxes::remedy::Remedy;
use crate::run::desktop::look;
use crate::session;
use crate::sys::signals::Signals;

/// What `look` sees in the session of now, where the switch is on.
fn where_on(patient: &Patient, switch: Switch, look_at: fn(&Desktop) -> Seen) -> Option<Seen> {
    let (instance, user) = (patient.instance.as_ref()?, patient.user.as_ref()?);
    Some(match on(instance)?.contains(&switch) {
        true => look_at(&look(user.uid, |name| std::env::var_os(name))),
        false => off(&instance.name, switch),
    })
}

/// What is said of a switch that is off.
pub fn off(name: &str, switch: Switch) -> Seen {
    Seen::ok(format!("off; incusbox set {name} {}=on turns it on", switch.name()))
}

pub fn display(patient: &mut Patient) -> Option<Seen> {
    where_on(patient, Switch::Display, windows)
}

pub fn audio(patient: &mut Patient) -> Option<Seen> {
    where_on(patient, Switch::Audio, sound)
}

pub fn bus(patient: &mut Patient) -> Option<Seen> {
    where_on(patient, Switch::Bus, messages)
}

pub fn ssh_agent(patient: &mut Patient) -> Option<Seen> {
    where_on(patient, Switch::SshAgent, keys)
}

/// Incus shows no directory that came after the box was started.
pub fn themes(patient: &mut Patient) -> Option<Seen> {
    let seen = where_on(patient, Switch::Themes, |_| files(&there()))?;
    let instance = patient.instance.as_ref()?;
    if !on(instance)?.contains(&Switch::Themes) || instance.status != "Running" {
        return Some(seen);
    }
    let name = instance.name.clone();
    let wanted: Vec<_> = there().into_iter().map(|(_, path, now)| (path, now)).collect();
    Some(match sees(patient, &name, &wanted)? {
        true => seen,
        false => Seen::warning("the box does not see all fonts, icons and themes of the host")
            .mend(Remedy::Advice(format!("incusbox restart {name}"))),
    })
}

/// The directories with fonts, icons and themes that the host has, and where a box sees them.
fn there() -> Vec<(&'static str, String, Identity)> {
    let all = shares().into_iter();
    all.filter_map(|(_, host, inside)| Some((host, inside, Identity::of(host)?))).collect()
}

fn files(there: &[(&str, String, Identity)]) -> Seen {
    let paths: Vec<&str> = there.iter().map(|(host, ..)| *host).collect();
    match paths.is_empty() {
        true => Seen::ok("the host has no fonts, icons or themes in /usr/share"),
        false => Seen::ok(paths.join(", ")),
    }
}

fn variable<'a>(session: &'a Desktop, name: &str) -> Option<&'a str> {
    let found = session.environment.iter().find(|(known, _)| known == name.as_bytes())?;
    std::str::from_utf8(&found.1).ok()
}

/// Whether there is a session, and the box sees the one of now.
pub fn view(patient: &mut Patient) -> Option<Seen> {
    let (instance, user) = (patient.instance.as_ref()?, patient.user.as_ref()?);
    let switches = on(instance)?;
    if !switches.iter().any(|switch| switch.needs_session()) {
        return Some(Seen::ok("the box is shown nothing of your session"));
    }
    let uid = user.uid;
    let Some(now) = Identity::of(&host_runtime(uid)) else {
        let text = format!("you have no session here: /run/user/{uid} is not there");
        return Some(
            Seen::warning(text)
                .mend(Remedy::Advice(format!("loginctl enable-linger {}", user.name))),
        );
    };
    if instance.status != "Running" {
        return Some(Seen::ok("you have a session"));
    }
    let name = instance.name.clone();
    let mut wanted = vec![(runtime(uid), now)];
    if let (true, Some(x11)) = (switches.contains(&Switch::Display), Identity::of(X11_SOCKETS)) {
        wanted.push((X11.to_owned(), x11));
    }
    Some(match sees(patient, &name, &wanted)? {
        true => Seen::ok("the box sees your session"),
        false => Seen::warning("the box sees an old session of yours, or none")
            .mend(Remedy::Advice(format!("incusbox run {name} -- true")))
            .mend(Remedy::Advice(format!("incusbox restart {name}"))),
    })
}

/// Whether these paths in the box are the directories that they should be.
fn sees(patient: &mut Patient, name: &str, wanted: &[(String, Identity)]) -> Option<bool> {
    if wanted.is_empty() {
        return Some(true);
    }
    let paths: Vec<&str> = wanted.iter().map(|(path, _)| path.as_str()).collect();
    let command = [&["stat", "-c", "%d %i"], paths.as_slice()].concat();
    let client = patient.client.as_mut().ok()?;
    let mut signals = Signals::catch(&[]).ok()?;
    let mut seen = Vec::new();
    let mut line = |line: &[u8]| seen.push(String::from_utf8_lossy(line).trim().to_owned());
    client.run_helper(name, &command, b"", None, &mut signals, &mut line).ok()?;
    let told = wanted.iter().map(|(_, identity)| format!("{} {}", identity.device, identity.inode));
    Some(seen.into_iter().eq(told))
}

fn windows(session: &Desktop) -> Seen {
    let (x11, wayland) = (variable(session, "DISPLAY"), variable(session, "WAYLAND_DISPLAY"));
    if x11.is_none() && wayland.is_none() {
        return Seen::warning(
            "neither DISPLAY nor WAYLAND_DISPLAY is set here: windows have nowhere to go",
        );
    }
    let mut ways = Vec::new();
    if let Some(name) = wayland {
        let path = match name.starts_with('/') {
            true => name.to_owned(),
            false => format!("{}/{name}", host_runtime(session.uid)),
        };
        if !std::path::Path::new(&path).exists() {
            return Seen::warning(format!("WAYLAND_DISPLAY names `{path}`, which is not there"));
        }
        ways.push(format!("Wayland at {name}"));
    }
    if let Some(display) = x11 {
        let Some(number) = local_display(display.as_bytes()) else {
            return Seen::warning(format!(
                "DISPLAY is `{display}`, which is not on this machine: a box cannot reach it"
            ));
        };
        if !std::path::Path::new(&format!("{X11_SOCKETS}/X{number}")).exists() {
            return Seen::warning(format!(
                "the X server of `{display}` has no socket in /tmp/.X11-unix"
            ));
        }
        if session.cookie_mark == 0 {
            let seen = Seen::warning(format!(
                "XAUTHORITY has no cookie for `{display}`: the X server may refuse programs of the box"
            ));
            return seen.mend(Remedy::Advice(
                "xauth list shows the cookies; the session makes them at login".to_owned(),
            ));
        }
        ways.push(format!("X11 at {display}"));
    }
    Seen::ok(ways.join(", "))
}

fn sound(session: &Desktop) -> Seen {
    let has = |name: &str| {
        std::path::Path::new(&format!("{}/{name}", host_runtime(session.uid))).exists()
    };
    let found: Vec<&str> = [("PipeWire", "pipewire-0"), ("PulseAudio", "pulse/native")]
        .into_iter()
        .filter(|(_, socket)| has(socket))
        .map(|(name, _)| name)
        .collect();
    match (found.is_empty(), variable(session, "PULSE_SERVER")) {
        (false, _) => Seen::ok(found.join(", ")),
        (true, Some(server)) => Seen::ok(format!("PULSE_SERVER is {server}")),
        (true, None) => Seen::warning("no sound server runs in your session")
            .mend(Remedy::Advice("systemctl --user start pipewire-pulse".to_owned())),
    }
}

fn messages(now: &Desktop) -> Seen {
    match variable(now, "DBUS_SESSION_BUS_ADDRESS") {
        Some(address) if address.contains("unix:path=") => match is_served(now.uid) {
            true => Seen::ok(address.to_owned()),
            false => Seen::warning(
                "nothing opens files for boxes here, and portals refuse their programs",
            )
            .mend(Remedy::Advice(format!("systemctl --user start {}", session::UNIT))),
        },
        Some(address) => {
            Seen::warning(format!("the session bus is at `{address}`, which a box cannot reach"))
                .mend(Remedy::Advice("install dbus-user-session and log in again".to_owned()))
        }
        None => Seen::warning("DBUS_SESSION_BUS_ADDRESS is not set here: there is no session bus"),
    }
}

/// Whether somebody serves the sockets for boxes.
fn is_served(uid: u32) -> bool {
    let path = std::path::Path::new(&session::sockets(uid)).join(BUS);
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

fn keys(now: &Desktop) -> Seen {
    let Some(path) = variable(now, "SSH_AUTH_SOCK") else {
        return Seen::ok("SSH_AUTH_SOCK is not set here: there is no agent to show");
    };
    // Boxes have a /tmp of their own; a path elsewhere may be in a home that they share.
    if path.starts_with(&format!("{}/", host_runtime(now.uid))) || !path.starts_with("/tmp/") {
        return Seen::ok(path.to_owned());
    }
    Seen::warning(format!("the ssh-agent is at `{path}`, and a box has a /tmp of its own"))
        .mend(Remedy::Advice(format!("systemctl --user start {}", session::UNIT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::doctor::Status;

    type Check = fn(&Desktop) -> Seen;
    type Variables = &'static [(&'static str, &'static str)];

    /// A session of a user who has no runtime directory.
    fn session(variables: &[(&str, &str)]) -> Desktop {
        let pair =
            |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        Desktop {
            uid: 4_000_000,
            environment: variables.iter().map(pair).collect(),
            ..Desktop::default()
        }
    }

    #[test]
    fn what_is_wrong_with_a_session_is_told() {
        let wrong: [(Check, Variables, &str); 9] = [
            (windows, &[], "neither DISPLAY nor"),
            (windows, &[("WAYLAND_DISPLAY", "wayland-0")], "`/run/user/4000000/wayland-0`"),
            (windows, &[("DISPLAY", "localhost:10.0")], "not on this machine"),
            (windows, &[("DISPLAY", ":60123")], "no socket"),
            (sound, &[], "no sound server"),
            (messages, &[], "no session bus"),
            (messages, &[("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/tmp/x")], "cannot reach"),
            (
                messages,
                &[("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/4000000/bus")],
                "nothing opens",
            ),
            (keys, &[("SSH_AUTH_SOCK", "/tmp/ssh-x/agent.1")], "a /tmp of its own"),
        ];
        for (check, variables, words) in wrong {
            let seen = check(&session(variables));
            assert_eq!(seen.status, Status::Warning, "{words}");
            assert!(seen.text.contains(words), "{}", seen.text);
        }
    }

    #[test]
    fn a_host_may_have_nothing_to_show() {
        assert!(files(&[]).text.contains("no fonts"));
        let fonts = ("/usr/share/fonts", String::new(), Identity { device: 1, inode: 2 });
        assert_eq!(files(&[fonts]).text, "/usr/share/fonts");
    }

    #[test]
    fn a_session_that_a_box_can_reach_is_well() {
        let well: [(Check, Variables); 3] = [
            (sound, &[("PULSE_SERVER", "tcp:sound")]),
            (keys, &[("SSH_AUTH_SOCK", "/run/user/4000000/ssh-agent.socket")]),
            (keys, &[]),
        ];
        for (check, variables) in well {
            assert_eq!(check(&session(variables)).status, Status::Ok);
        }
    }
}
