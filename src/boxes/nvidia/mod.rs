//! The user space of the host's NVIDIA driver in a box: which directories of the host hold it, as
//! Incus devices. The agent makes what programs find of it (`agent/setup/nvidia`).
//!
//! Whole directories, read-only: an upgrade of the driver replaces the files in them, and a file
//! that had been shown by itself would stay the old one.

mod cdi;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::nesting::Allowed;
use crate::agent::protocol::nvidia::{MOST, PARTS, SHOWN};
use crate::incus::objects::{Devices, FullInstance};

/// Where distributions have it, for 64 bits and then for 32.
const STANDARD: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/lib/i386-linux-gnu",
    "usr/lib32",
];
/// One of these is in each such directory.
const KNOWN_BY: [&str; 3] = ["libGLX_nvidia.so.0", "libcuda.so.1", "libEGL_nvidia.so.0"];

/// Whether NVIDIA's own driver runs on the host.
pub fn is_loaded(root: &Path) -> bool {
    ["proc/driver/nvidia/version", "sys/module/nvidia"].iter().any(|path| root.join(path).exists())
}

/// Its version, `535.183.01`, if it can be told.
pub fn version(root: &Path) -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let of_module = read("sys/module/nvidia/version");
    let of_driver = read("proc/driver/nvidia/version");
    let words = of_module
        .split_whitespace()
        .chain(of_driver.lines().next().unwrap_or_default().split_whitespace());
    let is_version = |word: &&str| {
        word.contains('.') && word.split('.').all(|n| !n.is_empty() && n.parse::<u32>().is_ok())
    };
    words.into_iter().find(is_version).map(str::to_owned)
}

/// The directories that hold it, on the host below `root`.
pub fn directories(root: &Path) -> Vec<PathBuf> {
    let real = |path: PathBuf| {
        let path =
            std::fs::canonicalize(root.join(path.strip_prefix("/").unwrap_or(&path))).ok()?;
        Some(Path::new("/").join(path.strip_prefix(std::fs::canonicalize(root).ok()?).ok()?))
    };
    // The file may be elsewhere, and only a link to it here.
    let of_file = |directory: &str| {
        let files = KNOWN_BY.iter().map(|name| Path::new(directory).join(name));
        files.filter_map(real).filter_map(|file| file.parent().map(Path::to_owned)).next()
    };
    let standard = STANDARD.iter().filter_map(|directory| {
        of_file(directory).map(|of_file| [real(directory.into()), Some(of_file)])
    });
    let named = cdi::directories(root).into_iter().map(real);
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in named.chain(standard.flatten()).flatten().map(whole) {
        if is_library_directory(&directory) && !found.contains(&directory) {
            found.push(directory);
        }
    }
    found.truncate(MOST);
    found
}

/// The directory of libraries that `directory` is a part of, or itself.
fn whole(directory: PathBuf) -> PathBuf {
    let parts = PARTS.iter().filter(|part| !part.is_empty());
    let above = parts.filter(|part| directory.ends_with(part)).find_map(|part| {
        let above = directory.ancestors().nth(part.split('/').count())?;
        is_library_directory(above).then(|| above.to_owned())
    });
    above.unwrap_or(directory)
}

/// Whether libraries may be expected there: a whole path with `lib` in it.
fn is_library_directory(path: &Path) -> bool {
    let is_plain = path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
    let is_lib = |part: &Component<'_>| {
        ["lib", "lib64", "lib32"].iter().any(|name| part.as_os_str() == *name)
    };
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    path.is_absolute() && is_plain && !goes_up && path.components().any(|part| is_lib(&part))
}

/// The devices that show a box what the host below `root` has of it. The confined may see nothing
/// of the host's but their homes.
pub fn look(root: &Path, allowed: Allowed) -> Devices {
    match allowed == Allowed::All && is_loaded(root) {
        true => devices(&directories(root)),
        false => Devices::new(),
    }
}

