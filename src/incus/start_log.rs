//! Why an instance did not start: LXC's log of the try.

use super::client::{Client, PATIENCE};
use super::http;

/// What LXC complains of on its way without failing: programs for devices, which an Incus in a
/// container may not load.
const HARMLESS: &[&str] = &["bpf_program_load_kernel"];

impl Client {
    /// The first error in the log of an instance's last start, if there is one.
    pub fn start_log(&mut self, name: &str) -> Option<String> {
        let target = self.target(&format!("/1.0/instances/{name}/logs/lxc.log"), "");
        let doing = "reading the box's log";
        self.send(doing, &http::request("GET", &target, &[], b"")).ok()?;
        let answer = self.receive(doing, PATIENCE).ok()?;
        cause(&String::from_utf8_lossy(&answer.body))
    }
}

/// The first error is the cause; those behind it only pass it on. A line has name, time, level,
/// then `PART - FILE:FUNCTION:LINE - ERRNO - TEXT`, the third without an errno of its own.
fn cause(log: &str) -> Option<String> {
    let errors = log.lines().filter_map(|line| line.split_once(" ERROR "));
    let mut errors = errors.filter(|(_, text)| !HARMLESS.iter().any(|part| text.contains(part)));
    let text = errors.next()?.1;
    let told = text.splitn(3, " - ").nth(2).unwrap_or(text);
    Some(match told.split_once(" - ") {
        Some((errno, what)) => format!("{what}: {errno}"),
        None => told.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::cause;

    #[test]
    fn the_first_error_that_matters_is_the_cause() {
        let log = "\
lxc ro 20261122083244.677 ERROR    cgroup2_devices - ../src/lxc/cgroups/cgroup2_devices.c:bpf_program_load_kernel:332 - Operation not permitted - Failed to load bpf program: (null)
lxc ro 20261122083244.704 WARN     cgfsng - ../src/lxc/cgroups/cgfsng.c:fchowmodat:1619 - No such file or directory - Failed to fchownat(16)
lxc ro 20261122083244.706 ERROR    conf - ../src/lxc/conf.c:mount_autodev:1232 - Read-only file system - Failed to create \"/dev\" directory
lxc ro 20261122083244.707 ERROR    conf - ../src/lxc/conf.c:lxc_setup:4402 - Failed to mount \"/dev\"
";
        let told = cause(log).expect("a cause");
        assert_eq!(told, "Failed to create \"/dev\" directory: Read-only file system");
        let short = log.replace("Read-only file system - ", "");
        assert_eq!(cause(&short).as_deref(), Some("Failed to create \"/dev\" directory"));
        assert_eq!(cause("lxc a 1 ERROR odd"), Some("odd".to_owned()));
        assert_eq!(cause("lxc a 1 WARN conf - x - y\n"), None);
    }
}
