//! Users of the restricted socket, on hosts of their own.

use super::{IMAGE, LISTED};
use crate::host::{Host, user};

/// A user of the restricted socket: what the project allows works, what it forbids is told.
fn a_confined_user(suite: &str) {
    let host = Host::ready(suite, "confined");
    let who = user("IBX_RESTRICTED");
    let uid = host.root(&format!("id -u {who}")).succeeds().stdout.trim().to_owned();
    let image = IMAGE.replace("--alias", "local: --alias");
    host.sh(&who, &image).succeeds();
    host.sh(&who, "incusbox create dev --image testbed")
        .fails(1, &["/etc/subuid lacks the line", "incusbox setup", "--home none"]);
    let made = host.sh(&who, "incusbox create dev --image testbed --home none").succeeds().stderr;
    assert!(
        made.contains("nothing of your desktop session") && made.contains("incus-admin"),
        "{made}"
    );
    let told = host.sh(&who, "incusbox run dev -- sh -c 'id -un; sudo -n id -u'").succeeds();
    assert_eq!(told.stdout, format!("{who}\n0\n"));

    // incus-user does not pass on that the daemon left.
    let (lost, ()) = std::thread::scope(|scope| {
        let running = scope.spawn(|| host.sh(&who, "incusbox-run dev -- sleep 77777"));
        let is_there = "timeout 30 sh -c 'until pgrep -fx \"sleep 77777\"; do sleep 0.1; done'";
        host.root(is_there).succeeds();
        host.root("systemctl restart incus.service && incus admin waitready --timeout 60")
            .succeeds();
        (running.join().expect("a run"), ())
    });
    lost.fails(125, &["the Incus daemon went away while the command ran"]);
    let doctor = host.sh(&who, "incusbox doctor dev").succeeds().stdout;
    assert!(doctor.contains(&format!("`user-{uid}` is restricted: it refuses")), "{doctor}");

    host.root(&format!("usermod --add-subuids {uid}-{uid} --add-subgids {uid}-{uid} root"))
        .succeeds();
    host.sh(&who, "incusbox create shared --image testbed").succeeds();
    let inside = "touch ~/made; unshare --user --map-root-user --mount --pid --fork sh -c 'mount -t proc proc /proc && echo nested'";
    let script = format!("incusbox run shared -- sh -c \"{inside}\"; stat -c %U ~/made");
    assert_eq!(host.sh(&who, &script).succeeds().stdout, format!("nested\n{who}\n"));
    assert_eq!(host.sh(&who, LISTED).succeeds().stdout, "dev running\nshared running\n");
    host.root("mkdir -p /srv/x").succeeds();
    // Each with Incus's own words and the way out.
    for (options, words, way_out) in [
        ("--set security.privileged=true", "rivileged", "leave that out"),
        ("--set raw.lxc=lxc.tty.max=3", "raw.lxc", "leave that out"),
        ("--volume /srv", "/srv", "give one in there"),
        ("--home /srv/x", "/srv/x", "give one in there"),
        ("--intercept on", "interception is forbidden", "--intercept auto"),
    ] {
        host.sh(&who, &format!("incusbox create no --image testbed {options}"))
            .fails(1, &[words, "the project is restricted", way_out, "incus-admin"]);
    }
    let bare = "mkdir -p /tmp/bare/bin /tmp/bare/etc && cp /bin/true /tmp/bare/bin/sh && tar -C /tmp/bare -czf /tmp/bare.tar.gz . && incusbox create no --image-file /tmp/bare.tar.gz --home none";
    host.sh(&who, bare).fails(1, &["the image has no init", "take an image that has one"]);
    host.sh(&who, "incusbox rm --force dev shared").succeeds();
    assert_eq!(host.sh(&who, LISTED).succeeds().stdout, "");
}

/// From Incus just installed to a box for a user of the restricted socket, and back.
fn a_confined_newcomer(suite: &str) {
    let host = Host::new(suite, "confined-newcomer");
    let who = user("IBX_RESTRICTED");
    let uid = host.root(&format!("id -u {who}")).succeeds().stdout.trim().to_owned();
    host.root(&format!("echo '{who} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/confined")).succeeds();
    let tables = "cat /etc/subuid /etc/subgid /etc/group | sort";
    let before = host.root(tables).succeeds().stdout;

    // Not by the user's own `incusbox setup`, which does this as root when incus-user does not
    // answer: where Incus finds no free subnet, incus-user takes minutes not to.
    let made = host.sh(&who, "sudo incusbox setup --yes").succeeds();
    assert!(made.stdout.contains("make the network `incusbr0`"), "{made:#?}");
    let subnet = "incus network get incusbr0 ipv4.address; incus profile device get default eth0 network; ip -4 route show dev incusbr0";
    let subnet = host.root(subnet).succeeds().stdout;
    assert!(subnet.starts_with("10.147.") && subnet.contains("\nincusbr0\n10.147."), "{subnet}");
    // What `doctor` says for a user without a project.
    let bridge = "ipv4.address=10.148.0.1/24 ipv4.nat=true ipv6.address=none";
    host.root(&format!("incus network create incusbr-{uid} --type=bridge {bridge}")).succeeds();
    let told = host.sh(&who, "incusbox setup --yes").succeeds();
    assert!(told.stderr.contains("everything is set up already"), "{told:#?}");
    let told = host.sh(&who, "incusbox doctor").succeeds().stdout;
    assert!(told.contains(&format!("`user-{uid}` is restricted")), "{told}");

    host.sh(&who, &IMAGE.replace("--alias", "local: --alias")).succeeds();
    host.sh(&who, "incusbox create dev --image testbed").succeeds();
    let told = host.sh(&who, "incusbox run dev -- sh -c 'id -un; touch ~/made'; stat -c %U ~/made");
    assert_eq!(told.succeeds().stdout, format!("{who}\n{who}\n"));

    host.sh(&who, "incusbox rm --force dev && incusbox setup --undo").succeeds();
    assert_eq!(host.root(tables).succeeds().stdout, before, "undone");
}

#[test]
fn a_confined_newcomer_comes_from_nothing_to_a_box_and_back_with_incus_6() {
    a_confined_newcomer("bookworm");
}

#[test]
fn a_confined_newcomer_comes_from_nothing_to_a_box_and_back_with_incus_7() {
    a_confined_newcomer("trixie");
}

#[test]
fn a_confined_user_has_boxes_with_incus_6() {
    a_confined_user("bookworm");
}

#[test]
fn a_confined_user_has_boxes_with_incus_7() {
    a_confined_user("trixie");
}