fn devices(directories: &[PathBuf]) -> Devices {
    let texts = directories.iter().filter_map(|directory| directory.to_str());
    let disk = |(at, source): (usize, &str)| {
        let path = format!("{SHOWN}/{at}");
        let keys = [
            ("type", "disk"),
            ("source", source),
            ("path", &path),
            ("readonly", "true"),
            // The box starts on a host without it, too.
            ("required", "false"),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
        (format!("nvidia-{at}"), BTreeMap::from(keys))
    };
    texts.enumerate().map(disk).collect()
}

/// Whether a box is shown something of it.
pub fn is_shown(instance: &FullInstance) -> bool {
    instance.devices.values().any(is_ours)
}

/// Puts `devices` in the place of those that an instance has of ours.
pub fn replace(instance: &mut FullInstance, devices: Devices) {
    instance.devices.retain(|_, device| !is_ours(device));
    for (name, device) in devices {
        instance.devices.entry(name).or_insert(device);
    }
}

/// Whether a device is one of these.
pub fn is_ours(device: &BTreeMap<String, String>) -> bool {
    device.get("path").is_some_and(|path| Path::new(path).starts_with(SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host's files, in a directory that goes at the end.
    struct Host(PathBuf);

    impl Host {
        fn new(name: &str, files: &[&str]) -> Host {
            let name = format!("incusbox-nvidia-{name}-{}", std::process::id());
            let host = Host(std::env::temp_dir().join(name));
            std::fs::create_dir_all(&host.0).expect("a directory");
            for file in files {
                let (path, content) = file.split_once('=').unwrap_or((file, ""));
                let path = host.0.join(path);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
                match content.strip_prefix('>') {
                    Some(target) => std::os::unix::fs::symlink(target, path).expect("a link"),
                    None => std::fs::write(path, content).expect("a file"),
                }
            }
            host
        }

        fn directories(&self) -> Vec<String> {
            let found = directories(&self.0);
            found.iter().map(|path| path.display().to_string()).collect()
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            let _left_in_tmp = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn each_distributions_directories_are_found() {
        let debian = Host::new(
            "debian",
            &[
                "usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.535",
                "usr/lib/x86_64-linux-gnu/libcuda.so.1=>nvidia/current/libcuda.so.535",
                "usr/lib/i386-linux-gnu/libGLX_nvidia.so.0",
                "usr/lib64/ld-linux-x86-64.so.2",
            ],
        );
        let both = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/i386-linux-gnu"];
        assert_eq!(debian.directories(), both);
        let fedora = Host::new("fedora", &["usr/lib64/libGLX_nvidia.so.0", "usr/lib/libcuda.so.1"]);
        assert_eq!(fedora.directories(), ["/usr/lib64", "/usr/lib"]);
        let arch = Host::new(
            "arch",
            &["usr/lib/libcuda.so.1", "usr/lib64=>lib", "usr/lib32/libEGL_nvidia.so.0"],
        );
        assert_eq!(arch.directories(), ["/usr/lib", "/usr/lib32"]);
        assert!(Host::new("none", &["usr/lib/libc.so.6"]).directories().is_empty());
    }

    #[test]
    fn a_specification_is_followed_and_its_parts_are_one() {
        let host = Host::new(
            "cdi",
            &[
                "etc/cdi/README=kind: nvidia.com/gpu",
                "etc/cdi/broken.json={",
                "usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.535.183.01",
                "usr/lib/x86_64-linux-gnu/vdpau/libvdpau_nvidia.so.1",
                "opt/nvidia/lib64/libnvidia-mig.so.1",
            ],
        );
        let written = include_str!("../../../tests/fixtures/nvidia/cdi.yaml");
        std::fs::write(host.0.join("etc/cdi/nvidia.yaml"), written).expect("a file");
        assert_eq!(host.directories(), ["/usr/lib/x86_64-linux-gnu", "/opt/nvidia/lib64"]);
    }

    #[test]
    fn the_version_is_told_by_the_module_or_the_driver() {
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release \
                    Build  (dvs-builder@U16)  Thu Feb 22\nGCC version:  gcc 12.2.0\n";
        let driver = Host::new("driver", &[&format!("proc/driver/nvidia/version={open}")]);
        assert_eq!(version(&driver.0).as_deref(), Some("550.54.14"));
        let module = Host::new("module", &["sys/module/nvidia/version=535.183.01\n"]);
        assert_eq!(version(&module.0).as_deref(), Some("535.183.01"));
        assert!(is_loaded(&driver.0) && is_loaded(&module.0));
        let other = Host::new("other", &["sys/module/nouveau/version=1.0"]);
        assert!(!is_loaded(&other.0) && version(&other.0).is_none());
        assert!(look(&other.0, Allowed::All).is_empty());
    }

    #[test]
    fn a_box_can_only_read_them_and_starts_without_them() {
        let host = Host::new("look", &["sys/module/nvidia/version=1.2", "usr/lib/libcuda.so.1"]);
        let shown = look(&host.0, Allowed::All);
        let device = &shown["nvidia-0"];
        assert_eq!((device["source"].as_str(), device["readonly"].as_str()), ("/usr/lib", "true"));
        assert_eq!(device["path"], "/mnt/.incusbox/nvidia/0");
        assert_eq!(device["required"], "false");
        assert!(look(&host.0, Allowed::Restricted).is_empty());
        let text = r#"{"name":"a","status":"Running","devices":{"nvidia-7":{
            "path":"/mnt/.incusbox/nvidia/7"},"nvidia-mine":{"path":"/srv"}}}"#;
        let mut there: FullInstance = serde_json::from_str(text).expect("an instance");
        replace(&mut there, shown);
        assert_eq!(there.devices.keys().collect::<Vec<_>>(), ["nvidia-0", "nvidia-mine"]);
        assert!(is_shown(&there));
        replace(&mut there, Devices::new());
        assert!(!is_shown(&there) && there.devices.len() == 1);
    }
}
