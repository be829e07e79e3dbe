//! Packages brought up to date by a box's own package manager, from a source within the box.

use std::process::{Command, Stdio};

use crate::support::{Outcome, command, image, incusbox, run, variable};

/// A repository of two versions of a package, the first of which is there; and no other source.
const REPOSITORY: &str = r#"set -e
systemctl mask --quiet --now apt-daily.timer apt-daily-upgrade.timer
mkdir -p /repo /etc/apt/away
find /etc/apt/sources.list /etc/apt/sources.list.d -type f -exec mv -t /etc/apt/away {} +
echo 'deb [trusted=yes] file:/repo ./' >/etc/apt/sources.list
cd /repo
for version in 1 2; do
    mkdir -p tree/DEBIAN tree/usr/share/thing
    echo $version >tree/usr/share/thing/version
    printf '%s\n' 'Package: thing' "Version: $version" 'Architecture: all' \
        'Maintainer: nobody <nobody@example.org>' 'Description: a thing' >tree/DEBIAN/control
    dpkg-deb --build --root-owner-group tree thing_$version.deb >/dev/null
done
dpkg --install thing_1.deb >/dev/null
{ cat tree/DEBIAN/control
  echo 'Filename: ./thing_2.deb'
  echo "Size: $(stat -c %s thing_2.deb)"
  echo "SHA256: $(sha256sum thing_2.deb | cut -d' ' -f1)"; } >Packages"#;

/// A project of its own: `--all` means every box of one.
struct Project(String);

impl Project {
    fn new() -> Project {
        let name = format!("{}-upgrade", variable("IBX_BOX"));
        sh(&name, CREATE).succeeds();
        Project(name)
    }

    fn incusbox(&self, words: &[&str]) -> Outcome {
        incusbox(&[&["--project", &self.0], words].concat())
    }

    fn root(&self, name: &str, script: &str) -> Outcome {
        let words = ["--project", &self.0, "--root", "--cwd", "/", name, "--", "sh", "-c", script];
        run(command("incusbox-run", &words))
    }

    fn version(&self, name: &str) -> String {
        self.root(name, "cat /usr/share/thing/version").succeeds().stdout
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _said_by_incus = sh(&self.0, "echo yes | incus project delete \"$0\" --force");
    }
}

/// With the test bed's profile and image.
const CREATE: &str = r#"set -e
incus project create "$0"
incus profile show default | incus profile edit default --project "$0"
incus image copy "$IBX_IMAGE" local: --target-project "$0" --copy-aliases --mode relay --quiet"#;

fn sh(project: &str, script: &str) -> Outcome {
    let mut sh = Command::new("sh");
    sh.args(["-c", script, project]).stdin(Stdio::null());
    run(sh)
}

#[test]
fn upgrade_brings_what_the_boxs_sources_offer_and_a_box_that_fails_stops_no_other() {
    let project = Project::new();
    project.incusbox(&["create", "one", "--image", &image(), "--home", "none"]).succeeds();
    project.root("one", REPOSITORY).succeeds();
    assert_eq!(project.version("one"), "1\n");
    project.incusbox(&["create", "other", "--clone", "one", "--home", "none"]).succeeds();

    let told = project.incusbox(&["upgrade", "one"]).succeeds();
    assert_eq!((project.version("one"), project.version("other")), ("2\n".into(), "1\n".into()));
    let quiet = (String::new(), "incusbox: `one` is up to date\n".to_owned());
    assert_eq!((told.stdout, told.stderr), quiet, "quiet off a terminal");

    // The first of all cannot; the other one is stopped, and is so again.
    project.root("one", "mv /repo /gone").succeeds();
    project.incusbox(&["stop", "other"]).succeeds();
    let told = project.incusbox(&["upgrade", "--all"]);
    told.fails(1, &["`one`", "apt-get", "`other` is up to date\n"]);
    let list = project.incusbox(&["list"]).succeeds().stdout;
    assert!(list.lines().any(|line| line.starts_with("other  stopped")), "{list}");
    project.incusbox(&["start", "other"]).succeeds();
    assert_eq!(project.version("other"), "2\n");
}
