//! Containers inside a box.

use crate::support::{Name, incus};

#[test]
fn a_box_is_ready_for_containers() {
    let name = Name::create("nested", &[]);
    let profile = incus(&["profile", "show", "incusbox-nested"]).succeeds().stdout;
    assert!(profile.contains("security.nesting: \"true\""), "{profile}");
    let told = name.sh(
        "stat -c '%F %a' /dev/fuse /dev/net/tun; grep -c \"^$(id -un):\" /etc/subuid /etc/subgid",
    );
    let expected =
        "character special file 666\ncharacter special file 666\n/etc/subuid:1\n/etc/subgid:1\n";
    assert_eq!(told.succeeds().stdout, expected);
    // What rootless containers begin with: a user namespace with a /proc of its own.
    let proc = "unshare --user --map-root-user --mount --pid --fork sh -c 'mount -t proc proc /proc && echo mounted'";
    assert_eq!(name.sh(proc).succeeds().stdout, "mounted\n");
}
