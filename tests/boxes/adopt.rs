//! Instances of Incus's become boxes, with everything they were.

use crate::support::{Name, Scratch, home, image, incus, incusbox};

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
fn a_home_that_is_shown_under_any_name_stays() {
    let name = Name::new("byhand");
    let home = home().display().to_string();
    let (source, path) = (format!("source={home}"), format!("path={home}"));
    incus(&["init", &image(), &name]).succeeds();
    incus(&["config", "device", "add", &name, "mine", "disk", &source, &path]).succeeds();
    incusbox(&["adopt", "--yes", &name]).succeeds();
    assert_eq!(name.sh("pwd").succeeds().stdout, format!("{home}\n"));
    let devices = incus(&["config", "device", "list", &name]).succeeds().stdout;
    assert!(devices.contains("mine") && !devices.contains("home-"), "{devices}");
    incusbox(&["adopt", &name, "--home", "shared"]).succeeds();
    let told = ["another path", "nothing was changed", "incus config device remove"];
    incusbox(&["adopt", &name, "--home", "/srv"]).fails(1, &told);
    incusbox(&["adopt", &name, "--home", "none"]).fails(1, &told);
}

#[test]
fn adopting_again_adds_what_is_asked_for() {
    let scratch = Scratch::new("again");
    let (one, two) = (scratch.path("one"), scratch.path("two"));
    for directory in [&one, &two] {
        std::fs::create_dir(directory).expect("a directory");
        std::fs::write(format!("{directory}/file"), directory).expect("a file");
    }
    let (first, second) = (format!("{one}:/one"), format!("{two}:/two:ro"));
    let name = Name::create("again", &["--home", "none", "--volume", &first]);
    incusbox(&["adopt", "--yes", &name, "--volume", &second]).succeeds();
    incusbox(&["adopt", "--yes", &name, "--volume", &first, "--volume", &second]).succeeds();
    let told = name.sh("cat /one/file /two/file; findmnt $HOME").stdout;
    assert_eq!(told, format!("{one}{two}"), "and it keeps its own home");
    let devices = incus(&["config", "device", "list", &name]).succeeds().stdout;
    assert_eq!(devices.matches("volume-").count(), 2, "{devices}");
    for other in [format!("{two}:/one"), format!("{two}:/two")] {
        incusbox(&["adopt", "--yes", &name, "--volume", &other])
            .fails(1, &["already", "nothing was changed", "incus config device remove"]);
    }
    incusbox(&["adopt", "--yes", &name, "--home", "shared"]).succeeds();
    name.sh("findmnt $HOME").succeeds();
    assert_eq!(incus(&["config", "get", &name, "user.incusbox.home"]).stdout, "shared\n");
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
