//! The user space of the host's NVIDIA driver, made findable: links to its libraries in directories
//! that the box's dynamic linker looks into, and the small files by which loaders of Vulkan, EGL and
//! OpenCL know of a driver.
//!
//! At each boot, for an upgrade on the host has given the libraries other names; and all of it goes
//! when the switch is off or nothing is shown any more. The files have names of their own: a
//! driver's package in the box may have brought the usual ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use super::command::Run;
use super::failure::Failure;
use super::surroundings::Life;
use super::tree::{Access, Change, Tree};
use crate::agent::protocol::desktop::{ON, Switch};
use crate::agent::protocol::nvidia::{LINKS, MOST, PARTS, SHOWN, select};

/// Tells the dynamic linker (glibc's, the only one that the libraries work with) of the links.
const LINKER: &str = "/etc/ld.so.conf.d/incusbox-nvidia.conf";
/// A linker that has neither is another one.
const LINKERS_OWN: [&str; 2] = ["/etc/ld.so.conf", "/etc/ld.so.conf.d"];
/// It reads every library of the box.
const LIMIT_OF_LDCONFIG: Duration = Duration::from_secs(60);

const UNIT: &str = "incusbox-nvidia.service";

const HEAD: &str = r#"{"file_format_version":"1.0.0","ICD":{"library_path":""#;
const TAIL: &str = r#""}}"#;

/// What loaders read: the file, the library that it names, its content before and after that.
const LOADERS: &[(&str, &str, &str, &str)] = &[
    (
        "/etc/vulkan/icd.d/incusbox_nvidia.json",
        "libGLX_nvidia.so.0",
        HEAD,
        r#"","api_version":"1.3.0"}}"#,
    ),
    (
        // Before `50_mesa.json`: the first that has the display is taken.
        "/etc/glvnd/egl_vendor.d/10_incusbox_nvidia.json",
        "libEGL_nvidia.so.0",
        HEAD,
        TAIL,
    ),
    // The platforms of EGL in the order that the driver's own files give them. Newer drivers have a
    // second library for Wayland, and one each for the two ways to X11.
    (
        "/etc/egl/egl_external_platform.d/09_incusbox_nvidia_wayland2.json",
        "libnvidia-egl-wayland2.so.1",
        HEAD,
        TAIL,
    ),
    (
        "/etc/egl/egl_external_platform.d/10_incusbox_nvidia_wayland.json",
        "libnvidia-egl-wayland.so.1",
        HEAD,
        TAIL,
    ),
    (
        "/etc/egl/egl_external_platform.d/15_incusbox_nvidia_gbm.json",
        "libnvidia-egl-gbm.so.1",
        HEAD,
        TAIL,
    ),
    (
        "/etc/egl/egl_external_platform.d/20_incusbox_nvidia_xcb.json",
        "libnvidia-egl-xcb.so.1",
        HEAD,
        TAIL,
    ),
    (
        "/etc/egl/egl_external_platform.d/20_incusbox_nvidia_xlib.json",
        "libnvidia-egl-xlib.so.1",
        HEAD,
        TAIL,
    ),
    ("/etc/OpenCL/vendors/incusbox_nvidia.icd", "libnvidia-opencl.so.1", "", ""),
];

/// The library for buffers, and the name by which libgbm asks for it, in a directory beside itself.
const ALLOCATOR: &str = "libnvidia-allocator.so.1";
const BACKEND: &str = "gbm/nvidia-drm_gbm.so";
/// Where boxes have libgbm.
const GBM: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/i386-linux-gnu",
    "/usr/lib32",
];

/// Links of one directory: their names, and where they lead.
type Links = BTreeMap<String, String>;

