//! Names and ids that are in each other's way.

use super::distributions::{line, warnings};
use crate::agent::protocol::setup::{SetupRequest, UserAccount};
use crate::agent::setup::fixture::{self, Scratch};

fn account(name: &str, uid: u32, group: &str, gid: u32) -> SetupRequest {
    let mut request = fixture::request();
    let user = request.user.take().expect("a user");
    let (name, group) = (name.to_owned(), group.to_owned());
    let home = format!("/home/{name}");
    request.user = Some(UserAccount { name, uid, group, gid, home, ..user });
    request
}

#[test]
fn an_account_of_the_image_with_the_users_id_moves_away_and_keeps_everything_else() {
    let scratch = Scratch::of("ubuntu-24.04");
    let (events, result) = scratch.set_up(&account("dev", 1000, "dev", 1000));
    result.expect("a set-up");
    let passwd = scratch.text("etc/passwd");
    assert_eq!(line(&passwd, "ubuntu:"), "ubuntu:x:59999:59999:Ubuntu:/home/ubuntu:/bin/bash");
    assert!(line(&passwd, "dev:").starts_with("dev:x:1000:1000:"));
    let group = scratch.text("etc/group");
    assert_eq!(line(&group, "ubuntu:"), "ubuntu:x:59999:");
    assert_eq!(line(&group, "dip:"), "dip:x:30:ubuntu");
    assert_eq!(line(&group, "sudo:"), "sudo:x:27:ubuntu,dev");
    assert!(scratch.has("etc/sudoers.d/90-cloud-init-users"));
    assert!(warnings(&events).contains("`ubuntu` had the user id 1000 and has 59999 now"));
}

#[test]
fn an_account_of_the_image_with_the_users_name_becomes_the_users() {
    let scratch = Scratch::of("ubuntu-24.04");
    let (events, result) = scratch.set_up(&account("ubuntu", 3000, "ubuntu", 3000));
    result.expect("a set-up");
    let passwd = scratch.text("etc/passwd");
    assert_eq!(line(&passwd, "ubuntu:"), "ubuntu:x:3000:3000:Dev Eloper,,,:/home/ubuntu:/bin/bash");
    assert_eq!(passwd.matches("ubuntu:x:").count(), 1);
    assert_eq!(line(&scratch.text("etc/group"), "ubuntu:"), "ubuntu:x:3000:");
    assert!(warnings(&events).contains("had the user id 1000 and has 3000 now"));
    assert_eq!(scratch.text("home/ubuntu/.bashrc"), "# of ubuntu\n");
}

#[test]
fn the_same_name_and_id_is_simply_the_user() {
    let scratch = Scratch::of("ubuntu-24.04");
    let (events, result) = scratch.set_up(&account("ubuntu", 1000, "ubuntu", 1000));
    result.expect("a set-up");
    assert!(line(&scratch.text("etc/passwd"), "ubuntu:").starts_with("ubuntu:x:1000:1000:Dev"));
    assert!(!warnings(&events).contains("had the"));
}

#[test]
fn a_system_account_is_never_touched_and_the_refusal_names_both() {
    for (request, words) in [
        (account("www-data", 1000, "dev", 1000), ["`www-data`", "1000", "33"]),
        (account("dev", 33, "dev", 1000), ["`dev`", "33", "`www-data`"]),
        (account("nobody", 1000, "dev", 1000), ["`nobody`", "1000", "65534"]),
    ] {
        let scratch = Scratch::of("debian-12");
        let before = scratch.text("etc/passwd");
        let text = scratch.set_up(&request).1.expect_err("a refusal");
        for word in words {
            assert!(text.contains(word), "{text}");
        }
        assert_eq!(scratch.text("etc/passwd"), before);
    }
}

#[test]
fn a_system_group_with_the_users_gid_is_the_primary_group_whatever_its_name() {
    let scratch = Scratch::of("debian-12");
    let (events, result) = scratch.set_up(&account("dev", 1000, "users", 100));
    result.expect("a set-up");
    assert!(line(&scratch.text("etc/passwd"), "dev:").starts_with("dev:x:1000:100:"));
    assert_eq!(line(&scratch.text("etc/group"), "users:"), "users:x:100:");
    assert_eq!(warnings(&events), "");
    // Arch has `users` elsewhere, and another group where Debian has `users` is none of ours.
    let scratch = Scratch::of("debian-12");
    let (events, result) = scratch.set_up(&account("dev", 1000, "users", 999));
    result.expect("a set-up");
    assert!(line(&scratch.text("etc/passwd"), "dev:").starts_with("dev:x:1000:999:"));
    assert!(warnings(&events).contains("is called `systemd-journal` in the box"));
    let (events, result) = Scratch::of("debian-12").set_up(&account("dev", 1000, "users", 984));
    result.expect("a set-up");
    assert!(warnings(&events).contains("(984) is called `dev`"));
}

