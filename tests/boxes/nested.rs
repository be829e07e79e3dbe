//! Containers inside a box.

use crate::support::{Name, Scratch, command, incus, incusbox, run};

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

/// Makes an image of nothing but a static busybox, and runs it by every engine.
const ENGINES: &str = r#"
set -e
mkdir -p /tmp/r/bin && cp /bin/busybox /tmp/r/bin/ && for tool in sh id cat ip; do ln -sf busybox /tmp/r/bin/$tool; done
tar -C /tmp/r -c . >/tmp/r.tar
ask='id -u; ip -o -4 addr show scope global | grep -c inet'
podman import --quiet /tmp/r.tar local/bb >/dev/null 2>&1
echo "podman as user: $(echo $(podman run --rm local/bb /bin/sh -c "$ask" 2>/tmp/e || cat /tmp/e))"
sudo podman import --quiet /tmp/r.tar local/bb >/dev/null 2>&1
echo "podman as root: $(echo $(sudo podman run --rm local/bb /bin/sh -c "$ask" 2>/tmp/e || cat /tmp/e))"
sudo docker import /tmp/r.tar bb >/dev/null
echo "docker: $(echo $(sudo docker run --rm bb /bin/sh -c "$ask" 2>/tmp/e || cat /tmp/e))"
printf 'FROM local/bb\nRUN ["/bin/sh","-c","echo built >/built"]\n' >/tmp/Containerfile
buildah bud --quiet --tag local/built --file /tmp/Containerfile /tmp >/dev/null 2>&1
echo "buildah: $(podman run --rm local/built /bin/cat /built)"
skopeo copy --quiet containers-storage:localhost/local/built dir:/tmp/copied && echo "skopeo: $(test -e /tmp/copied/manifest.json && echo copied)"
"#;

/// Takes the images out of a home on the host, where their owners are nobody that the user could
/// remove files of.
struct Images<'a>(&'a Name);

impl Drop for Images<'_> {
    fn drop(&mut self) {
        let _left_in_the_home = self.0.root("rm -rf /home/*/.local/share/containers");
    }
}

#[test]
fn podman_docker_buildah_and_skopeo_work_in_a_box_before_and_after_a_restart() {
    let packages = "podman slirp4netns uidmap docker.io buildah skopeo busybox-static locales";
    let options: Vec<&str> = packages.split(' ').flat_map(|name| ["--package", name]).collect();
    // Rootless images in a directory of the host's.
    let home = Scratch::new("engines");
    let home = home.path("");
    let home = ["--home", home.trim_end_matches('/')];
    let name = Name::create("engines", &home);
    if !name.reaches_packages() {
        return;
    }
    let _images = Images(&name);
    let words = [&["adopt", "--yes", &name], &home[..], &options[..]].concat();
    let mut adopt = command("incusbox", &words);
    adopt.env_remove("LC_ALL").env("LANG", "de_DE.UTF-8");
    run(adopt).succeeds();
    the_language_is_the_hosts(&name);
    let expected =
        "podman as user: 0 1\npodman as root: 0 1\ndocker: 0 1\nbuildah: built\nskopeo: copied\n";
    let told = name.sh(ENGINES);
    assert_eq!(told.stdout, expected, "{told:#?}");
    incusbox(&["restart", &name]).succeeds();
    let again = "podman run --rm local/built /bin/cat /built; sudo docker run --rm bb /bin/id -u";
    let told = name.sh(again);
    assert_eq!(told.stdout, "built\n0\n", "{told:#?}");
    the_language_is_the_hosts(&name);
}

/// A locale that the box had no more of than its source, which a package brought.
fn the_language_is_the_hosts(name: &Name) {
    let told =
        name.root("su - \"$(id -nu $(stat -c %u /home/*))\" -c 'echo $LANG; date -u -d @0 +%A'");
    assert_eq!(told.stdout, "de_DE.UTF-8\nDonnerstag\n", "{told:#?}");
}