/// Makes what there has to be, and removes what has not.
///
/// # Errors
/// Of the files.
pub fn settle(tree: &Tree, life: Life) -> Result<(), Failure> {
    let has_linker = LINKERS_OWN.iter().any(|path| tree.exists(path));
    let is_on = has_linker && tree.exists(Path::new(ON).join(Switch::Gpu.name()));
    let all: Vec<Links> =
        (0..MOST).map(|at| if is_on { wanted(tree, at) } else { Links::new() }).collect();
    let mut changed = Change::Kept;
    for (at, links) in all.iter().enumerate() {
        changed = changed.or(place(tree, &format!("{LINKS}/{at}"), links)?);
    }
    let directories = (0..MOST).filter(|at| !all[*at].is_empty());
    let lines: String = directories.map(|at| format!("{LINKS}/{at}\n")).collect();
    let head = "# Written by incusbox: the libraries of the host's NVIDIA driver.\n";
    let text = (!lines.is_empty()).then(|| format!("{head}{lines}"));
    changed = changed.or(keep(tree, LINKER, text)?);
    for (path, library, before, after) in LOADERS {
        let has_it = all.iter().any(|links| links.contains_key(*library));
        keep(tree, path, has_it.then(|| format!("{before}{library}{after}\n")))?;
    }
    for directory in GBM {
        buffers(tree, directory, &all)?;
    }
    if let (Change::Made, Life::Running, Some(program)) = (changed, life, tree.program("ldconfig"))
    {
        let argv = [&*program.to_string_lossy()];
        let limit = Some(LIMIT_OF_LDCONFIG);
        // Without it the libraries are found by LD_LIBRARY_PATH alone.
        let _the_best_there_is = Run { argv: &argv, environment: &[], limit }.succeeds();
    }
    Ok(())
}

/// Has systemd do it at each boot, in boxes that are shown something or were.
///
/// # Errors
/// Of the files.
pub fn settle_systemd(tree: &Tree) -> Result<(), Failure> {
    let unit = format!(
        "# Written by incusbox: an upgrade on the host gives the libraries other names.\n\
         [Unit]\n\
         Description=Libraries of the host's NVIDIA driver\n\
         ConditionPathExists=|{SHOWN}\n\
         ConditionPathExists=|{LINKER}\n\
         Before=systemd-user-sessions.service\n\n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=/bin/sh -c 'exec \"$$(ls -t /usr/local/lib/incusbox/agent-* | head -n 1)\" nvidia'\n"
    );
    tree.write(format!("/etc/systemd/system/{UNIT}"), unit.as_bytes(), Access::root(0o644))?;
    let wants = format!("/etc/systemd/system/multi-user.target.wants/{UNIT}");
    tree.link(wants, Path::new(&format!("../{UNIT}"))).map(|_| ())
}