#[test]
fn a_group_of_the_image_follows_its_own_account_and_not_the_user() {
    let scratch = Scratch::of("ubuntu-24.04");
    scratch.file("etc/group", scratch.text("etc/group") + "dev:x:1500:ubuntu\n");
    scratch.set_up(&account("dev", 1000, "dev", 1000)).1.expect("a set-up");
    let group = scratch.text("etc/group");
    assert_eq!(line(&group, "dev:"), "dev:x:1000:ubuntu");
    assert_eq!(line(&group, "ubuntu:"), "ubuntu:x:59999:");
}

#[test]
fn a_second_user_changes_nothing_of_the_first() {
    let scratch = Scratch::of("debian-12");
    let first = SetupRequest { nesting: true, ..account("dev", 1000, "dev", 1000) };
    let second = SetupRequest { nesting: true, ..account("a.b", 61234, "a.b", 61234) };
    scratch.set_up(&first).1.expect("a set-up");
    let passwd = scratch.text("etc/passwd");
    scratch.set_up(&second).1.expect("a set-up");
    assert!(scratch.text("etc/passwd").starts_with(&passwd));
    assert!(line(&scratch.text("etc/group"), "sudo:").ends_with(":dev,a.b"));
    assert!(scratch.has("etc/sudoers.d/incusbox-dev"));
    // sudo(8) would skip a name with a dot.
    assert!(scratch.has("etc/sudoers.d/incusbox-a%2eb"));
    assert_eq!(scratch.text("etc/subuid"), "dev:100000:65536\na.b:165536:65536\n");
    let before = scratch.state();
    scratch.set_up(&first).1.expect("a set-up");
    assert!(before == scratch.state());
}

#[test]
fn sudo_is_taken_away_again_with_the_groups_that_came_with_it() {
    let scratch = Scratch::of("fedora-42");
    let mut request = account("dev", 1000, "dev", 1000);
    scratch.set_up(&request).1.expect("a set-up");
    assert_eq!(line(&scratch.text("etc/group"), "wheel:"), "wheel:x:10:dev");
    request.user.as_mut().expect("a user").sudo = false;
    scratch.set_up(&request).1.expect("a set-up");
    assert!(!scratch.has("etc/sudoers.d/incusbox-dev"));
    assert!(!scratch.has("etc/polkit-1/rules.d/49-incusbox-dev.rules"));
    assert_eq!(line(&scratch.text("etc/group"), "wheel:"), "wheel:x:10:");
    assert_eq!(line(&scratch.text("etc/gshadow"), "wheel:"), "wheel:::");
    assert_eq!(line(&scratch.text("etc/group"), "video:"), "video:x:39:dev");
    // What somebody wrote by hand under our name is theirs.
    scratch.file("etc/sudoers.d/incusbox-dev", "# mine\n");
    scratch.set_up(&request).1.expect("a set-up");
    assert_eq!(scratch.text("etc/sudoers.d/incusbox-dev"), "# mine\n");
}

#[test]
fn groups_that_are_as_good_as_root_are_for_administrators() {
    let mut request = account("dev", 1000, "dev", 1000);
    let user = request.user.as_mut().expect("a user");
    user.groups = ["disk", "sudo", "games", "nosuch"].map(str::to_owned).to_vec();
    user.sudo = false;
    let scratch = Scratch::of("debian-12");
    scratch.set_up(&request).1.expect("a set-up");
    let group = scratch.text("etc/group");
    assert_eq!(line(&group, "disk:"), "disk:x:6:");
    assert_eq!(line(&group, "sudo:"), "sudo:x:27:");
    assert_eq!(line(&group, "games:"), "games:x:60:dev");
    assert!(!group.contains("nosuch"));
}

#[test]
fn an_expired_account_of_an_image_lives_again_and_a_password_is_kept() {
    let scratch = Scratch::of("ubuntu-24.04");
    let shadow = scratch
        .text("etc/shadow")
        .replace("ubuntu:!:20000:0:99999:7:::", "ubuntu:$6$x:0:0:99999:7::1:");
    scratch.file("etc/shadow", shadow);
    scratch.set_up(&account("ubuntu", 1000, "ubuntu", 1000)).1.expect("a set-up");
    assert_eq!(line(&scratch.text("etc/shadow"), "ubuntu:"), "ubuntu:$6$x::0:99999:7:::");
}
