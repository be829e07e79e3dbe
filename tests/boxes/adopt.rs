//! Instances of Incus's become boxes, with everything they were.

use crate::support::{Name, image, incus, incusbox};

#[test]
fn an_instance_becomes_a_box_and_keeps_what_it_was() {
    let name = Name::new("adopted");
    incus(&["launch", &image(), &name, "-c", "limits.processes=900", "-c", "user.mine=yes"])
        .succeeds();
    name.root("echo kept >/root/kept").succeeds();
    incusbox(&["adopt", &name]).fails(2, &["restarted", "--yes"]);
    incusbox(&["adopt", "--yes", &name]).succeeds();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(
        name.sh("id -u; sudo -n cat /root/kept").succeeds().stdout,
        format!("{uid}\nkept\n")
    );
    let key = |key: &str| incus(&["config", "get", &name, key]).succeeds().stdout;
    assert_eq!((key("limits.processes").as_str(), key("user.mine").as_str()), ("900\n", "yes\n"));
    // Once more changes nothing, and needs no restart.
    incusbox(&["adopt", &name]).succeeds();
}

#[test]
fn an_account_of_the_image_with_the_users_id_makes_room() {
    let name = Name::new("room");
    let uid = rustix::process::getuid().as_raw();
    incus(&["launch", &image(), &name]).succeeds();
    let account = format!(
        "echo 'debian:x:{uid}:{uid}:Debian:/home/debian:/bin/bash' >>/etc/passwd; echo 'debian:x:{uid}:' >>/etc/group; mkdir -p /home/debian; chown {uid}:{uid} /home/debian"
    );
    name.root(&account).succeeds();
    incusbox(&["adopt", "--yes", &name]).succeeds();
    let user = std::env::var("USER").expect("USER");
    assert_eq!(name.sh("id -un").succeeds().stdout, format!("{user}\n"));
    let other = name.root("id -u debian").succeeds().stdout;
    assert_ne!(other.trim(), uid.to_string(), "the other account is still there, with another id");
}

#[test]
fn a_system_account_of_the_users_name_is_no_account_for_the_user() {
    let name = Name::new("system");
    let user = std::env::var("USER").expect("USER");
    incus(&["launch", &image(), &name]).succeeds();
    name.root(&format!("echo '{user}:x:150:150::/:/usr/sbin/nologin' >>/etc/passwd")).succeeds();
    incusbox(&["adopt", "--yes", &name]).fails(1, &[&user, "150"]);
}