/// The links to what is shown as the directory `at`. A link of the host's may lead to where the box
/// has nothing.
fn wanted(tree: &Tree, at: usize) -> Links {
    let shown = format!("{SHOWN}/{at}");
    let mut files: Vec<String> = Vec::new();
    for part in PARTS {
        let names = tree.names(format!("{shown}/{part}"));
        let names = names.iter().filter_map(|name| name.to_str());
        files.extend(names.map(|name| Path::new(part).join(name).to_string_lossy().into_owned()));
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let mut links = Links::new();
    for file in select(&files) {
        let target = format!("{shown}/{file}");
        let name = file.rsplit('/').next().unwrap_or(file);
        if !links.contains_key(name) && tree.exists(&target) {
            links.insert(name.to_owned(), target);
        }
    }
    // libvdpau asks for this one where its own directory has none.
    let vdpau = links.iter().find(|(name, _)| name.starts_with("libvdpau_nvidia.so"));
    if let Some(target) = vdpau.map(|(_, target)| target.clone()) {
        links.entry("libvdpau_nvidia.so".to_owned()).or_insert(target);
    }
    links
}

/// Makes `directory` hold `links`; whether it did not.
fn place(tree: &Tree, directory: &str, links: &Links) -> Result<Change, Failure> {
    let mut changed = Change::Kept;
    for name in tree.names(directory) {
        let path = Path::new(directory).join(&name);
        let is_wanted = |name: &str| links.contains_key(name);
        // ldconfig makes links of its own beside ours, from a library's name to its file.
        let of_ldconfig = || tree.link_target(&path)?.to_str().map(is_wanted);
        if !name.to_str().is_some_and(is_wanted) && of_ldconfig() != Some(true) {
            changed = changed.or(tree.remove(&path)?);
        }
    }
    if !links.is_empty() {
        tree.make_directory(directory, Access::root(0o755))?;
    }
    for (name, target) in links {
        changed = changed.or(tree.link(Path::new(directory).join(name), Path::new(target))?);
    }
    Ok(changed)
}

/// Makes the file at `path` have this text, or not be there.
fn keep(tree: &Tree, path: &str, text: Option<String>) -> Result<Change, Failure> {
    match text {
        Some(text) => tree.write(path, text.as_bytes(), Access::root(0o644)),
        None if tree.exists(path) => tree.remove(path),
        None => Ok(Change::Kept),
    }
}

/// Makes the link that the libgbm in `directory` looks for, unless there is something else.
fn buffers(tree: &Tree, directory: &str, all: &[Links]) -> Result<(), Failure> {
    let path = format!("{directory}/{BACKEND}");
    let kind = class(tree, &format!("{directory}/libgbm.so.1"));
    let fits = |links: &&Links| {
        let target = links.get(ALLOCATOR);
        kind.is_some() && target.is_some_and(|target| class(tree, target) == kind)
    };
    let wanted = all.iter().position(|links| fits(&links));
    let target = wanted.map(|at| format!("{LINKS}/{at}/{ALLOCATOR}"));
    let there = tree.link_target(&path);
    let is_ours = there.as_ref().is_some_and(|target| target.starts_with(LINKS));
    match target {
        Some(target) if is_ours || (there.is_none() && !tree.exists(&path)) => {
            tree.link(&path, Path::new(&target)).map(|_| ())
        }
        None if is_ours => tree.remove(&path).map(|_| ()),
        _ => Ok(()),
    }
}

/// For how many bits a library is: the fifth byte of elf(5), `None` for what is no library.
fn class(tree: &Tree, path: &str) -> Option<u8> {
    let file = File::from(tree.open_path(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK).ok()?);
    let mut head = [0; 5];
    let is_whole = (&file).read_exact(&mut head).is_ok();
    (is_whole && head.starts_with(b"\x7fELF")).then_some(head[4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::setup::fixture::Scratch;

    const FIRST: &str = "mnt/.incusbox/nvidia/0";
    const SECOND: &str = "mnt/.incusbox/nvidia/1";
    const OWN: &str = "usr/local/lib/incusbox/nvidia";

    /// A box with glibc that is shown a Debian's libraries for 64 bits and for 32.
    fn shown() -> Scratch {
        let scratch = Scratch::new();
        scratch.file("etc/ld.so.conf", "").file("etc/incusbox/on/gpu", "");
        scratch.file(&format!("{FIRST}/nvidia/current/libcuda.so.535"), "");
        scratch.link(&format!("{FIRST}/nvidia/current/libcuda.so.1"), "libcuda.so.535");
        scratch.link(&format!("{FIRST}/libcuda.so.1"), "/etc/alternatives/libcuda.so.1");
        scratch.link(&format!("{FIRST}/libnvidia-ml.so.1"), "/etc/alternatives/gone");
        scratch.file(&format!("{FIRST}/libGLX_nvidia.so.0"), "");
        scratch.file(&format!("{FIRST}/vdpau/libvdpau_nvidia.so.1"), "");
        scratch.file(&format!("{FIRST}/{ALLOCATOR}"), b"\x7fELF\x02");
        scratch.file(&format!("{FIRST}/libc.so.6"), "");
        scratch.file(&format!("{SECOND}/libcuda.so.1"), "");
        scratch.file(&format!("{SECOND}/{ALLOCATOR}"), b"\x7fELF\x01");
        scratch.file("usr/lib64/libgbm.so.1", b"\x7fELF\x02").directory("usr/lib64/gbm");
        scratch.file("usr/lib/libgbm.so.1", b"\x7fELF\x01").directory("usr/lib/gbm");
        scratch
    }

    fn target(scratch: &Scratch, path: &str) -> String {
        let target = std::fs::read_link(scratch.path.join(path));
        target.unwrap_or_else(|error| panic!("{path}: {error}")).display().to_string()
    }

    fn run(scratch: &Scratch) {
        settle(&scratch.tree(), Life::Files).expect("files that can be written");
    }

    #[test]
    fn libraries_are_found_by_the_linker_and_by_loaders() {
        let scratch = shown();
        run(&scratch);
        let own = |name: &str| target(&scratch, &format!("{OWN}/{name}"));
        assert_eq!(own("0/libcuda.so.1"), "/mnt/.incusbox/nvidia/0/nvidia/current/libcuda.so.1");
        assert_eq!(
            own("0/libcuda.so.535"),
            "/mnt/.incusbox/nvidia/0/nvidia/current/libcuda.so.535"
        );
        assert_eq!(own("0/libvdpau_nvidia.so"), own("0/libvdpau_nvidia.so.1"));
        assert_eq!(own("1/libcuda.so.1"), "/mnt/.incusbox/nvidia/1/libcuda.so.1");
        for other in ["0/libc.so.6", "0/libnvidia-ml.so.1", "2"] {
            assert!(!scratch.has(&format!("{OWN}/{other}")), "{other}");
        }
        let linker = scratch.text(&LINKER[1..]);
        assert!(linker.ends_with(&format!("/{OWN}/0\n/{OWN}/1\n")), "{linker}");
        let vulkan = scratch.text("etc/vulkan/icd.d/incusbox_nvidia.json");
        let vulkan: serde_json::Value = serde_json::from_str(&vulkan).expect("JSON");
        assert_eq!(vulkan["ICD"]["library_path"], "libGLX_nvidia.so.0");
        assert!(!scratch.has("etc/glvnd"), "no library for it is shown");
        assert_eq!(
            target(&scratch, "usr/lib64/gbm/nvidia-drm_gbm.so"),
            format!("/{OWN}/0/{ALLOCATOR}")
        );
        assert_eq!(
            target(&scratch, "usr/lib/gbm/nvidia-drm_gbm.so"),
            format!("/{OWN}/1/{ALLOCATOR}")
        );
    }

    #[test]
    fn what_is_as_wanted_is_not_touched_and_links_of_ldconfigs_stay() {
        let scratch = shown();
        run(&scratch);
        scratch.link(&format!("{OWN}/0/libcuda.so.2"), "libcuda.so.535");
        let before = scratch.state();
        run(&scratch);
        assert_eq!(scratch.state(), before);
    }

    #[test]
    fn an_upgrade_on_the_host_gives_new_links_for_old_ones() {
        let scratch = shown();
        run(&scratch);
        let driver = scratch.path.join(FIRST).join("nvidia/current");
        std::fs::rename(driver.join("libcuda.so.535"), driver.join("libcuda.so.550"))
            .expect("a rename");
        std::fs::remove_file(driver.join("libcuda.so.1")).expect("a link");
        scratch.link(&format!("{FIRST}/nvidia/current/libcuda.so.1"), "libcuda.so.550");
        run(&scratch);
        assert!(scratch.has(&format!("{OWN}/0/libcuda.so.550")));
        assert!(!scratch.has(&format!("{OWN}/0/libcuda.so.535")));
    }

    #[test]
    fn all_of_it_goes_with_the_switch_or_with_what_is_shown() {
        for gone in ["etc/incusbox/on", "mnt/.incusbox/nvidia"] {
            let scratch = shown();
            scratch.file("etc/vulkan/icd.d/nvidia_icd.json", "a package's");
            run(&scratch);
            std::fs::remove_dir_all(scratch.path.join(gone)).expect("a directory");
            run(&scratch);
            for path in [
                &LINKER[1..],
                "etc/vulkan/icd.d/incusbox_nvidia.json",
                "usr/lib64/gbm/nvidia-drm_gbm.so",
                "usr/local/lib/incusbox/nvidia/0/libcuda.so.1",
            ] {
                assert!(!scratch.has(path), "{gone}: {path}");
            }
            assert_eq!(scratch.text("etc/vulkan/icd.d/nvidia_icd.json"), "a package's");
        }
    }

    #[test]
    fn a_box_without_nvidia_or_with_another_linker_gets_nothing() {
        let scratch = Scratch::new();
        scratch.file("etc/ld.so.conf", "").file("etc/incusbox/on/gpu", "");
        let before = scratch.state();
        run(&scratch);
        assert_eq!(scratch.state(), before);
        let musl = shown();
        std::fs::remove_file(musl.path.join("etc/ld.so.conf")).expect("a file");
        run(&musl);
        assert!(!musl.has(OWN) && !musl.has("etc/vulkan"));
    }
}
