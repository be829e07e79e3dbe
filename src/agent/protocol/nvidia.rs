//! NVIDIA's user space in a box. It has to be of the very version of the host's driver, so it is the
//! host's: the host shows the box the directories that it lies in, and the agent makes links to
//! those of their files that are NVIDIA's. Files, not directories, for these hold the host's C
//! library as well; and links in the box, not mounts, for the next version has other names.

/// In a box: below this the directories are shown, as `0`, `1` and so on.
pub const SHOWN: &str = "/mnt/.incusbox/nvidia";
/// In a box: below this are the links, in directories of the same names.
pub const LINKS: &str = "/usr/local/lib/incusbox/nvidia";
/// The most directories.
pub const MOST: usize = 4;

/// Where in a directory of libraries files of NVIDIA's may lie, the better one first: Debian has
/// nearly all of them in the first, and beside it links that lead through the host's
/// `/etc/alternatives`.
pub const PARTS: [&str; 4] = ["nvidia/current", "", "vdpau", "gbm"];

/// Names without an ending, beside those that begin with `libnvidia-`.
const STEMS: &[&str] = &[
    "libEGL_nvidia",
    "libGLESv1_CM_nvidia",
    "libGLESv2_nvidia",
    "libGLX_nvidia",
    "libcuda",
    "libcudadebugger",
    "libnvcuvid",
    "libnvoptix",
    "libvdpau_nvidia",
    "nvidia-drm_gbm",
];
/// What runs containers on the host and is of no use inside.
const FOR_THE_HOST: &[&str] = &["libnvidia-container", "libnvidia-container-go"];

/// Whether a file of this name is a part of NVIDIA's user space: a library, with or without a
/// version behind `.so`.
pub fn is_library(name: &str) -> bool {
    let Some((stem, version)) = name.split_once(".so") else { return false };
    let is_version = version.is_empty()
        || version.strip_prefix('.').is_some_and(|numbers| {
            numbers
                .split('.')
                .all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        });
    let is_plain = stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let is_theirs = STEMS.contains(&stem) || stem.starts_with("libnvidia-");
    is_version && is_plain && is_theirs && !FOR_THE_HOST.contains(&stem)
}

/// The files of NVIDIA's among `files`, which are paths in a directory of libraries; of two with one
/// name the better one first.
pub fn select<'a>(files: &[&'a str]) -> Vec<&'a str> {
    let of = |part: &'static str| {
        files.iter().copied().filter(move |path| {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            directory == part && is_library(name)
        })
    };
    PARTS.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line of a listing is a path; with `+ ` before those that are NVIDIA's. Debian's are of its
    /// package index, marked by the package that a file is of; the others follow the recipes of the
    /// distributions' packages.
    fn check(listing: &str) {
        let paths: Vec<&str> =
            listing.lines().map(|line| line.strip_prefix("+ ").unwrap_or(line)).collect();
        let mut expected: Vec<&str> =
            listing.lines().filter_map(|line| line.strip_prefix("+ ")).collect();
        let mut selected = select(&paths);
        expected.sort_unstable();
        selected.sort_unstable();
        assert_eq!(selected, expected);
        assert!(selected.len() > 15);
    }

    #[test]
    fn nvidias_files_and_no_others_are_taken_of_what_distributions_install() {
        check(include_str!("../../../tests/fixtures/nvidia/debian-12"));
        check(include_str!("../../../tests/fixtures/nvidia/debian-13"));
        check(include_str!("../../../tests/fixtures/nvidia/fedora-lib64"));
        check(include_str!("../../../tests/fixtures/nvidia/arch-lib"));
        check(include_str!("../../../tests/fixtures/nvidia/arch-lib32"));
    }

    #[test]
    fn the_drivers_own_directory_goes_before_links_to_it() {
        let files = ["libcuda.so.1", "nvidia/current/libcuda.so.1", "other/libcuda.so.1"];
        assert_eq!(select(&files), ["nvidia/current/libcuda.so.1", "libcuda.so.1"]);
    }

    #[test]
    fn a_name_that_only_looks_like_a_librarys_is_none() {
        for odd in [
            "libcuda.a",
            "libcuda.so.1~",
            "libcuda.so.",
            "libcuda.so.1.",
            "libcuda.so.535.183.01.debug",
            "libcuda.sox",
            "libnvidia- x.so.1",
            "libnvidia-\n.so.1",
            "libnvidia-../x.so",
            "libGLX.so.0",
            "libc.so.6",
            "",
        ] {
            assert!(!is_library(odd), "{odd:?}");
        }
        assert!(is_library("libcuda.so") && is_library("libnvidia-ml.so.535.183.01"));
    }
}
