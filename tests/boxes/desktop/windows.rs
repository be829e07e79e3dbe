//! Windows of a box's programs, by each toolkit, on X and Wayland.

use super::Session;

pub fn windows_and_clipboards(session: &Session) {
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

    let (copy, paste) = ("wl-copy", "wl-paste --no-newline");
    session.here(&format!("printf 'of the host' | {copy}")).succeeds();
    assert_eq!(session.inside(paste).succeeds().stdout, "of the host");
    session.inside(&format!("printf 'of the box' | {copy}")).succeeds();
    assert_eq!(session.here(paste).succeeds().stdout, "of the box");
    let (copy, paste) = ("xclip -selection clipboard", "xclip -o -selection clipboard");
    session.here(&format!("printf 'of the host' | {copy} >/dev/null 2>&1")).succeeds();
    assert_eq!(session.inside(paste).succeeds().stdout, "of the host");
    session.inside(&format!("printf 'of the box' | {copy}")).succeeds();
    assert_eq!(session.here(paste).succeeds().stdout, "of the box");
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

/// Opens a window and draws something in it: a picture of it has more than a few colours.
fn draws_on_x(session: &Session, command: &str, window: &str) {
    let script = format!(
        "unset WAYLAND_DISPLAY
         incusbox-run dev -- sh -c 'exec env {command}' >/dev/null 2>&1 & program=$!
         window() {{ xdotool search --onlyvisible {window} | head -n 1; }}
         colours() {{ import -window $(window) png:- | identify -format %k -; }}
         tenths=300
         until [ $(window) ]; do [ $((tenths -= 1)) -gt 0 ] || break; sleep 0.1; done
         until [ $(colours) -gt 8 ]; do [ $((tenths -= 1)) -gt 0 ] || break; sleep 0.1; done
         [ $(colours) -gt 8 ] && echo drawn
         kill $program; wait $program"
    );
    assert_eq!(session.here(&script).stdout, "drawn\n", "{command} on X");
}

fn maps_on_wayland(session: &Session, program: &str) {
    let script = WAYLAND_WINDOW.replace("PROGRAM", program);
    assert_eq!(session.here(&script).stdout, "mapped\n", "{program} on Wayland");
}

/// One program of each toolkit, on X and on Wayland.
pub fn toolkits(session: &Session) {
    draws_on_x(session, "glxgears", "--name glxgears");
    draws_on_x(session, "GDK_BACKEND=x11 gtk3-demo", "--class gtk3-demo");
    draws_on_x(session, "GDK_BACKEND=x11 gtk4-demo", "--class gtk4-demo");
    draws_on_x(session, "QT_QPA_PLATFORM=xcb qt6ct", "--class qt6ct");
    for program in ["gtk3-demo", "gtk4-demo", "qt6ct", "foot"] {
        maps_on_wayland(session, program);
    }
    let drawn = "glxinfo | grep -c 'OpenGL renderer string'; vulkaninfo --summary 2>/dev/null | grep -c deviceName";
    assert_eq!(session.inside(drawn).succeeds().stdout, "1\n1\n");
}

/// The largest of all, with a sandbox of its own. One of the two images has it: it is much to
/// download.
pub fn browser(session: &Session) {
    if session.inside("command -v chromium").status == Some(0) {
        draws_on_x(session, CHROMIUM_ON_X, "--class chromium");
        maps_on_wayland(session, CHROMIUM);
    }
}

/// A second compositor beside the first, with windows of X by Xwayland. (Not foot: Debian 12's divides
/// by the size of the display, and a virtual one has none.)
const KWIN: &str = r#"unset DISPLAY XAUTHORITY
kwin_wayland --virtual --socket wayland-kwin --no-lockscreen --no-global-shortcuts --xwayland >/dev/null 2>&1 &
kwin=$!
timeout 30 sh -c 'until [ -S "$XDG_RUNTIME_DIR/wayland-kwin" ] && [ -S /tmp/.X11-unix/X0 ]; do sleep 0.1; done'
export WAYLAND_DISPLAY=wayland-kwin WAYLAND_DEBUG=1
for program in gtk4-demo qt6ct gtk3-demo; do
    : >~/said
    incusbox-run --env WAYLAND_DEBUG --env QT_QPA_PLATFORM=wayland dev -- timeout 30 $program >>~/said 2>&1 &
    timeout 30 sh -c "until grep -q 'xdg_toplevel.*configure(' ~/said; do sleep 0.1; done" && echo $program
    kill $!; wait $!
done
DISPLAY=:0 incusbox-run dev -- xdpyinfo >/dev/null && echo Xwayland
kill $kwin; wait $kwin"#;

pub fn kwin(session: &Session) {
    // With the libraries of KDE, which are on one of the two hosts.
    if session.here("command -v kwin_wayland").status == Some(0) {
        let told = session.here(KWIN).stdout;
        assert_eq!(told, "gtk4-demo\nqt6ct\ngtk3-demo\nXwayland\n");
        session.works("beside another compositor");
    }
}
