//! Programs of a box in Plasma, 5 on Debian 12 and 6 on Debian 13, asked as its launcher asks. Apart
//! from the rest (`make kde`), for it installs half a gigabyte.

use super::{Session, launcher};

const INSTALL: &str = r#"set -e
if grep -q trixie /etc/os-release; then scene=qml-qt6; else scene=qmlscene; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends --option Dpkg::Options::=--force-unsafe-io \
    --option Acquire::Retries=3 plasma-desktop kde-cli-tools "$scene" >/dev/null"#;

/// The model of the launcher's search: tells what it finds, and starts the first.
const KICKER: &str = r#"import QtQuick 2.15
import org.kde.plasma.private.kicker 0.1 as Kicker

Item {
    id: root
    property int tries: 0
    property var model: Kicker.RunnerModel {
        runners: ["krunner_services", "services"]
    }
    Component.onCompleted: model.query = "Record here"
    Timer {
        interval: 250
        running: true
        repeat: true
        onTriggered: {
            var rows = root.model.count > 0 ? root.model.modelForRow(0) : null
            if (rows && rows.count > 0) {
                for (var row = 0; row < rows.count; row++) {
                    var at = rows.index(row, 0)
                    console.log(rows.data(at, 0) + " with " + rows.data(at, 1))
                }
                stop()
                console.log("started: " + rows.trigger(0, "", null))
                end.start()
            } else if (++root.tries > 40) {
                console.log("nothing")
                Qt.exit(0)
            }
        }
    }
    Timer {
        id: end
        interval: 2000
        onTriggered: Qt.exit(0)
    }
}
"#;

/// What a session of Plasma has. What a program leaves behind must not hold the output open.
const PLASMA: &str = r#"if command -v kbuildsycoca6 >/dev/null; then version=6 scene=qml6; else version=5 scene=qmlscene; fi
export XDG_CURRENT_DESKTOP=KDE KDE_SESSION_VERSION=$version XDG_MENU_PREFIX=plasma- QT_QPA_PLATFORM=offscreen
kde() { timeout 90 dbus-run-session -- timeout 80 "$@" >~/.kde.log 2>&1 </dev/null; }
opened() { timeout 20 sh -c 'until [ -e ~/opened ]; do sleep 0.1; done'; cat ~/opened; rm ~/opened; }
search() { kde $scene ~/.kicker.qml || echo "status $?" >&2; cat ~/.kde.log >&2; sed -n 's/^qml: //p' ~/.kde.log; }
"#;

#[test]
fn programs_of_a_box_are_found_and_open_files_in_plasma_5() {
    is_found_and_opens_files(&Session::new("bookworm", "trixie"));
}

#[test]
fn programs_of_a_box_are_found_and_open_files_in_plasma_6() {
    is_found_and_opens_files(&Session::new("trixie", "bookworm"));
}

fn is_found_and_opens_files(session: &Session) {
    session.inside(launcher::RECORDER).succeeds();
    let here = |text: &str| session.here(&format!("{PLASMA}{text}"));
    session.host.root(INSTALL).succeeds();
    let home = here("echo ~").succeeds().stdout.trim().to_owned();
    here(&format!("cat >~/.kicker.qml <<'END'\n{KICKER}END")).succeeds();
    here("incusbox export dev --app 'Record here'").succeeds();
    let told = here("search; opened");
    assert_eq!(
        told.stdout, "Record here with incusbox.dev.foot\nstarted: true\ndev \n",
        "{told:#?}"
    );

    // Also a type that the host has from the box, by KDE's own reading of it.
    let open =
        "echo note >~/here.ibxnote; kde kioclient --noninteractive exec ~/here.ibxnote; opened
        kde xdg-open ~/here.ibxnote; opened; rm ~/here.ibxnote";
    let line = format!("dev {home}/here.ibxnote\n");
    let told = here(open);
    assert_eq!(told.stdout, line.repeat(2), "{told:#?}");

    here("incusbox unexport dev --all").succeeds();
    let told = here("search");
    assert_eq!(told.stdout, "nothing\n", "{told:#?}");
}
