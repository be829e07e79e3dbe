//! Finding the daemon: none there, nobody at home, no permission, and which socket wins.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::client::{Client, Seen, program};
use crate::directory::Directory;
use crate::fake::Fake;
use crate::script::{EACH_WAY, Mode, Script, Way};
use crate::testbox;

const SOON: Duration = Duration::from_secs(5);

/// Runs with only these variables about the daemon.
fn run_with(variables: &[(&str, &Path)], way: Way) -> Seen {
    let mut client = Client::new(&["dev", "--", "true"]).without("INCUS_DIR");
    for (name, value) in variables {
        client = client.env(name, value);
    }
    client.run(way)
}

/// Each way, with this one variable about the daemon.
fn fails_with(variable: (&str, &Path), words: &[&str]) {
    for (_, way) in &EACH_WAY[..2] {
        run_with(&[variable], *way).assert_failed(SOON, 125, words);
    }
}

#[test]
fn no_daemon_at_all_is_told_with_every_place_that_was_looked_at() {
    let empty = Directory::new();
    let places = [empty.path.join("unix.socket"), empty.path.join("unix.socket.user")];
    let [own, restricted] = places.map(|path| path.display().to_string());
    fails_with(
        ("INCUS_DIR", &empty.path),
        &["no Incus daemon found", &own, &restricted, "install Incus"],
    );
    let missing = empty.path.join("no/such/directory");
    fails_with(("INCUS_DIR", &missing), &["no Incus daemon found", "install Incus"]);
    fails_with(("INCUS_SOCKET", &missing), &["no Incus daemon found", "no/such/directory"]);
}

#[test]
fn a_socket_that_nobody_listens_at_is_a_daemon_that_does_not_run() {
    let directory = Directory::new();
    let socket = directory.path.join("unix.socket");
    drop(UnixListener::bind(&socket).expect("a socket"));
    let words = ["daemon is not running", &socket.display().to_string(), "systemctl start incus"];
    fails_with(("INCUS_DIR", &directory.path), &words);
    fails_with(("INCUS_SOCKET", &socket), &words);
    // A restricted daemon beside it that this user may not use is not what is wrong.
    let beside = directory.path.join("unix.socket.user");
    let _listens = UnixListener::bind(&beside).expect("a socket");
    let nobody = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(&beside, nobody).expect("our own socket");
    fails_with(("INCUS_DIR", &directory.path), &words);
}

#[test]
fn what_is_no_socket_is_told_by_its_path() {
    let directory = Directory::new();
    let file = directory.path.join("unix.socket");
    std::fs::write(&file, "no socket").expect("a file");
    fails_with(("INCUS_SOCKET", &file), &["unix.socket", "not running"]);
    fails_with(("INCUS_SOCKET", &directory.path), &[&directory.path.display().to_string()]);
    let long = directory.path.join("x".repeat(200));
    fails_with(("INCUS_SOCKET", &long), &["INCUS_SOCKET"]);
}

#[test]
fn permission_refused_names_the_group_and_that_a_new_login_is_needed() {
    let directory = Directory::new();
    let socket = directory.path.join("unix.socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).expect("own file");
    let path = socket.display().to_string();
    // The socket has the user's own primary group.
    let group = output_of("id", &["-gn"]);
    let words =
        ["permission denied on", &path, &format!("group `{group}`"), "log out and in again"];
    fails_with(("INCUS_SOCKET", &socket), &words);
    fails_with(("INCUS_DIR", &directory.path), &words);
}

#[test]
fn a_member_of_the_group_whose_login_is_too_old_is_told_how_to_go_on_at_once() {
    let directory = Directory::new();
    let socket = directory.path.join("unix.socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let changed = Command::new("chgrp").arg("incus-admin").arg(&socket).status().expect("chgrp");
    assert!(changed.success(), "the user of these tests is in group incus-admin");
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).expect("own file");
    let words =
        ["you were added to group `incus-admin`", "log out and in again", "newgrp incus-admin"];
    fails_with(("INCUS_SOCKET", &socket), &words);
}

#[test]
fn a_directory_that_may_not_be_entered_is_permission_too() {
    let directory = Directory::new();
    let closed = directory.path.join("closed");
    std::fs::create_dir(&closed).expect("a directory");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).expect("own directory");
    fails_with(("INCUS_DIR", &closed), &["permission denied on", "group `incus-admin`"]);
}

