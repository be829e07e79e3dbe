//! The host's GPU in a box, as far as it can be tried on any host: one that is gone, and what the
//! agent makes of directories with NVIDIA's libraries.

use crate::support::{Name, command, home, incus, incusbox, run};

/// No vendor has this number.
const GONE: &str = "vendorid=fffe";

#[test]
fn a_box_whose_gpu_is_gone_does_not_start_and_the_way_out_is_told() {
    let name = Name::create("gpu", &[]);
    let told = incusbox(&["info", &name]).succeeds();
    assert!(told.stdout.lines().any(|line| line == "gpu:          on"), "{told:?}");
    incus(&["stop", "--force", &name]).succeeds();
    // Where the host has a GPU, the box has it.
    let _there_is_none = incus(&["config", "device", "remove", &name, "gpu"]);
    incus(&["config", "device", "add", &name, "gpu", "gpu", GONE]).succeeds();
    let way_out = format!("incusbox set {} gpu=off", &*name);
    incusbox(&["start", &name]).fails(1, &[&way_out]);
    run(command("incusbox-run", &[&name, "--", "true"])).fails(125, &[&way_out]);
    // As of a backup from another machine.
    if !std::path::Path::new("/dev/dri").exists() {
        incusbox(&["adopt", "--yes", &name]).succeeds();
        name.sh("true").succeeds();
    }
    incusbox(&["set", &name, "gpu=off"]).succeeds();
    let told = name.sh("ls /etc/incusbox/on").succeeds();
    assert!(!told.stdout.contains("gpu"), "{told:?}");
}

#[test]
fn links_to_nvidias_libraries_are_made_at_boot_and_go_with_the_switch() {
    let name = Name::create("nvidia", &[]);
    let libraries = home().join(format!(".{}", &*name));
    let write = |file: &str| std::fs::write(libraries.join(file), "").expect("a file");
    std::fs::create_dir(&libraries).expect("a directory");
    ["libcuda.so.535.1", "libGLX_nvidia.so.0", "libc.so.6"].iter().for_each(|file| write(file));
    let disk = format!("source={}", libraries.display());
    let place = "path=/mnt/.incusbox/nvidia/0";
    let add = ["config", "device", "add", &name, "nvidia-0", "disk", &disk, place];
    incus(&[&add[..], &["readonly=true", "required=false"]].concat()).succeeds();

    let links = "cd /usr/local/lib/incusbox/nvidia/0 && ls";
    // A systemd that only begins to start has no bus yet on which one could wait for it.
    let wait = "until systemctl is-system-running 2>&1 | grep -qE 'running|degraded'; do \
                sleep 0.1; done";
    let after_boot = || {
        incusbox(&["restart", &name]).succeeds();
        name.root(&format!("{wait}; {links}")).succeeds().stdout
    };
    assert_eq!(after_boot(), "libGLX_nvidia.so.0\nlibcuda.so.535.1\n");
    name.root("grep -q libGLX_nvidia /etc/vulkan/icd.d/incusbox_nvidia.json").succeeds();
    std::fs::rename(libraries.join("libcuda.so.535.1"), libraries.join("libcuda.so.550.2"))
        .expect("a rename");
    assert_eq!(after_boot(), "libGLX_nvidia.so.0\nlibcuda.so.550.2\n", "an upgrade on the host");

    incusbox(&["set", &name, "gpu=off"]).succeeds();
    assert_eq!(name.root(links).succeeds().stdout, "");
    let rest = "! test -e /etc/ld.so.conf.d/incusbox-nvidia.conf && ! test -e /etc/vulkan/icd.d/incusbox_nvidia.json";
    name.root(rest).succeeds();
    let devices = incus(&["config", "device", "list", &name]).succeeds();
    assert!(!devices.stdout.contains("nvidia"), "{devices:?}");
    std::fs::remove_dir_all(&libraries).expect("our own directory");
}
