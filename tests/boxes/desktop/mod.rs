//! Programs in a box on the desktop session of a host: an X server that wants a cookie, a Wayland
//! compositor, PipeWire with a silent sink, a notification daemon, an ssh-agent. The box is of the
//! other Debian, so that servers and clients are of different versions.

mod bus;
mod kde;
mod launcher;
mod windows;

use std::sync::Arc;

use crate::host::{Host, script, user};
use crate::support::Outcome;

const SERVERS: &[&str] = &["x11", "wayland", "audio", "notifications", "ssh-agent"];

/// The session of a user of a host's, with the box `dev` there.
pub struct Session {
    host: Arc<Host>,
    user: String,
    /// Words after the name of a server: which display.
    displays: [&'static [&'static str]; 2],
}

impl Session {
    fn new(suite: &str, of_the_box: &str) -> Session {
        let host = Arc::new(Host::ready(suite, "desktop"));
        script(&["--desktop", &host.0, of_the_box]).succeeds();
        let session = Session { host, user: user("IBX_USER"), displays: [&[], &[]] };
        session.begin();
        session.here("incusbox create dev --image desktop").succeeds();
        session
    }

    /// The same host and box, as somebody else who is logged in.
    fn another(&self) -> Session {
        let displays: [&[&str]; 2] = [&["8"], &["wayland-8"]];
        let other = Session { host: Arc::clone(&self.host), user: user("IBX_USER2"), displays };
        other.begin();
        other
    }

    /// Lets boxes know the user's ids, and starts the servers.
    fn begin(&self) {
        let allow = "usermod --add-subuids $(id -u USER)-$(id -u USER) --add-subgids $(id -g USER)-$(id -g USER) root";
        self.host.root(&allow.replace("USER", &self.user)).succeeds();
        self.start_servers();
    }

    fn server(&self, words: &[&str]) -> Outcome {
        script(&[&["--session", &self.host.0, &self.user], words].concat()).succeeds()
    }

    /// After a login; its sound server begins with it.
    fn start_servers(&self) {
        for server in SERVERS {
            let which = match *server {
                "x11" => self.displays[0],
                "wayland" => self.displays[1],
                _ => &[],
            };
            let verb = if *server == "audio" { "restart" } else { "start" };
            self.server(&[&[verb, server], which].concat());
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

fn a_session(suite: &str, of_the_box: &str) {
    let session = Session::new(suite, of_the_box);
    session.works("at first");
    // Long before the logout: what keeps a file shared for the minute after it was opened is of the
    // login that opened it, and holds that open.
    launcher::launcher(&session);
    windows::windows_and_clipboards(&session);
    windows::toolkits(&session);
    windows::browser(&session);
    windows::kwin(&session);
    themes(&session);
    sound(&session);
    let told = session.inside("notify-send -a 'an app' 'from the box' hello").succeeds();
    assert_eq!(told.stderr, "");
    let noted = session.server(&["notifications"]).stdout;
    assert!(noted.contains(r#""app": "an app""#) && noted.contains("from the box"), "{noted}");
    bus::both_ways_on_the_bus(&session);
    bus::portals_and_links(&session);
    bus::ssh_agent_in_tmp(&session);
    let doctor = session.here("incusbox doctor dev").succeeds().stdout;
    assert!(doctor.contains("ok       session    the box sees your session"), "{doctor}");
    assert!(doctor.contains("Wayland at wayland-7, X11 at :7"), "{doctor}");

    for server in SERVERS {
        session.server(&["restart", server]);
    }
    session.works("after each server was killed and started anew");
    asleep(&session);
    session.here("incusbox restart dev").succeeds();
    session.works("after a restart of the box");
    another_login(&session);
    another_user(&session);
    crate::isolated::is_out_of_reach_of_everything(&session);
    switches(&session);
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

/// Somebody else with a session, in the same box: each reaches the own one and not the other's.
fn another_user(session: &Session) {
    let other = session.another();
    other.here("incusbox adopt --yes dev").succeeds();
    other.works("for another user");
    let uid = session.here("id -u").succeeds().stdout;
    let what = format!(
        "id -un; notify-send by-another; echo $DISPLAY $WAYLAND_DISPLAY
         xdpyinfo -display :7 >/dev/null 2>&1 || echo refused
         ls /mnt/.incusbox/{}/run >/dev/null 2>&1 || echo closed",
        uid.trim()
    );
    let told = other.inside(&what).succeeds().stdout;
    assert_eq!(told, format!("{}\n:8 wayland-8\nrefused\nclosed\n", other.user));
    assert!(other.server(&["notifications"]).stdout.contains("by-another"));
    assert!(!session.server(&["notifications"]).stdout.contains("by-another"));
    windows::toolkits(&other);
    session.works("beside another user");
}

/// All processes of the machine stand still, as while it is suspended. (Here the clocks go on.)
fn asleep(session: &Session) {
    let running = "incusbox-run dev -- sh -c 'echo begun; sleep 4; echo ended' >~/slept &
        incusbox-run dev -- paplay /tmp/660.wav & wait";
    std::thread::scope(|scope| {
        let through = scope.spawn(|| session.here(running).succeeds());
        std::thread::sleep(std::time::Duration::from_secs(2));
        crate::support::incus(&["pause", &session.host.0]).succeeds();
        std::thread::sleep(std::time::Duration::from_secs(12));
        crate::support::incus(&["start", &session.host.0]).succeeds();
        through.join().expect("what ran meanwhile");
    });
    assert_eq!(session.here("cat ~/slept; rm ~/slept").succeeds().stdout, "begun\nended\n");
    session.works("after all stood still");
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
        "find /tmp/.X11-unix/ /mnt/.incusbox /run/user/{} -type s 2>/dev/null | grep -v /systemd/ | grep -Ev '/(bus|gnupg|openssh_agent|pk-debconf-socket|keyring/control|gcr/ssh)' ; env | grep -E 'DISPLAY|PULSE|PIPEWIRE|/mnt/'; true",
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
    a_session("trixie", "bookworm");
}

#[test]
fn programs_in_a_box_of_debian_13_use_the_session_of_the_host() {
    a_session("bookworm", "trixie");
}
