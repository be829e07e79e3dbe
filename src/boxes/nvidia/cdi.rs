//! What a CDI specification says of where NVIDIA's libraries are on the host: the Container Device
//! Interface, which NVIDIA's container toolkit writes files of. Read is only `hostPath` of mounts:
//! <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::is_library_directory;
use crate::agent::protocol::nvidia::is_library;

/// Where specifications are.
const PLACES: [&str; 2] = ["etc/cdi", "var/run/cdi"];
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// One for a machine with many cards has some 100 kB.
const MOST_BYTES: u64 = 1 << 20;
/// One for each kind of device, at most.
const MOST_FILES: usize = 32;

#[derive(Deserialize)]
struct Specification {
    kind: String,
    #[serde(default, rename = "containerEdits")]
    edits: Option<Edits>,
    #[serde(default)]
    devices: Option<Vec<Device>>,
}

#[derive(Deserialize)]
struct Device {
    #[serde(default, rename = "containerEdits")]
    edits: Option<Edits>,
}

#[derive(Deserialize)]
struct Edits {
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(rename = "hostPath")]
    host_path: String,
}

/// The directories that hold libraries of NVIDIA's by the specifications below `root`.
pub fn directories(root: &Path) -> Vec<PathBuf> {
    let list = |place| std::fs::read_dir(root.join(place)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        PLACES.into_iter().flat_map(list).map(|entry| entry.path()).collect();
    files
        .retain(|path| path.extension().is_some_and(|ending| ENDINGS.iter().any(|e| ending == *e)));
    files.sort();
    let texts = files.iter().take(MOST_FILES).filter_map(|path| read(path));
    texts.flat_map(|text| of(&text)).collect()
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The directories that one specification names, which may be of somebody else's devices, or
/// nothing. JSON is YAML, too.
fn of(text: &str) -> Vec<PathBuf> {
    let Ok(read) = serde_yaml_ng::from_str::<Specification>(text) else { return Vec::new() };
    if !read.kind.starts_with("nvidia.com/") {
        return Vec::new();
    }
    let of_devices = read.devices.into_iter().flatten().filter_map(|device| device.edits);
    let edits = read.edits.into_iter().chain(of_devices);
    let mounts = edits.filter_map(|edits| edits.mounts).flatten();
    let mut directories: Vec<PathBuf> =
        mounts.filter_map(|mount| directory(Path::new(&mount.host_path))).collect();
    directories.dedup();
    directories
}

fn directory(file: &Path) -> Option<PathBuf> {
    let is_one = is_library(file.file_name()?.to_str()?);
    file.parent().filter(|parent| is_one && is_library_directory(parent)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = include_str!("../../../tests/fixtures/nvidia/cdi.yaml");

    fn texts(found: &[PathBuf]) -> Vec<&str> {
        found.iter().filter_map(|path| path.to_str()).collect()
    }

    #[test]
    fn directories_of_libraries_are_taken_from_what_the_toolkit_writes() {
        let expected = [
            "/usr/lib/x86_64-linux-gnu/nvidia/current",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu/vdpau",
            "/opt/nvidia/lib64",
        ];
        assert_eq!(texts(&of(WRITTEN)), expected);
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(WRITTEN).expect("YAML");
        let json = serde_json::to_string(&value).expect("JSON");
        assert_eq!(texts(&of(&json)), expected);
    }

    #[test]
    fn paths_that_make_no_sense_are_left_out() {
        let with = |path: &str| {
            let mount = serde_json::json!({ "hostPath": path });
            let edits = serde_json::json!({ "mounts": [mount] });
            let all = serde_json::json!({ "kind": "nvidia.com/gpu", "containerEdits": edits });
            of(&all.to_string()).len()
        };
        assert_eq!(with("/usr/lib64/libcuda.so.1"), 1);
        for odd in [
            "",
            "/",
            "libcuda.so.1",
            "usr/lib/libcuda.so.1",
            "/usr/lib/../../etc/libcuda.so.1",
            "/usr/lib/\n/libcuda.so.1",
            "/home/dev/libcuda.so.1",
            "/libcuda.so.1",
            "/usr/lib64/libc.so.6",
            "/usr/lib64/",
        ] {
            assert_eq!(with(odd), 0, "{odd:?}");
        }
    }

    #[test]
    fn what_is_no_specification_or_another_vendors_says_nothing() {
        let theirs = WRITTEN.replace("kind: nvidia.com/gpu", "kind: amd.com/gpu");
        let nulls = "kind: nvidia.com/gpu\ncontainerEdits: null\ndevices: null\n";
        let empty = "kind: nvidia.com/gpu\ncontainerEdits: {mounts: null}\ndevices: [{}]\n";
        for text in [&theirs, nulls, empty, "", "- a", "{", "kind: 7", "\u{feff}", "&a [*a, *a]"] {
            assert!(of(text).is_empty(), "{text}");
        }
    }
}
