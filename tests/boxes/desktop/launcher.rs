//! Programs of a box from the launcher of the host, and what opens what there.

use super::Session;

/// A program in the box that notes where it runs and what it opens.
pub const RECORDER: &str = r##"sudo sh -c '
printf "#!/bin/sh\necho \"\$(hostname) \$*\" >>\$HOME/opened\n" >/usr/local/bin/record-here
chmod +x /usr/local/bin/record-here
printf "[Desktop Entry]\nType=Application\nName=Record here\nIcon=foot\nExec=record-here %%F\nMimeType=text/plain;text/x-csrc;application/x-incusbox-note;\n" >/usr/share/applications/org.test.Here.desktop
mkdir -p /usr/local/share/mime/packages
printf "<mime-info xmlns=\"http://www.freedesktop.org/standards/shared-mime-info\"><mime-type type=\"application/x-incusbox-note\"><comment>Note</comment><magic><match type=\"string\" value=\"text\" offset=\"0\"/></magic><glob pattern=\"*.ibxnote\"/><glob pattern=\"*.txt\" weight=\"90\"/></mime-type></mime-info>" >/usr/local/share/mime/packages/note.xml'"##;

/// What opens each type that the host knows, a line each.
const DEFAULTS: &str = "sed -n 's/=.*//p' /usr/share/applications/mimeinfo.cache | while read -r type; do gio mime \"$type\" | head -n 1; done";

/// Starts foot by its entry, and says what the compositor knows of its window.
const LAUNCH: &str = r#"gio launch ~/.local/share/applications/foot.desktop >/dev/null 2>&1 &
export SWAYSOCK="$(echo $XDG_RUNTIME_DIR/testbed-session/wayland/sway-ipc.*.sock)"
window() { swaymsg -t get_tree -r | jq -r '.. | objects | select(.type == "con" and .pid) | .app_id'; }
tenths=300
until [ "$(window)" ] || [ $((tenths -= 1)) -eq 0 ]; do sleep 0.1; done
window
swaymsg -q '[app_id="foot"] kill'
tenths=100
while [ "$(window)" ] && [ $((tenths -= 1)) -gt 0 ]; do sleep 0.1; done
window"#;

/// What the host takes files for.
const TYPES: &str = "for name in x.ibxnote x.txt x; do echo text >/tmp/$name; gio info -a standard::content-type /tmp/$name | sed -n 's/.*content-type: //p'; rm /tmp/$name; done";

pub fn launcher(session: &Session) {
    let here = |text: &str| session.here(&format!("export XDG_CURRENT_DESKTOP=sway\n{text}"));
    session.inside(RECORDER).succeeds();
    // A program that the host has not, so that it keeps its id.
    session.host.root("mv /usr/share/applications/foot.desktop /root").succeeds();
    let before = here(DEFAULTS).succeeds().stdout;
    assert!(before.lines().count() > 10, "{before}");
    let told = here("incusbox export dev --all-apps").succeeds();
    assert!(told.stdout.contains("/org.test.Here.desktop"), "{told:#?}");
    assert_eq!(here(DEFAULTS).succeeds().stdout, before, "no default changed");
    let lists = "rm ~/.local/share/applications/*-mimeapps.list; incusbox export dev";
    let told = here(lists).succeeds();
    assert!(told.stdout.contains("-mimeapps.list\n"), "it comes back: {told:#?}");
    assert_eq!(here(DEFAULTS).succeeds().stdout, before, "no default changed");
    here("desktop-file-validate ~/.local/share/applications/org.test.Here.desktop").succeeds();

    let types = "application/x-incusbox-note\ntext/plain\ntext/plain\n";
    assert_eq!(here(TYPES).succeeds().stdout, types, "its own type, and no other's");
    let open = "echo note >here.ibxnote; gio open here.ibxnote; timeout 20 sh -c 'until [ -e ~/opened ]; do sleep 0.1; done'; cat ~/opened; rm ~/opened here.ibxnote";
    let home = here("echo ~").succeeds().stdout;
    assert_eq!(here(open).succeeds().stdout, format!("dev {}/here.ibxnote\n", home.trim()));

    assert_eq!(here(LAUNCH).stdout, "foot\n");

    let open = "gio mime text/plain org.test.Here.desktop >/dev/null; echo text >'~ odd 100%.txt'; gio open '~ odd 100%.txt'; timeout 20 sh -c 'until [ -e ~/opened ]; do sleep 0.1; done'; cat ~/opened; rm ~/opened";
    assert_eq!(here(open).succeeds().stdout, format!("dev {}/~ odd 100%.txt\n", home.trim()));

    // Nobody reads the stderr of what a launcher starts.
    let unseen = "gio launch ~/.local/share/applications/org.test.Here.desktop /etc/hostname";
    here(unseen).succeeds();
    let is_noted =
        || session.server(&["notifications"]).stdout.contains("`/etc/hostname` is on the host");
    assert!((0..100).any(|_| {
        is_noted() || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            false
        }
    }));
    here("! test -e ~/opened").succeeds();

    // If that was asked for, the box is shown it: what is open, for this daemon has the host's mounts.
    here("incusbox export dev --app 'Record here' --share-files").succeeds();
    let seen = "gio launch ~/.local/share/applications/org.test.Here.desktop /etc/hostname; timeout 20 sh -c 'until [ -e ~/opened ]; do sleep 0.1; done'; cat ~/opened; rm ~/opened";
    let opened = here(seen).succeeds().stdout;
    assert!(opened.starts_with("dev /run/incusbox/files/"), "{opened}");
    assert!(opened.ends_with("/hostname\n"), "{opened}");
    let devices = session.host.root("incus config device show dev").succeeds().stdout;
    assert!(devices.contains("source: /proc/"), "{devices}");

    here("incusbox unexport dev --all; rm ~/.config/mimeapps.list").succeeds();
    by_the_bus(session);
    from_inside(session);
    let left = here(
        "find ~/.local/share -name '*.desktop' -o -name '*mimeapps.list' -o -name 'incusbox.*'",
    );
    assert_eq!(left.succeeds().stdout, "");
    assert_eq!(here(TYPES).succeeds().stdout, "text/plain\n".repeat(3));
    session.host.root("mv /root/foot.desktop /usr/share/applications").succeeds();
}