#[test]
fn somebody_in_no_group_of_incuss_is_refused_by_the_real_daemon() {
    // Only where the user of these tests may become another one without a password.
    let may = Command::new("sudo")
        .args(["-n", "-u", "ibxnobody", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        return;
    }
    let directory = std::env::var("INCUS_DIR").unwrap_or_else(|_| "/var/lib/incus".to_owned());
    let output = Command::new("sudo")
        .args(["-n", "-u", "ibxnobody", "env", &format!("INCUS_DIR={directory}")])
        .args([&program(), "dev", "--", "true"])
        .stdin(Stdio::null())
        .output()
        .expect("sudo");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(said.contains("only members of group `incus-admin` may use it"), "{said}");
}

#[test]
fn a_named_socket_wins_over_a_directory_and_an_empty_variable_counts_for_nothing() {
    let fake = Fake::new(Script::new(Mode::Agent, Way::Pipes));
    let empty = Directory::new();
    let both = [("INCUS_SOCKET", fake.socket().as_path()), ("INCUS_DIR", empty.path.as_path())];
    run_with(&both, Way::Pipes).assert_ended(SOON, 0);
    let fake = Fake::new(Script::new(Mode::Agent, Way::Pipes));
    let directory = fake.socket().parent().expect("a directory");
    let empty = [("INCUS_SOCKET", Path::new("")), ("INCUS_DIR", directory)];
    run_with(&empty, Way::Pipes).assert_ended(SOON, 0);
    // A named socket that is dead is not replaced by another daemon, which has other boxes.
    let gone = directory.join("gone");
    let dead = [("INCUS_SOCKET", gone.as_path()), ("INCUS_DIR", directory)];
    run_with(&dead, Way::Pipes).assert_failed(SOON, 125, &["no Incus daemon found", "gone"]);
}

#[test]
fn a_box_that_does_not_exist_is_told_with_names_like_it() {
    let shared = testbox::shared();
    let near = format!("{}x", shared);
    let words = [format!("there is no box `{near}`"), format!("`{shared}`")];
    for (mode, way) in EACH_WAY {
        let mode = if mode == Mode::Agent { "agent" } else { "native" };
        let seen = Client::new(&["--mode", mode, &near, "--", "true"]).run(way);
        seen.assert_failed(SOON, 125, &["did you mean", &words[0], &words[1]]);
    }
    let strange = "no-box-has-a-name-like-this-one";
    let seen = Client::new(&[strange, "--", "true"]).run(Way::Pipes);
    seen.assert_failed(SOON, 125, &["there is no box", strange, "incus list"]);
}

#[test]
fn a_project_that_does_not_exist_is_named() {
    let shared = testbox::shared();
    let seen =
        Client::new(&["--project", "no-such-project", &shared, "--", "true"]).run(Way::Pipes);
    seen.assert_failed(SOON, 125, &["project `no-such-project`"]);
    let odd = "a b&c=d/../e";
    let seen = Client::new(&["--project", odd, &shared, "--", "true"]).run(Way::Pipes);
    seen.assert_failed(SOON, 125, &[odd]);
}

#[test]
fn a_name_that_no_box_can_have_never_reaches_the_daemon() {
    let long = "x".repeat(64);
    for name in ["", "a/b", "..", "a b", "a?b", "a#b", "-a-", "a-", "12", "a\nb", "ü", &long] {
        let fake = Fake::new(Script::new(Mode::Agent, Way::Pipes));
        let seen = Client::of(&fake, &["--no-start", name, "--", "true"]).run(Way::Pipes);
        assert_eq!(fake.asked(), Vec::<String>::new(), "{name:?}");
        // One that begins with a hyphen is taken for an option.
        let words = if name.starts_with('-') {
            "see: incusbox-run --help"
        } else {
            "cannot be the name of a box"
        };
        seen.assert_failed(SOON, 125, &[words]);
    }
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("a program");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
