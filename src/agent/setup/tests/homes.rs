//! Homes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::distributions::warnings;
use crate::agent::setup::fixture::{self, Scratch};

#[test]
fn a_home_of_the_boxs_own_is_filled_from_the_pattern_once() {
    let scratch = Scratch::of("debian-12");
    scratch.file("etc/skel/.config/app/rc", "x").link("etc/skel/link", "/etc/shadow");
    scratch.program("etc/skel/run");
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    assert_eq!(scratch.text("home/dev/.config/app/rc"), "x");
    // A link is copied as a link: what it leads to is not read.
    let link = scratch.path.join("home/dev/link");
    assert_eq!(std::fs::read_link(link).expect("a link"), std::path::Path::new("/etc/shadow"));
    let mode = |path: &str| scratch.path.join(path).metadata().expect("metadata").mode() & 0o7777;
    assert_eq!((mode("home/dev"), mode("home/dev/run")), (0o700, 0o755));
    std::fs::remove_file(scratch.path.join("home/dev/.bashrc")).expect("a file");
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    assert!(!scratch.has("home/dev/.bashrc"));
    assert_eq!(scratch.path.join("home").read_dir().expect("a directory").count(), 1);
}

#[test]
fn the_mode_is_that_of_login_defs() {
    for (distribution, mode) in [("ubuntu-24.04", 0o750), ("arch", 0o700), ("debian-12", 0o700)] {
        let scratch = Scratch::of(distribution);
        scratch.set_up(&fixture::request()).1.expect("a set-up");
        let meta = scratch.path.join("home/dev").metadata().expect("metadata");
        assert_eq!(meta.mode() & 0o7777, mode, "{distribution}");
    }
}

#[test]
fn links_on_the_way_are_followed_inside_the_box_also_to_where_nothing_is_yet() {
    let scratch = Scratch::of("fedora-42");
    scratch.link("home", "var/home");
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    assert!(scratch.has("var/home/dev/.bashrc"));
    let scratch = Scratch::of("fedora-42");
    scratch.link("home", "/var/home");
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    assert!(scratch.has("var/home/dev/.bashrc"));
}

#[test]
fn an_interrupted_home_is_finished_and_an_empty_mount_point_is_taken() {
    let scratch = Scratch::of("debian-12");
    scratch.file("home/.dev.incusbox/.bashrc", "half").directory("home/dev");
    let mut request = fixture::request();
    request.user.as_mut().expect("a user").uid = 1234;
    scratch.set_up(&request).1.expect("a set-up");
    assert_eq!(scratch.text("home/dev/.profile"), "# ~/.profile\n");
    assert!(!scratch.has("home/.dev.incusbox"));
}

#[test]
fn a_mounted_home_is_left_alone() {
    let scratch = Scratch::of("debian-12");
    scratch.file("home/dev/mine", "");
    let meta = || scratch.path.join("home/dev").metadata().expect("metadata");
    std::fs::set_permissions(scratch.path.join("home/dev"), PermissionsExt::from_mode(0o711))
        .expect("chmod");
    let before = meta();
    let mut request = fixture::request();
    request.user.as_mut().expect("a user").home_is_mounted = true;
    let (events, result) = scratch.set_up(&request);
    result.expect("a set-up");
    assert_eq!((before.mode(), before.ctime_nsec()), (meta().mode(), meta().ctime_nsec()));
    assert_eq!(warnings(&events), "");
}

#[test]
fn a_home_of_somebody_else_is_told_and_kept() {
    let scratch = Scratch::of("debian-12");
    scratch.file("home/dev/theirs", "");
    let mut request = fixture::request();
    let user = request.user.as_mut().expect("a user");
    // Whoever runs the tests owns the directory.
    user.uid = 4321;
    let (events, result) = scratch.set_up(&request);
    result.expect("a set-up");
    assert!(warnings(&events).contains("was there already and belongs to the user id"));
    assert!(!scratch.has("home/dev/.bashrc"));
}

#[test]
fn the_files_of_an_account_that_moved_follow_it_and_links_are_not_followed() {
    if !rustix::process::geteuid().is_root() {
        // Only root gives files away.
        return;
    }
    let scratch = Scratch::of("ubuntu-24.04");
    scratch
        .file("home/ubuntu/a/b", "")
        .file("outside", "")
        .link("home/ubuntu/out", "../../outside");
    for path in ["home/ubuntu", "home/ubuntu/a", "home/ubuntu/a/b", "outside"] {
        std::os::unix::fs::chown(scratch.path.join(path), Some(1000), Some(1000)).expect("chown");
    }
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    let owner = |path: &str| {
        let meta = scratch.path.join(path).symlink_metadata().expect("metadata");
        (meta.uid(), meta.gid())
    };
    for path in ["home/ubuntu", "home/ubuntu/a", "home/ubuntu/a/b"] {
        assert_eq!(owner(path), (59_999, 59_999), "{path}");
    }
    // Nobody's home holds it, and nobody gave `.bashrc` to ubuntu.
    assert_eq!(owner("outside"), (1000, 1000));
    assert_eq!(owner("home/ubuntu/.bashrc"), (0, 0));
    assert_eq!(owner("home/dev/.bashrc"), (1000, 1000));
}
