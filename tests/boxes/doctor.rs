//! The doctor, with patients that were hurt on purpose.

use serde_json::Value;

use crate::support::{Name, Outcome, command, home, incus, incusbox, run, variable};

/// The findings of `doctor`, with or without a box.
struct Findings(Vec<Value>, Option<i32>);

impl Findings {
    fn of(words: &[&str]) -> Findings {
        let told = incusbox(&[&["doctor", "--json"], words].concat());
        let findings: Value =
            serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:#?}"));
        Findings(findings.as_array().expect("a list").clone(), told.status)
    }

    /// Asserts what a check found: its status, a part of its text, a part of its first remedy.
    fn has(&self, check: &str, status: &str, text: &str, remedy: &str) {
        let one = self.0.iter().find(|finding| finding["check"] == check);
        let one = one.unwrap_or_else(|| panic!("no {check} in {:#?}", self.0));
        assert_eq!(one["status"], status, "{one:#}");
        assert!(one["text"].as_str().expect("a text").contains(text), "{one:#}");
        let mends = one["remedies"][0].as_str().unwrap_or_default();
        assert!(mends.contains(remedy), "{one:#}");
    }
}

#[test]
fn a_well_box_is_found_well() {
    let name = Name::create("well", &[]);
    let findings = Findings::of(&[&name]);
    for check in
        ["daemon", "storage", "network", "ids", "state", "box ids", "home", "nesting", "box agent"]
    {
        findings.has(check, "ok", "", "");
    }
    assert_eq!(findings.1, Some(0));
}

#[test]
fn no_daemon_is_told_and_the_doctor_says_so_too() {
    let mut list = command("incusbox", &["list"]);
    list.env("INCUS_SOCKET", "/no/such/socket");
    run(list).fails(1, &["/no/such/socket"]);
    let mut doctor = command("incusbox", &["doctor"]);
    doctor.env("INCUS_SOCKET", "/no/such/socket");
    let told = run(doctor);
    assert_eq!(told.status, Some(1), "{told:?}");
    assert!(told.stdout.contains("FAILED   daemon"), "{told:?}");
}

#[test]
fn each_hurt_of_a_box_is_found_with_what_mends_it() {
    let directory = home().join(format!("incusbox-doctor-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory");
    let name = Name::create("hurt", &["--home", &directory.display().to_string()]);
    let restart = format!("incusbox restart {}", &*name);

    name.root("ln -sf /dev/null /etc/resolv.conf").succeeds();
    Findings::of(&[&name]).has("dns", "warning", "names no server", &restart);
    // A stub that answers for nobody.
    name.root("rm /etc/resolv.conf; echo nameserver 127.0.0.53 >/etc/resolv.conf; systemctl start systemd-resolved; printf '# none\n' >/run/systemd/resolve/resolv.conf")
        .succeeds();
    Findings::of(&[&name]).has("dns", "warning", "knows no name server", &restart);
    name.root("systemctl stop systemd-resolved").succeeds();
    let again = format!("incusbox run --root {} -- systemctl restart", &*name);
    Findings::of(&[&name]).has("dns", "warning", "which does not run", &again);

    // Not by networkctl(1): networkd may only just be asking for an address.
    name.root("systemctl stop systemd-networkd.socket systemd-networkd; ip addr flush dev eth0")
        .succeeds();
    Findings::of(&[&name]).has("address", "warning", "no address", &restart);

    name.root("cd /usr/local/lib/incusbox; for file in agent-*; do rm $file; echo broken >$file; chmod 755 $file; done")
        .succeeds();
    let anew = format!("incus exec {} -- rm -f", &*name);
    Findings::of(&[&name]).has("box agent", "failed", "does not run", &anew);
    incus(&["exec", &name, "--", "rm", "-rf", "/usr/local/lib/incusbox", "/run/incusbox"])
        .succeeds();
    Findings::of(&[&name]).has("box agent", "ok", "the next run brings it", "");

    std::fs::remove_dir_all(&directory).expect("our own directory");
    let findings = Findings::of(&[&name]);
    findings.has("home", "failed", "is not there", "mkdir -p");
    assert_eq!(findings.1, Some(1), "a failed check is a failure of doctor");

    incus(&["pause", &name]).succeeds();
    let resume = format!("incus resume {}", &*name);
    Findings::of(&[&name]).has("state", "warning", "is frozen", &resume);
    incus(&["resume", &name]).succeeds();

    incus(&["stop", "--force", &name]).succeeds();
    incus(&["config", "set", &name, "raw.idmap=both 4242 4242"]).succeeds();
    Findings::of(&[&name]).has("box ids", "failed", "4242", "incusbox setup");

    incus(&["config", "set", &name, "user.incusbox.state=creating nobody"]).succeeds();
    let again = format!("incusbox create {}", &*name);
    Findings::of(&[&name]).has("state", "failed", "never finished", &again);
}

/// A project of the test's own, for all boxes of the test bed's have the profile.
struct Project(String);

impl Project {
    fn new() -> Project {
        let name = format!("{}-profile", variable("IBX_BOX"));
        incus(&["project", "create", &name, "--config", "features.images=false"]).succeeds();
        Project(name)
    }

    fn incus(&self, words: &[&str]) -> Outcome {
        incus(&[words, &["--project", &self.0]].concat())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _said_by_incus = self.incus(&["profile", "delete", "incusbox-nested"]);
        let _said_by_incus = incus(&["project", "delete", &self.0]);
    }
}

#[test]
fn a_profile_that_does_not_fit_the_host_is_found_and_setup_would_mend_it() {
    let project = Project::new();
    project.incus(&["profile", "create", "incusbox-nested"]).succeeds();
    let findings = Findings::of(&["--project", &project.0]);
    findings.has("profile", "warning", "security.nesting should be true", "incusbox setup");
    let dry = incusbox(&["setup", "--dry-run", "--project", &project.0]).succeeds();
    assert!(dry.stdout.contains("bring the profile `incusbox-nested` up to date"), "{dry:#?}");
    incus(&["project", "set", &project.0, "restricted=true"]).succeeds();
    let findings = Findings::of(&["--project", &project.0]);
    findings.has("project", "warning", "it refuses containers inside", "--project");
    incus(&["project", "set", &project.0, "restricted=false"]).succeeds();
    project.incus(&["profile", "set", "incusbox-nested", "security.nesting=true"]).succeeds();
    let findings = Findings::of(&["--project", &project.0]);
    findings.has("profile", "warning", "the device fuse is missing", "incusbox setup");
}
