//! What machine an image is for, in Incus's names.
//!
//! Source: lxc/incus 6.0.4, `shared/osarch/architectures.go`; the OCI image specification,
//! "GOARCH and GOARM values"; elf(5).

/// Incus's name for an architecture and variant of a container image; one that is not in the list
/// is its own name.
pub fn of_oci(architecture: &str, variant: Option<&str>) -> String {
    match (architecture, variant) {
        ("amd64", _) => "x86_64",
        ("386", _) => "i686",
        ("arm64", _) => "aarch64",
        ("arm", Some("v5" | "v6")) => "armv6l",
        ("arm", _) => "armv7l",
        ("loong64", _) => "loongarch64",
        (other, _) => other,
    }
    .to_owned()
}

/// Incus's name for the machine that a program in ELF is for, from its first 20 bytes.
pub fn of_elf(head: &[u8]) -> Option<&'static str> {
    let is_64 = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', class, _] => *class == 2,
        _ => return None,
    };
    let is_little = head[5] == 1;
    let machine = <[u8; 2]>::try_from(head.get(18..20)?).ok()?;
    let machine = if is_little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    Some(match (machine, is_64, is_little) {
        (3, ..) => "i686",
        (62, true, _) => "x86_64",
        (40, ..) => "armv7l",
        (183, ..) => "aarch64",
        (20, ..) => "ppc",
        (21, _, true) => "ppc64le",
        (21, _, false) => "ppc64",
        (22, true, _) => "s390x",
        (243, true, _) => "riscv64",
        (243, false, _) => "riscv32",
        (258, ..) => "loongarch64",
        _ => return None,
    })
}

/// Whether a machine that runs `here` (Incus's own list) runs programs for `image`.
pub fn fits(image: &str, here: &[String]) -> bool {
    let is_arm = |name: &str| matches!(name, "armv6l" | "armv7l" | "armv8l");
    // Programs do not say for which of these they are.
    here.iter().any(|name| name == image || (is_arm(name) && is_arm(image)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_the_names_that_incus_gives_them() {
        assert_eq!(of_oci("amd64", None), "x86_64");
        assert_eq!(of_oci("arm", Some("v7")), "armv7l");
        assert_eq!(of_oci("arm", Some("v6")), "armv6l");
        assert_eq!(of_oci("riscv64", None), "riscv64");
        let own = std::fs::read("/proc/self/exe").expect("this very program");
        assert_eq!(
            of_elf(&own),
            Some(std::env::consts::ARCH).map(|name| if name == "x86" { "i686" } else { name })
        );
        assert_eq!(of_elf(b"#!/bin/sh\nexec something"), None);
        assert_eq!(of_elf(b"\x7fELF"), None);
    }

    #[test]
    fn an_image_fits_what_incus_says_it_runs() {
        let here = ["aarch64".to_owned(), "armv8l".to_owned()];
        assert!(fits("aarch64", &here) && fits("armv7l", &here) && !fits("x86_64", &here));
    }
}
