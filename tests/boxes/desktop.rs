//! Programs in a box on the desktop session of a host: an X server that wants a cookie, a Wayland
//! compositor, PipeWire with a silent sink, a notification daemon, an ssh-agent.

use crate::host::{Host, script, user};
use crate::support::Outcome;

const SERVERS: &[&str] = &["x11", "wayland", "audio", "notifications", "ssh-agent"];

/// A host with a session of its user's, and the box `dev` there.
pub struct Session {
    host: Host,
    user: String,
}

impl Session {
    fn new(suite: &str) -> Session {
        let session = Session { host: Host::ready(suite, "desktop"), user: user("IBX_USER") };
        script(&["--desktop", &session.host.0]).succeeds();
        let allow = "usermod --add-subuids $(id -u USER)-$(id -u USER) --add-subgids $(id -g USER)-$(id -g USER) root";
        session.host.root(&allow.replace("USER", &session.user)).succeeds();
        session.start_servers();
        session.here("incusbox create dev --image desktop").succeeds();
        session
    }

    fn server(&self, words: &[&str]) -> Outcome {
        script(&[&["--session", &self.host.0, &self.user], words].concat()).succeeds()
    }

    /// After a login; its sound server begins with it.
    fn start_servers(&self) {
        for server in SERVERS {
            self.server(&[if *server == "audio" { "restart" } else { "start" }, server]);
        }
    }

    /// Runs a shell script in the session.
    pub fn here(&self, text: &str) -> Outcome {
        script(&["--session", &self.host.0, &self.user, "run", "sh", "-c", text])
    }

    /// Runs one in the box.
    fn inside(&self, text: &str) -> Outcome {
        script(&[
            "--session",
            &self.host.0,
            &self.user,
            "run",
            "incusbox-run",
            "dev",
            "--",
            "sh",
            "-c",
            text,
        ])
    }

    /// Asserts that every server of the session answers in the box.
    fn works(&self, when: &str) {
        let told = self.inside(ALL).succeeds();
        assert_eq!(told.stdout, "x11\nwayland\npulse\npipewire\nbus\n1 key\n", "{when}: {told:#?}");
    }

    /// The loudest frequency on the host while `command` plays.
    fn frequency_of(&self, command: &str) -> u32 {
        let text =
            format!("({command}) >/dev/null 2>&1 & player=$!; sleep 2; echo playing; wait $player");
        let frequency = std::thread::scope(|scope| {
            let player = scope.spawn(|| self.here(&text).succeeds());
            std::thread::sleep(std::time::Duration::from_secs(3));
            let heard = self.server(&["frequency"]).stdout;
            player.join().expect("a player");
            heard
        });
        frequency.trim().parse().expect("a number")
    }
}

/// Each line is one server that answered.
const ALL: &str = "xdpyinfo >/dev/null && echo x11
wayland-info >/dev/null && echo wayland
pactl info >/dev/null && echo pulse
pw-cli info 0 >/dev/null && echo pipewire
notify-send test && echo bus
ssh-add -l | grep -c ED25519 | sed 's/$/ key/'";

fn tone(frequency: u32, player: &str) -> String {
    format!(
        "incusbox-run dev -- sh -c 'sox -n -r 48000 -c 2 /tmp/{frequency}.wav synth 5 sine {frequency} && {player} /tmp/{frequency}.wav'"
    )
}