/// A program that only the session bus starts.
const ON_BUS: &str = r##"sudo sh -c '
cat >/usr/local/bin/on-bus <<END
#!/usr/bin/python3
import os, socket
from gi.repository import Gio
def note(what):
    with open(os.path.expanduser("~/opened"), "a") as file:
        file.write(socket.gethostname() + " " + what + "\n")
app = Gio.Application(application_id="org.test.Bus", flags=Gio.ApplicationFlags.IS_SERVICE | Gio.ApplicationFlags.HANDLES_OPEN, inactivity_timeout=500)
app.connect("activate", lambda app: note("activated"))
app.connect("open", lambda app, files, *rest: note(files[0].get_path()))
app.run([])
END
chmod +x /usr/local/bin/on-bus
mkdir -p /usr/share/dbus-1/services
printf "[D-BUS Service]\nName=org.test.Bus\nExec=/usr/local/bin/on-bus\nSystemdService=x.service\n" >/usr/share/dbus-1/services/org.test.Bus.service
printf "[Desktop Entry]\nType=Application\nName=On the bus\nDBusActivatable=true\nMimeType=application/x-incusbox-note;\nActions=new;\n[Desktop Action new]\nName=New\n" >/usr/share/applications/org.test.Bus.desktop'"##;

fn by_the_bus(session: &Session) {
    session.inside(ON_BUS).succeeds();
    let told = session.here("incusbox export dev --app org.test.Bus").succeeds();
    assert!(told.stdout.contains("/dbus-1/services/org.test.Bus.service"), "{told:#?}");
    let opened =
        "timeout 20 sh -c 'until [ -e ~/opened ]; do sleep 0.1; done'; cat ~/opened; rm ~/opened";
    let told = session.here(&format!("gapplication launch org.test.Bus; {opened}"));
    assert_eq!(told.stdout, "dev activated\n", "{told:#?}");
    let open = "gio mime application/x-incusbox-note org.test.Bus.desktop >/dev/null; echo note >~/here.ibxnote; gio open ~/here.ibxnote";
    let told =
        session.here(&format!("{open}; {opened}; rm ~/here.ibxnote ~/.config/mimeapps.list"));
    assert!(
        told.stdout.starts_with("dev /") && told.stdout.ends_with("/here.ibxnote\n"),
        "{told:#?}"
    );
    // With a command it is started by that; others still reach it by its name.
    session
        .inside("sudo sed -i 's/^DBusActivatable/Exec=on-bus\\n&/' /usr/share/applications/org.test.Bus.desktop")
        .succeeds();
    let told = session.here(&format!(
        "incusbox export dev >/dev/null; grep -c DBusActivatable ~/.local/share/applications/org.test.Bus.desktop; gapplication launch org.test.Bus; {opened}"
    ));
    assert_eq!(told.stdout, "0\ndev activated\n", "{told:#?}");
    session.here("incusbox unexport dev --all").succeeds();
    let names = "gdbus call --session --dest org.freedesktop.DBus --object-path /org/freedesktop/DBus --method org.freedesktop.DBus.ListActivatableNames";
    let told = session.here(names).succeeds().stdout;
    assert!(told.contains("org.freedesktop.") && !told.contains("org.test.Bus"), "{told}");
}

/// Exports that are asked for in the box.
fn from_inside(session: &Session) {
    let inside = |text: &str| session.inside(text);
    let told = inside("incusbox export --app 'Record here'").succeeds();
    assert!(
        told.stdout.contains("wrote ") && told.stdout.contains("/org.test.Here.desktop"),
        "{told:#?}"
    );
    inside("incusbox-export --bin record-here").succeeds();
    let there = "cat ~/.local/bin/record-here ~/.local/share/applications/org.test.Here.desktop";
    assert!(session.here(there).succeeds().stdout.contains("X-Incusbox-Box=dev"));
    for (words, why) in [
        ("export --bin cat", "the host has a command `cat`"),
        ("export --export-path /tmp", "nothing that can be said in a box"),
        ("export other --all-apps", "nothing that can be said in a box"),
        ("list", "in a box there are"),
    ] {
        let told = inside(&format!("incusbox {words}"));
        assert!(told.status == Some(2) && told.stderr.contains(why), "{told:#?}");
    }
    let none = inside("incusbox export --app nonsense");
    assert!(none.status == Some(2) && none.stderr.contains("no program `nonsense`"), "{none:#?}");
    inside("incusbox unexport --all").succeeds();
    assert_ne!(session.here(there).status, Some(0));
}
