//! The switches of the host's desktop session, and what keeps programs of the box's own session out
//! of the host's way.

use std::path::Path;

use super::failure::Failure;
use super::sudo::is_ours;
use super::tree::{Access, Tree};
use crate::agent::protocol::desktop::{ON, Switch, runtime};

/// For services of the box that run without a command from the host: links at the names that the
/// servers have on nearly every host. A run makes links at the names of the host's variables.
const LINKS: &str = "/etc/systemd/system/user-runtime-dir@.service.d/incusbox.conf";
/// Where programs of the box's administrator announce themselves.
const APPLICATIONS: &str = "/usr/local/share/applications";
/// The entry of the program that opens addresses.
const OPENS: &str = "incusbox-open.desktop";
/// A sound server of the box's own would take the place of the links, and has no device to play on.
const SOUND_SERVERS: &[&str] = &[
    "pipewire.service",
    "pipewire.socket",
    "pipewire-pulse.service",
    "pipewire-pulse.socket",
    "wireplumber.service",
    "pipewire-media-session.service",
    "pulseaudio.service",
    "pulseaudio.socket",
];

/// Turns exactly `on` on.
///
/// # Errors
/// Of the files.
pub fn settle(tree: &Tree, on: &[String]) -> Result<(), Failure> {
    tree.make_directory(ON, Access::root(0o755))?;
    for switch in Switch::ALL {
        let path = Path::new(ON).join(switch.name());
        if on.iter().any(|name| name == switch.name()) {
            tree.write(&path, b"", Access::root(0o644))?;
        } else if tree.exists(&path) {
            tree.remove(&path)?;
        }
    }
    Ok(())
}

/// Makes `xdg-open` what opens addresses for programs that ask a library instead, unless the user
/// decided for something else that the box has.
///
/// # Errors
/// Of the files.
pub fn settle_addresses(tree: &Tree) -> Result<(), Failure> {
    let kinds = ["http", "https", "mailto"].map(|scheme| format!("x-scheme-handler/{scheme}"));
    let entry = format!(
        "# Written by incusbox.\n[Desktop Entry]\nType=Application\nName=Open on the host\n\
         Exec=/usr/local/bin/xdg-open %u\nNoDisplay=true\nMimeType={};\n",
        kinds.join(";")
    );
    let lines: Vec<String> = kinds.iter().map(|kind| format!("{kind}={OPENS}\n")).collect();
    let defaults = format!("# Written by incusbox.\n[Default Applications]\n{}", lines.concat());
    for (name, text) in [(OPENS, entry), ("mimeapps.list", defaults)] {
        let path = Path::new(APPLICATIONS).join(name);
        if !tree.exists(&path) || is_ours(tree, &path) {
            tree.write(&path, text.as_bytes(), Access::root(0o644))?;
        }
    }
    Ok(())
}

/// What systemd has to know. It looks at the switches each time, so nothing here changes with one.
///
/// # Errors
/// Of the files.
pub fn settle_systemd(tree: &Tree) -> Result<(), Failure> {
    let audio = Path::new(ON).join(Switch::Audio.name());
    let audio = audio.display();
    let seen = runtime("%i");
    let links = format!(
        "# Written by incusbox: the host's sound servers, for services of the user.\n\
         [Service]\n\
         ExecStartPost=-/bin/sh -c 'cd /run/user/%i && test -e {audio} && ! test -e pulse && \
         mkdir -m 700 pulse && chown --reference=. pulse && ln -s {seen}/pulse/native pulse/native && \
         ln -s {seen}/pipewire-0 {seen}/pipewire-0-manager .'\n"
    );
    write(tree, LINKS, &links)?;
    let never = format!(
        "# Written by incusbox: the host's sound server is used while this switch is on.\n\
         [Unit]\nConditionPathExists=!{audio}\n"
    );
    for unit in SOUND_SERVERS {
        write(tree, &format!("/etc/systemd/user/{unit}.d/incusbox.conf"), &never)?;
    }
    Ok(())
}

fn write(tree: &Tree, path: &str, text: &str) -> Result<(), Failure> {
    tree.write(path, text.as_bytes(), Access::root(0o644)).map(|_| ())
}
