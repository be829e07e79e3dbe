//! Packages brought up to date by a box's own package manager, from a source within the box.

use crate::project::Project;
use crate::support::{Outcome, command, image, incusbox, run};

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

impl Project {
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

#[test]
fn upgrade_brings_what_the_boxs_sources_offer_and_a_box_that_fails_stops_no_other() {
    // `--all` means every box of a project.
    let project = Project::new("upgrade");
    project.incusbox(&["create", "old", "--image", &image(), "--home", "none"]).succeeds();
    project.root("old", REPOSITORY).succeeds();
    assert_eq!(project.version("old"), "1\n");
    project.incusbox(&["create", "other", "--clone", "old", "--home", "none"]).succeeds();

    let told = project.incusbox(&["upgrade", "old"]).succeeds();
    assert_eq!((project.version("old"), project.version("other")), ("2\n".into(), "1\n".into()));
    let quiet = (String::new(), "incusbox: `old` is up to date\n".to_owned());
    assert_eq!((told.stdout, told.stderr), quiet, "quiet off a terminal");

    // The first of all cannot; the other one is stopped, and is so again.
    project.root("old", "mv /repo /gone").succeeds();
    project.incusbox(&["stop", "other"]).succeeds();
    let told = project.incusbox(&["upgrade", "--all"]);
    told.fails(1, &["`old`", "apt-get", "`other` is up to date\n"]);
    let list = project.incusbox(&["list"]).succeeds().stdout;
    assert!(list.lines().any(|line| line.starts_with("other  stopped")), "{list}");
    project.incusbox(&["start", "other"]).succeeds();
    assert_eq!(project.version("other"), "2\n");
}
