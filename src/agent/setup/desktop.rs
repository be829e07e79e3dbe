//! The switches of the host's desktop session, where programs find its fonts and themes, and what
//! keeps programs of the box's own session out of the host's way.

use std::path::Path;

use super::failure::Failure;
use super::sudo::is_ours;
use super::tree::{Access, Tree};
use crate::agent::protocol::apps::OPENS;
use crate::agent::protocol::desktop::{LOCAL_FONTS, ON, SHARE, Switch, runtime};
use crate::agent::themes;

/// For services of the box that run without a command from the host: links at the names that the
/// servers have on nearly every host. A run makes links at the names of the host's variables.
const LINKS: &str = "/etc/systemd/system/user-runtime-dir@.service.d/incusbox.conf";
/// Where programs of the box's administrator announce themselves.
const APPLICATIONS: &str = "/usr/local/share/applications";
/// Behind fontconfig's own directories. Also where there is no fontconfig: packages may bring it.
const FONTS: &str = "/etc/fonts/conf.d/50-incusbox.conf";
/// What commands get from the agent, for services of the user: systemd.environment-generator(7).
/// Behind all others, which may set the same variables.
const GENERATOR: &str = "/etc/systemd/user-environment-generators/95-incusbox";
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
    write(tree, FONTS, &fonts())
}

/// Directories that are not there are passed over, so the file may stay when the switch is off.
///
/// Caches are known by a directory's path and time, and a home that is shared has those of the
/// host, where `/usr/share/fonts` is another one; on a host whose files all have the time 0 nothing
/// would tell them apart. The first directory that can be written to gets new ones.
fn fonts() -> String {
    format!(
        "<?xml version=\"1.0\"?>\n\
         <!DOCTYPE fontconfig SYSTEM \"urn:fontconfig:fonts.dtd\">\n\
         <!-- Written by incusbox: the host's fonts, and caches that are not the host's. -->\n\
         <fontconfig>\n  <dir>{SHARE}/fonts</dir>\n  <dir>{LOCAL_FONTS}</dir>\n  \
         <cachedir>/var/cache/fontconfig</cachedir>\n  \
         <cachedir prefix=\"xdg\">incusbox/fontconfig</cachedir>\n</fontconfig>\n"
    )
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
    tree.write(Path::new(GENERATOR), generator().as_bytes(), Access::root(0o755)).map(|_| ())
}

/// A script, since a file of environment.d(5) holds whatever the switch says.
fn generator() -> String {
    let on = Path::new(ON).join(Switch::Themes.name());
    let mut script = format!(
        "#!/bin/sh\n\
         # Written by incusbox: the host's icons, cursors and themes, behind the box's own.\n\
         test -e {} || exit 0\n",
        on.display()
    );
    for ((name, default), ours) in themes::appendices() {
        // Nothing twice, whatever a reload hands on of what was said before.
        script.push_str(&format!(
            "case \":${name}:\" in\n*:{ours}:*) ;;\n\
             *) echo \"{name}=${{{name}:-{default}}}:{ours}\" ;;\nesac\n"
        ));
    }
    script
}

fn write(tree: &Tree, path: &str, text: &str) -> Result<(), Failure> {
    tree.write(path, text.as_bytes(), Access::root(0o644)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What the user's services get where the variables are these.
    fn generated(switch: &str, variables: &[(&str, &str)]) -> String {
        let script = generator().replace("/etc/incusbox/on/themes", switch);
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).env_clear().envs(variables.iter().copied());
        String::from_utf8(command.output().expect("a shell").stdout).expect("text")
    }

    #[test]
    fn services_find_the_hosts_themes_while_the_switch_is_on() {
        let set = "XDG_DATA_DIRS=/usr/local/share:/usr/share:/mnt/.incusbox/share\n\
                   XCURSOR_PATH=~/.local/share/icons:~/.icons:/usr/share/icons:/usr/share/pixmaps:\
                   /mnt/.incusbox/share/icons\n";
        assert_eq!(generated("/dev/null", &[]), set);
        assert_eq!(generated("/nonexistent", &[]), "");
        let before = [("XDG_DATA_DIRS", "/a:/mnt/.incusbox/share"), ("XCURSOR_PATH", "/b")];
        assert_eq!(generated("/dev/null", &before), "XCURSOR_PATH=/b:/mnt/.incusbox/share/icons\n");
    }
}
