//! That what is exported follows the boxes by itself.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::export::{Desktop, PROGRAMS};
use crate::support::{Name, incus};

/// More than a busy machine needs. A box that changes often has to wait four times as long as it took.
const PATIENCE: Duration = Duration::from_secs(60);
const LATE: &str = "share/applications/late.desktop";

/// `incusbox watch`, ended with this.
struct Watcher<'a> {
    desktop: &'a Desktop,
    process: Child,
}

impl Watcher<'_> {
    fn start(desktop: &Desktop) -> Watcher<'_> {
        let mut command = desktop.command(&["watch"]);
        let log = || File::options().append(true).create(true).open(desktop.path("log"));
        command.stdin(Stdio::null()).stdout(log().expect("a log")).stderr(log().expect("a log"));
        Watcher { desktop, process: command.spawn().expect("a process") }
    }

    /// The lines of what it did.
    fn log(&self) -> Vec<String> {
        self.desktop.read("log").lines().map(str::to_owned).collect()
    }

    /// Waits until something is so.
    fn until(&self, what: &str, is_so: impl Fn(&Desktop) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self.desktop) {
            let (log, files) = (self.log(), self.desktop.files());
            assert!(Instant::now() < deadline, "{what}: not so\n{log:#?}\n{files:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until an entry is there with these words.
    fn until_says(&self, file: &str, words: &str) {
        self.until(words, |desktop| {
            desktop.files().contains(&file.to_owned()) && desktop.read(file).contains(words)
        });
    }

    fn until_gone(&self, file: &str) {
        self.until("gone", |desktop| !desktop.files().contains(&file.to_owned()));
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let _ended_by_itself = self.process.kill();
        let _so = self.process.wait();
    }
}

/// A package whose installation is silent for a while after its entry is there.
const PACKAGE: &str = r##"set -e
version=$1 base=$(mktemp -d)
mkdir -p $base/DEBIAN $base/usr/share/applications $base/usr/share/icons/hicolor/48x48/apps
printf 'Package: late\nVersion: %s\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n' $version >$base/DEBIAN/control
printf '#!/bin/sh\nsleep 1\nprintf "#!/bin/sh\\n" >/usr/bin/late-now\nchmod +x /usr/bin/late-now\n' >$base/DEBIAN/postinst
printf '#!/bin/sh\nrm -f /usr/bin/late-now\n' >$base/DEBIAN/prerm
chmod 755 $base $base/DEBIAN $base/DEBIAN/*
printf '[Desktop Entry]\nType=Application\nName=Late %s\nTryExec=late-now\nIcon=late\nExec=late-now\n' $version >$base/usr/share/applications/late.desktop
printf '\211PNG\r\n\032\n\000\000\000\015IHDR\000\000\000\060\000\000\000\060\010\006' >$base/usr/share/icons/hicolor/48x48/apps/late.png
dpkg-deb --root-owner-group --build $base /tmp/late-$version.deb
rm -r $base"##;

#[test]
fn what_packages_bring_and_take_is_on_the_host_and_gone_in_one_go_each() {
    let desktop = Desktop::new("watch-packages");
    let name = Name::create("watch", &["--home", "none"]);
    name.root(PROGRAMS).succeeds();
    name.root(&format!("build() {{ {PACKAGE}\n}}\n(build 1) && (build 2)")).succeeds();
    desktop.export(&name, &["--all-apps"]).succeeds();
    std::fs::create_dir_all(desktop.path("host/applications")).expect("a directory");
    let watcher = Watcher::start(&desktop);

    let lines = |count: usize| {
        watcher.until("lines", |_| watcher.log().len() >= count);
        assert_eq!(watcher.log().len(), count, "{:#?}", watcher.log());
    };
    name.root("dpkg --install /tmp/late-1.deb").succeeds();
    watcher.until_says(LATE, "Name=Late 1\n");
    assert!(desktop.files().iter().any(|file| file.ends_with(".late.png")));
    lines(1);
    name.root("dpkg --install /tmp/late-2.deb").succeeds();
    watcher.until_says(LATE, "Name=Late 2\n");
    lines(2);
    // A program of that id that the host gets itself has it to itself.
    let hosts = desktop.path("host/applications");
    std::fs::write(hosts.join("late.desktop"), "[Desktop Entry]\n").expect("an entry");
    watcher.until_gone(LATE);
    let is_other = |file: &String| file.ends_with(".desktop") && file.contains("late");
    let other = desktop.files().into_iter().find(is_other).expect("it is there under another id");
    assert!(desktop.read(&other).contains("\nName=Late 2"), "{}", desktop.read(&other));
    lines(3);
    name.root("dpkg --remove late").succeeds();
    watcher.until_gone(&other);
    lines(4);
    assert!(!desktop.files().iter().any(|file| file.ends_with(".late.png")));

    // A directory that was not there, in a home that is the box's.
    let own = "mkdir -p ~/.local/share/applications && printf '[Desktop Entry]\\nType=Application\\nName=Own\\nExec=true\\n' >~/.local/share/applications/own.desktop";
    name.sh(own).succeeds();
    watcher.until_says("share/applications/own.desktop", "Name=Own\n");
    name.sh("rm -r ~/.local/share").succeeds();
    watcher.until_gone("share/applications/own.desktop");

    // A second one waits its turn, and with nothing exported both end.
    let mut second = Watcher::start(&desktop);
    watcher.until("waiting", |desktop| desktop.read("log").contains("another one is at work"));
    desktop.incusbox(&["unexport", &name, "--all"]).succeeds();
    let mut watcher = watcher;
    for watcher in [&mut watcher, &mut second] {
        assert!(watcher.process.wait().expect("its end").success());
    }
    assert_eq!(desktop.files(), [""; 0]);
    assert!(!desktop.path("state/incusbox/exports.json").exists());
}

#[test]
fn what_becomes_of_a_box_becomes_of_what_it_has_on_the_host() {
    const EDIT: &str = "share/applications/org.test.Edit.desktop";
    let desktop = Desktop::new("watch-boxes");
    let name = Name::create("watched", &["--home", "none"]);
    name.root(PROGRAMS).succeeds();
    // It starts before anything is there, and finds nothing to do.
    let mut idle = Watcher::start(&desktop);
    assert!(idle.process.wait().expect("its end").success());
    desktop.export(&name, &["--app", "Edit"]).succeeds();
    let watcher = Watcher::start(&desktop);

    // Restored while it runs, and while it is stopped.
    let comment = |text: &str| {
        format!(
            "sed -i s/^Comment=.*/Comment={text}/ /usr/share/applications/org.test.Edit.desktop"
        )
    };
    name.root(&comment("first")).succeeds();
    watcher.until_says(EDIT, "Comment=first\n");
    incus(&["snapshot", "create", &name, "before"]).succeeds();
    name.root(&comment("second")).succeeds();
    watcher.until_says(EDIT, "Comment=second\n");
    incus(&["snapshot", "restore", &name, "before"]).succeeds();
    watcher.until_says(EDIT, "Comment=first\n");
    name.root(&comment("third")).succeeds();
    watcher.until_says(EDIT, "Comment=third\n");
    incus(&["stop", "--force", &name]).succeeds();
    incus(&["snapshot", "restore", &name, "before"]).succeeds();
    incus(&["start", &name]).succeeds();
    watcher.until_says(EDIT, "Comment=first\n");

    // Renamed while it runs: it runs afterwards.
    let status = |name: &str| {
        let listed = incus(&["list", "--format", "csv", "--columns", "s", &format!("^{name}$")]);
        listed.succeeds().stdout
    };
    let between = Name::new("watched");
    desktop.incusbox(&["rename", &name, &between]).succeeds();
    assert!(desktop.read(EDIT).contains(&format!("X-Incusbox-Box={}\n", &*between)));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(status(&between), "RUNNING\n");
    let name = between;

    incus(&["stop", "--force", &name]).succeeds();
    let new = Name::new("watched");
    incus(&["rename", &name, &new]).succeeds();
    watcher.until_says(EDIT, &format!("X-Incusbox-Box={}\n", &*new));
    watcher.until("stopped again", |_| status(&new) == "STOPPED\n");

    incus(&["delete", "--force", &new]).succeeds();
    watcher.until("nothing left", |desktop| desktop.files().is_empty());
    let mut watcher = watcher;
    assert!(watcher.process.wait().expect("its end").success());
}
