//! Checks of what a box gets of the host's desktop session.

use super::{Patient, Seen};
use crate::agent::protocol::desktop::{
    Desktop, Identity, Switch, X11, X11_SOCKETS, host_runtime, local_display, runtime,
};
use crate::boxes::desktop::on;
use crate::boxes::remedy::Remedy;
use crate::run::desktop::look;
use crate::sys::signals::Signals;

/// The session as this process sees it, where the switch is on; else what to say.
fn session(patient: &Patient, switch: Switch) -> Option<Result<Desktop, Seen>> {
    let (instance, user) = (patient.instance.as_ref()?, patient.user.as_ref()?);
    let is_on = on(instance)?.contains(&switch);
    Some(match is_on {
        true => Ok(look(user.uid, |name| std::env::var_os(name))),
        false => Err(Seen::ok(format!(
            "off; incusbox set {} {}=on turns it on",
            instance.name,
            switch.name()
        ))),
    })
}

fn variable<'a>(session: &'a Desktop, name: &str) -> Option<&'a str> {
    let found = session.environment.iter().find(|(known, _)| known == name.as_bytes())?;
    std::str::from_utf8(&found.1).ok()
}

/// Whether there is a session, and the box sees the one of now.
pub fn view(patient: &mut Patient) -> Option<Seen> {
    let (instance, user) = (patient.instance.as_ref()?, patient.user.as_ref()?);
    let switches = on(instance)?;
    if switches.is_empty() {
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
    let paths: Vec<&str> = wanted.iter().map(|(path, _)| path.as_str()).collect();
    let command = [&["stat", "-c", "%d %i"], paths.as_slice()].concat();
    let client = patient.client.as_mut().ok()?;
    let mut signals = Signals::catch(&[]).ok()?;
    let mut seen = Vec::new();
    let mut line = |line: &[u8]| seen.push(String::from_utf8_lossy(line).trim().to_owned());
    client.run_helper(&name, &command, b"", &mut signals, &mut line).ok()?;
    let told = wanted.iter().map(|(_, identity)| format!("{} {}", identity.device, identity.inode));
    Some(match seen.into_iter().eq(told) {
        true => Seen::ok("the box sees your session"),
        false => Seen::warning("the box sees an old session of yours, or none")
            .mend(Remedy::Advice(format!("incusbox run {name} -- true")))
            .mend(Remedy::Advice(format!("incusbox restart {name}"))),
    })
}

pub fn display(patient: &mut Patient) -> Option<Seen> {
    let session = match session(patient, Switch::Display)? {
        Ok(session) => session,
        Err(seen) => return Some(seen),
    };
    let (x11, wayland) = (variable(&session, "DISPLAY"), variable(&session, "WAYLAND_DISPLAY"));
    if x11.is_none() && wayland.is_none() {
        return Some(Seen::warning(
            "neither DISPLAY nor WAYLAND_DISPLAY is set here: windows have nowhere to go",
        ));
    }
    let mut ways = Vec::new();
    if let Some(name) = wayland {
        let path = match name.starts_with('/') {
            true => name.to_owned(),
            false => format!("{}/{name}", host_runtime(session.uid)),
        };
        if !std::path::Path::new(&path).exists() {
            return Some(Seen::warning(format!(
                "WAYLAND_DISPLAY names `{path}`, which is not there"
            )));
        }
        ways.push(format!("Wayland at {name}"));
    }
    if let Some(display) = x11 {
        let Some(number) = local_display(display.as_bytes()) else {
            return Some(Seen::warning(format!(
                "DISPLAY is `{display}`, which is not on this machine: a box cannot reach it"
            )));
        };
        if !std::path::Path::new(&format!("{X11_SOCKETS}/X{number}")).exists() {
            return Some(Seen::warning(format!(
                "the X server of `{display}` has no socket in /tmp/.X11-unix"
            )));
        }
        if session.cookie.is_empty() {
            let seen = Seen::warning(format!(
                "XAUTHORITY has no cookie for `{display}`: the X server may refuse programs of the box"
            ));
            return Some(seen.mend(Remedy::Advice(
                "xauth list shows the cookies; the session makes them at login".to_owned(),
            )));
        }
        ways.push(format!("X11 at {display}"));
    }
    Some(Seen::ok(ways.join(", ")))
}

pub fn audio(patient: &mut Patient) -> Option<Seen> {
    let session = match session(patient, Switch::Audio)? {
        Ok(session) => session,
        Err(seen) => return Some(seen),
    };
    let has = |name: &str| {
        std::path::Path::new(&format!("{}/{name}", host_runtime(session.uid))).exists()
    };
    let found: Vec<&str> = [("PipeWire", "pipewire-0"), ("PulseAudio", "pulse/native")]
        .into_iter()
        .filter(|(_, socket)| has(socket))
        .map(|(name, _)| name)
        .collect();
    Some(match found.is_empty() && variable(&session, "PULSE_SERVER").is_none() {
        false => Seen::ok(match found.is_empty() {
            true => "PULSE_SERVER names a server".to_owned(),
            false => found.join(", "),
        }),
        true => Seen::warning("no sound server runs in your session")
            .mend(Remedy::Advice("systemctl --user start pipewire-pulse".to_owned())),
    })
}

pub fn bus(patient: &mut Patient) -> Option<Seen> {
    let session = match session(patient, Switch::Bus)? {
        Ok(session) => session,
        Err(seen) => return Some(seen),
    };
    Some(match variable(&session, "DBUS_SESSION_BUS_ADDRESS") {
        Some(address) if address.contains("unix:path=") => Seen::ok(address.to_owned()),
        Some(address) => {
            Seen::warning(format!("the session bus is at `{address}`, which a box cannot reach"))
                .mend(Remedy::Advice("install dbus-user-session and log in again".to_owned()))
        }
        None => Seen::warning("DBUS_SESSION_BUS_ADDRESS is not set here: there is no session bus"),
    })
}

pub fn ssh_agent(patient: &mut Patient) -> Option<Seen> {
    let session = match session(patient, Switch::SshAgent)? {
        Ok(session) => session,
        Err(seen) => return Some(seen),
    };
    let user = patient.user.as_ref()?;
    let Some(path) = variable(&session, "SSH_AUTH_SOCK") else {
        return Some(Seen::ok("SSH_AUTH_SOCK is not set here: there is no agent to show"));
    };
    let is_shown = path.starts_with(&format!("{}/", host_runtime(user.uid)))
        || path.starts_with(&format!("{}/", user.home));
    Some(match is_shown {
        true => Seen::ok(path.to_owned()),
        false => Seen::warning(format!("the ssh-agent is at `{path}`, which the box does not see"))
            .mend(Remedy::Advice(
                "start it at $XDG_RUNTIME_DIR/ssh-agent.socket, as in: ssh-agent -a \"$XDG_RUNTIME_DIR/ssh-agent.socket\"".to_owned(),
            )),
    })
}
