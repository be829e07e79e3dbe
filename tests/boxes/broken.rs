//! Boxes that are not as they should be: one clear message, and the files as they were.

use crate::support::{Name, image, incus, incusbox};

fn launched(what: &str) -> Name {
    let name = Name::new(what);
    incus(&["launch", &image(), &name]).succeeds();
    name
}

#[test]
fn a_broken_passwd_is_kept_line_by_line() {
    let name = launched("passwd");
    let script = "printf 'no colons\\n:::\\n\\n#comment\\nx:x:y:z:::\\n' >>/etc/passwd; printf 'last:x:4242:4242::/:/bin/sh' >>/etc/passwd; cp /etc/passwd /root/before";
    name.root(script).succeeds();
    incusbox(&["adopt", "--yes", &name]).succeeds();
    let lost = name.root("grep -vxFf /etc/passwd /root/before; true").succeeds().stdout;
    assert_eq!(lost, "", "every line is still there");
    name.sh("sudo -n true").succeeds();
}

#[test]
fn a_passwd_that_is_no_file_is_told_and_the_instance_is_as_it_was() {
    let name = launched("nopasswd");
    name.root("mv /etc/passwd /root/passwd; mkdir /etc/passwd").succeeds();
    let before = configuration(&name);
    incusbox(&["adopt", "--yes", &name])
        .fails(1, &["/etc/passwd", "that it had before, and is running"]);
    assert_eq!(configuration(&name), before);
    name.root("true").succeeds();
    incusbox(&["rm", "--force", &name]).fails(1, &["not a box"]);
}

#[test]
fn an_adoption_that_incus_refuses_leaves_an_instance_as_it_was() {
    let name = launched("refused");
    let before = configuration(&name);
    for state in ["running", "stopped"] {
        if state == "stopped" {
            incus(&["stop", "--force", &name]).succeeds();
        }
        let told = format!("that it had before, and is {state}");
        incusbox(&["adopt", "--yes", &name, "--volume", "/no/such/directory:/data"])
            .fails(1, &["/no/such/directory", &told]);
        let listed = incus(&["list", "--format", "csv", "--columns", "s", &name]).succeeds();
        assert_eq!(listed.stdout.trim().to_lowercase(), state);
        assert_eq!(configuration(&name), before);
    }
}

/// All that is written into an instance, but for what Incus keeps there itself.
fn configuration(name: &Name) -> String {
    let all = incus(&["config", "show", name]).succeeds().stdout;
    all.lines().filter(|line| !line.contains("volatile.")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_box_that_does_not_start_is_told_with_the_cause_and_removed() {
    let name = Name::new("nostart");
    let words =
        ["create", &name, "--image", &image(), "--set", "raw.lxc=lxc.init.cmd = /no/such/init"];
    incusbox(&words).fails(1, &["does not start"]);
    assert!(!name.exists());
}

#[test]
fn a_key_that_incus_does_not_know_is_told_in_its_words() {
    let name = Name::new("key");
    incusbox(&["create", &name, "--image", &image(), "--set", "no.such=1"]).fails(1, &["no.such"]);
    assert!(!name.exists());
}

#[test]
fn a_home_that_is_not_there_is_told() {
    let name = Name::new("nohome");
    let words = ["create", &name, "--image", &image(), "--home", "/no/such/directory"];
    incusbox(&words).fails(1, &["/no/such/directory"]);
    assert!(!name.exists());
}

/// A minute of patience is also longer than Incus keeps a silent connection: 30 s.
#[test]
fn a_system_that_never_comes_up_is_told_and_the_box_removed() {
    let (hung, name) = (launched("hung"), Name::new("hangs"));
    hung.root(
        "printf '[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n' >/etc/systemd/system/hang.service
         mkdir -p /etc/systemd/system/sysinit.target.wants
         ln -s ../hang.service /etc/systemd/system/sysinit.target.wants/",
    )
    .succeeds();
    incus(&["stop", "--force", &hung]).succeeds();
    incusbox(&["create", &name, "--clone", &hung, "--init-hook", "true"])
        .fails(1, &["the box's systemd did not come up", "waiting for hang.service"]);
    assert!(!name.exists());
}
