//! The session bus, the portals and the ssh-agent, from a box.

use super::Session;

/// A handler of addresses and texts that notes where it ran, for the host and, in the shared home,
/// for the box.
const RECORDER: &str = r#"mkdir -p ~/.local/share/applications ~/.config
printf '#!/bin/sh
echo "$(hostname) $1" >>~/opened
' >~/record
chmod +x ~/record
printf '[Desktop Entry]
Type=Application
Name=Record
Exec=%s/record %%u
MimeType=x-scheme-handler/https;text/plain;
' "$HOME" >~/.local/share/applications/record.desktop
printf '[Default Applications]
x-scheme-handler/https=record.desktop
text/plain=record.desktop
' >~/.config/mimeapps.list
echo shared >~/shared.txt"#;

/// Waits for lines of the handler's and empties its notes.
const OPENED: &str = "timeout 20 sh -c 'until [ \"$(wc -l 2>/dev/null <~/opened)\" -ge COUNT ]; do sleep 0.1; done'; cat ~/opened; rm ~/opened";

pub fn portals_and_links(session: &Session) {
    let portal = "busctl --address=\"$DBUS_SESSION_BUS_ADDRESS\" call org.freedesktop.portal.Desktop /org/freedesktop/portal/desktop org.freedesktop.portal";
    let settings = format!("{portal}.Settings ReadAll as 0");
    // The bus itself, as where the helper of the session does not run.
    let directly = format!("DBUS_SESSION_BUS_ADDRESS=${{DBUS_SESSION_BUS_ADDRESS#*;}}; {settings}");
    let refused = session.inside(&directly);
    assert!(refused.status != Some(0) && refused.stderr.contains("denied"), "{refused:#?}");
    let told = session.inside(&settings).succeeds().stdout;
    assert!(told.starts_with("a{sa{sv}}"), "{told}");

    session.here(RECORDER).succeeds();
    let host = session.here("hostname; echo $HOME").succeeds().stdout;
    let (host, home) = host.trim().split_once('\n').expect("a name and a home");
    let opens = "cd; xdg-open https://example.org/a?b=c && xdg-open shared.txt && xdg-open file://$HOME/shared.txt && echo own >/tmp/own.txt && xdg-open /tmp/own.txt && echo done";
    assert_eq!(session.inside(opens).succeeds().stdout, "done\n");
    let opened = session.here(&OPENED.replace("COUNT", "4")).succeeds().stdout;
    let shared = format!("{host} {home}/shared.txt\n");
    let expected = format!("{host} https://example.org/a?b=c\n{shared}{shared}dev /tmp/own.txt\n");
    assert_eq!(opened, expected);
    let missing = session.inside("xdg-open /nowhere");
    assert!(missing.status == Some(2) && missing.stderr.contains("does not exist"), "{missing:#?}");
    // By the portal; the handler is a program of the host's, too.
    session
        .inside(&format!("{portal}.OpenURI OpenURI 'ssa{{sv}}' '' https://example.org/portal 0"))
        .succeeds();
    let opened = session.here(&OPENED.replace("COUNT", "1")).succeeds().stdout;
    assert_eq!(opened, format!("{host} https://example.org/portal\n"));
    // Without the bus the box opens it itself.
    session.here("incusbox set dev bus=off").succeeds();
    session.inside("xdg-open https://example.org/off").succeeds();
    let opened = session.here(&OPENED.replace("COUNT", "1")).succeeds().stdout;
    assert_eq!(opened, "dev https://example.org/off\n");
    session.here("incusbox set dev bus=on; rm ~/.config/mimeapps.list").succeeds();
}

/// A player, as the desktop's controls look for it.
const PLAYER: &str = r#"from gi.repository import Gio, GLib
about = '<node><interface name="org.mpris.MediaPlayer2"><property name="Identity" type="s" access="read"/></interface></node>'
bus = Gio.bus_get_sync(Gio.BusType.SESSION)
interface = Gio.DBusNodeInfo.new_for_xml(about).interfaces[0]
bus.register_object("/org/mpris/MediaPlayer2", interface, None, lambda *_: GLib.Variant("s", "in the box"), None)
Gio.bus_own_name_on_connection(bus, "org.mpris.MediaPlayer2.box", 0, None, None)
GLib.MainLoop().run()
"#;

/// A keyring that needs no password; a portal may have had the service started already.
const KEYRING: &str = r#"keys=~/.local/share/keyrings
mkdir -p $keys
printf '[keyring]\ndisplay-name=open\nlock-on-idle=false\nlock-after=false\n' >$keys/open.keyring
printf open >$keys/default
running() { busctl --user status org.freedesktop.secrets 2>/dev/null; }
kill $(running | sed -n 's/^PID=//p') 2>/dev/null
while running >/dev/null; do sleep 0.1; done
incusbox-run dev -- sh -c 'printf %s "$1" | secret-tool store --label=a box kept' sh 'of the box'
secret-tool lookup box kept; echo
incusbox-run dev -- secret-tool lookup box kept; echo
rm -r $keys"#;

/// Services of the box's that the host calls, and the keyring, which hands over secrets by an
/// exchange of keys.
pub fn both_ways_on_the_bus(session: &Session) {
    session.inside(&format!("cat >/tmp/player.py <<'END'\n{PLAYER}END\n")).succeeds();
    let ask = "busctl --user get-property org.mpris.MediaPlayer2.box /org/mpris/MediaPlayer2 org.mpris.MediaPlayer2 Identity";
    let script = format!(
        "incusbox-run dev -- python3 /tmp/player.py >/dev/null 2>&1 & player=$!
         timeout 20 sh -c 'until {ask} 2>/dev/null; do sleep 0.1; done'
         kill $player; wait $player
         timeout 20 sh -c 'while {ask} >/dev/null 2>&1; do sleep 0.1; done' && echo gone"
    );
    assert_eq!(session.here(&script).succeeds().stdout, "s \"in the box\"\ngone\n");

    assert_eq!(session.here(KEYRING).succeeds().stdout, "of the box\nof the box\n");
}

/// Debian's X sessions have it there.
pub fn ssh_agent_in_tmp(session: &Session) {
    let keys = "eval \"$(ssh-agent -a /tmp/agent-of-test)\" >/dev/null; cd \"$XDG_RUNTIME_DIR\"
        ssh-keygen -q -t ed25519 -N '' -f of-test -C in-tmp && ssh-add -q of-test
        for i in 1 2; do incusbox-run dev -- ssh-add -l | grep -c in-tmp; done
        kill $SSH_AGENT_PID; rm of-test*";
    assert_eq!(session.here(keys).succeeds().stdout, "1\n1\n");
}