fn a_session(suite: &str) {
    let session = Session::new(suite);
    session.works("at first");
    windows_and_clipboards(&session);
    toolkits(&session);
    kwin(&session);
    themes(&session);
    sound(&session);
    let told = session.inside("notify-send -a 'an app' 'from the box' hello").succeeds();
    assert_eq!(told.stderr, "");
    let noted = session.server(&["notifications"]).stdout;
    assert!(noted.contains(r#""app": "an app""#) && noted.contains("from the box"), "{noted}");
    portals_and_links(&session);
    ssh_agent_in_tmp(&session);
    let doctor = session.here("incusbox doctor dev").succeeds().stdout;
    assert!(doctor.contains("ok       session    the box sees your session"), "{doctor}");
    assert!(doctor.contains("Wayland at wayland-7, X11 at :7"), "{doctor}");

    for server in SERVERS {
        session.server(&["restart", server]);
    }
    session.works("after each server was killed and started anew");
    session.here("incusbox restart dev").succeeds();
    session.works("after a restart of the box");
    another_login(&session);
    another_user(&session);
    crate::isolated::is_out_of_reach_of_everything(&session);
    switches(&session);
}

fn windows_and_clipboards(session: &Session) {
    let window = "incusbox-run dev -- xterm -T 'in the box' -e sleep 60 >/dev/null 2>&1 & xterm=$!
        timeout 20 sh -c 'until xdotool search --name \"^in the box$\" >/dev/null; do sleep 0.1; done' && echo mapped
        kill $xterm; wait $xterm
        timeout 10 sh -c 'while xdotool search --name \"^in the box$\" >/dev/null; do sleep 0.1; done' && echo gone";
    assert_eq!(session.here(window).succeeds().stdout, "mapped\ngone\n");
    let locked = session.inside("xauth list").succeeds();
    assert!(
        locked.stderr.is_empty() && locked.stdout.contains("MIT-MAGIC-COOKIE-1"),
        "{locked:#?}"
    );
    let refused = session.inside("XAUTHORITY=/dev/null xdpyinfo 2>&1; true").succeeds().stdout;
    assert!(refused.contains("unable to open display"), "nobody else gets in: {refused}");

    session.here("wl-copy 'from the host'").succeeds();
    assert_eq!(session.inside("wl-paste --no-newline").succeeds().stdout, "from the host");
    session.inside("printf 'from the box' | xclip -selection clipboard").succeeds();
    let pasted = session.inside("xclip -o -selection clipboard").succeeds().stdout;
    assert_eq!(pasted, "from the box");
}

const WAYLAND_WINDOW: &str = r#"unset DISPLAY
incusbox-run --env QT_QPA_PLATFORM=wayland dev -- PROGRAM >/dev/null 2>&1 &
export SWAYSOCK="$(echo $XDG_RUNTIME_DIR/testbed-session/wayland/sway-ipc.*.sock)"
count=0
until swaymsg -t get_tree -r | jq -e '[.. | objects | select(.type == "con" and .pid)] | length > 0' >/dev/null; do
    [ $((count += 1)) -lt 300 ] || exit
    sleep 0.1
done
echo mapped
kill $!
wait
"#;

const CHROMIUM: &str = "chromium --user-data-dir=/tmp/chromium --no-first-run about:blank";
const CHROMIUM_ON_X: &str =
    "chromium --ozone-platform=x11 --user-data-dir=/tmp/chromium --no-first-run about:blank";

/// One program of each toolkit, on X and on Wayland.
fn toolkits(session: &Session) {
    let mut x11 = vec![
        ("glxgears", "--name glxgears"),
        ("GDK_BACKEND=x11 gtk3-demo", "--class gtk3-demo"),
        ("GDK_BACKEND=x11 gtk4-demo", "--class gtk4-demo"),
        ("QT_QPA_PLATFORM=xcb qt6ct", "--class qt6ct"),
    ];
    let mut wayland = vec!["gtk3-demo", "gtk4-demo", "qt6ct", "foot"];
    // The largest of all, with a sandbox of its own; on one of the two is enough to download.
    if session.inside("command -v chromium").status == Some(0) {
        x11.push((CHROMIUM_ON_X, "--class chromium"));
        wayland.push(CHROMIUM);
    }
    for (command, window) in x11 {
        let script = format!(
            "incusbox-run dev -- sh -c 'exec env {command}' >/dev/null 2>&1 & program=$!
             timeout 30 sh -c 'until xdotool search --onlyvisible {window} >/dev/null; do sleep 0.1; done' && echo mapped
             kill $program; wait $program"
        );
        assert_eq!(session.here(&script).stdout, "mapped\n", "{command} on X");
    }
    for program in wayland {
        let script = WAYLAND_WINDOW.replace("PROGRAM", program);
        assert_eq!(session.here(&script).stdout, "mapped\n", "{program} on Wayland");
    }
    let drawn = "glxinfo | grep -c 'OpenGL renderer string'; vulkaninfo --summary 2>/dev/null | grep -c deviceName";
    assert_eq!(session.inside(drawn).succeeds().stdout, "1\n1\n");
}

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

fn portals_and_links(session: &Session) {
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

/// On the host: a font of a name that no other has, and a theme with an icon and a cursor.
const MAKE_THEMES: &str = r#"set -e
mkdir -p /usr/share/fonts/testbed /usr/share/icons/testbed/cursors /usr/share/themes/testbed
cp /usr/share/icons/Adwaita/cursors/left_ptr /usr/share/icons/testbed/cursors/testbed
python3 - <<'END'
font = open("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "rb").read()
for coding in "ascii", "utf-16-be":
    font = font.replace("DejaVu".encode(coding), "Inncus".encode(coding))
open("/usr/share/fonts/testbed/font.ttf", "wb").write(font)
END
"#;

/// Each line is one that a program in the box found.
const FIND_THEMES: &str = r#"fc-match -f '%{family}\n' 'Inncus Sans' | grep Inncus
IFS=:
for directory in ${XDG_DATA_DIRS:-/usr/local/share:/usr/share}; do
    for kind in icons themes; do [ ! -d "$directory/$kind/testbed" ] || echo $kind; done
done
python3 -c 'import ctypes; x = ctypes.CDLL("libXcursor.so.1").XcursorLibraryLoadImages; x.restype = ctypes.c_void_p; print("cursor" if x(b"testbed", b"testbed", 24) else "no cursor")'
env | grep -c /mnt/.incusbox/share"#;

fn themes(session: &Session) {
    session.host.root(MAKE_THEMES).succeeds();
    let all = "Inncus Sans\nicons\nthemes\ncursor\n2\n";
    assert_eq!(session.inside(FIND_THEMES).stdout, all);
    let told = session.inside("systemctl --user show-environment | grep ^XDG_DATA_DIRS").succeeds();
    assert_eq!(told.stdout, "XDG_DATA_DIRS=/usr/local/share:/usr/share:/mnt/.incusbox/share\n");
    let doctor = session.here("incusbox doctor dev").succeeds().stdout;
    assert!(doctor.contains("ok       themes     /usr/share/fonts, /usr/share/icons"), "{doctor}");
    session.here("incusbox set dev themes=off").succeeds();
    assert_eq!(session.inside(FIND_THEMES).stdout, "no cursor\n0\n");
    session.here("incusbox set dev themes=on").succeeds();
    assert_eq!(session.inside(FIND_THEMES).stdout, all, "with the switch on again");
}

/// A second compositor beside the first, with windows of X by Xwayland.
const KWIN: &str = r#"unset DISPLAY XAUTHORITY
kwin_wayland --virtual --socket wayland-kwin --no-lockscreen --no-global-shortcuts --xwayland >/dev/null 2>&1 &
kwin=$!
timeout 30 sh -c 'until [ -S "$XDG_RUNTIME_DIR/wayland-kwin" ] && [ -S /tmp/.X11-unix/X0 ]; do sleep 0.1; done'
export WAYLAND_DISPLAY=wayland-kwin WAYLAND_DEBUG=1
for program in gtk4-demo qt6ct foot; do
    incusbox-run --env WAYLAND_DEBUG --env QT_QPA_PLATFORM=wayland dev -- timeout 30 $program 2>&1 |
        grep -m1 -q 'xdg_toplevel.*configure(' && echo $program
done
DISPLAY=:0 incusbox-run dev -- xdpyinfo >/dev/null && echo Xwayland
kill $kwin; wait $kwin"#;

fn kwin(session: &Session) {
    // With the libraries of KDE, which are on one of the two hosts.
    if session.here("command -v kwin_wayland").status == Some(0) {
        let told = session.here(KWIN).stdout;
        assert_eq!(told, "gtk4-demo\nqt6ct\nfoot\nXwayland\n");
        session.works("beside another compositor");
    }
}

/// Debian's X sessions have it there.
fn ssh_agent_in_tmp(session: &Session) {
    let keys = "eval \"$(ssh-agent -a /tmp/agent-of-test)\" >/dev/null; cd \"$XDG_RUNTIME_DIR\"
        ssh-keygen -q -t ed25519 -N '' -f of-test -C in-tmp && ssh-add -q of-test
        for i in 1 2; do incusbox-run dev -- ssh-add -l | grep -c in-tmp; done
        kill $SSH_AGENT_PID; rm of-test*";
    assert_eq!(session.here(keys).succeeds().stdout, "1\n1\n");
}

/// Somebody else with a session, in the same box: each reaches the own one and not the other's.
fn another_user(session: &Session) {
    let other = user("IBX_USER2");
    let allow = format!(
        "usermod --add-subuids $(id -u {other})-$(id -u {other}) --add-subgids $(id -g {other})-$(id -g {other}) root"
    );
    session.host.root(&allow).succeeds();
    let theirs = |words: &[&str]| {
        script(&[&["--session", &session.host.0, &other], words].concat()).succeeds()
    };
    for server in ["audio", "notifications"] {
        theirs(&[if server == "audio" { "restart" } else { "start" }, server]);
    }
    theirs(&["run", "incusbox", "adopt", "--yes", "dev"]);
    let uid = session.here("id -u").succeeds().stdout;
    let what = format!(
        "incusbox-run dev -- sh -c 'id -un; notify-send by-another && pactl info >/dev/null && echo reached; ls /mnt/.incusbox/{}/run >/dev/null 2>&1 || echo closed; echo \"$DISPLAY\"'",
        uid.trim()
    );
    let told = theirs(&["run", "sh", "-c", &what]).stdout;
    assert_eq!(told, format!("{other}\nreached\nclosed\n\n"));
    assert!(theirs(&["notifications"]).stdout.contains("by-another"));
    assert!(!session.server(&["notifications"]).stdout.contains("by-another"));
    session.works("beside another user");
}

fn sound(session: &Session) {
    assert_eq!(session.frequency_of(&tone(660, "paplay")), 660);
    assert_eq!(session.frequency_of(&tone(1234, "pw-play")), 1234);
    let another = format!(
        "pactl load-module module-null-sink sink_name=another >/dev/null && pactl set-default-sink another
        sink=$(pactl list short sinks | awk '$2 == \"another\" {{ print $1 }}')
        ({}) >/dev/null 2>&1 & player=$!
        timeout 20 sh -c \"until pactl list short sink-inputs | cut -f 2 | grep -x $sink; do sleep 0.1; done\" >/dev/null && echo there
        wait $player; pactl unload-module module-null-sink; pactl set-default-sink testbed-sink",
        tone(440, "paplay")
    );
    assert_eq!(session.here(&another).succeeds().stdout, "there\n", "on a new default sink");
    let record = "sox -n -r 48000 -c 2 $XDG_RUNTIME_DIR/a.wav synth 5 sine 880; paplay $XDG_RUNTIME_DIR/a.wav & sleep 1
        incusbox-run dev -- sh -c 'timeout -s INT 2 parecord --latency-msec=50 --file-format=wav /tmp/heard.wav; sox /tmp/heard.wav -n remix 1 stat 2>&1' | grep Rough; wait";
    let heard = session.here(record).succeeds().stdout;
    let heard: u32 =
        heard.split_whitespace().last().and_then(|word| word.parse().ok()).expect("a frequency");
    assert!((870..=890).contains(&heard), "{heard}");
}

fn another_login(session: &Session) {
    let (host, who) = (&session.host.0, &session.user);
    script(&["--logout", host, who]).succeeds();
    script(&["--login", host, who]).succeeds();
    session.start_servers();
    session.works("after a logout and a login");

    session.host.root("incus stop dev").succeeds();
    script(&["--logout", host, who]).succeeds();
    session.host.root("incus start dev").succeeds();
    script(&["--login", host, who]).succeeds();
    session.start_servers();
    session.works("in a box that was started before the login");
}

fn switches(session: &Session) {
    session.here("incusbox set dev display=off").succeeds();
    let told = session.inside("echo \"$DISPLAY$WAYLAND_DISPLAY$XAUTHORITY\"; xdpyinfo -display :7 >/dev/null 2>&1 || echo no; pactl info >/dev/null && echo sound");
    assert_eq!(told.succeeds().stdout, "\nno\nsound\n");
    session.here("incusbox set dev display=on").succeeds();
    session.works("with the display on again");
    session
        .here("incusbox set dev display=off audio=off bus=off ssh-agent=off themes=off")
        .succeeds();
    let uid = session.here("id -u").succeeds().stdout;
    let sockets = format!(
        "find /tmp/.X11-unix/ /mnt/.incusbox /run/user/{} -type s 2>/dev/null | grep -v /systemd/ | grep -Ev '/(bus|gnupg|openssh_agent|pk-debconf-socket)' ; env | grep -E 'DISPLAY|PULSE|PIPEWIRE|/mnt/'; true",
        uid.trim()
    );
    assert_eq!(session.inside(&sockets).succeeds().stdout, "", "nothing of the session is left");
    let told = session.here("incusbox info dev --json | jq -r '.options.display.value'").succeeds();
    assert_eq!(told.stdout, "off\n");
    // As in a box of a version that had no switches.
    session.host.root("incus exec dev -- rm -r /etc/incusbox").succeeds();
    session.here("incusbox set dev display=on audio=on bus=on ssh-agent=on themes=on").succeeds();
    session.works("with all on again");
}

#[test]
fn programs_in_a_box_of_debian_12_use_the_session_of_the_host() {
    a_session("bookworm");
}

#[test]
fn programs_in_a_box_of_debian_13_use_the_session_of_the_host() {
    a_session("trixie");
}
