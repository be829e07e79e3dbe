//! Who shares a file, in the name of its device: so whoever comes later can tell whether that
//! process is still there. Who shared it may have been killed, and the machine with it.
//!
//! A name is `incusbox-file.PLACE.BOOT.PID.START.NUMBER`: which user of which machine (and which of
//! its process id namespaces), since when it is up, the process and when that started (clock ticks,
//! proc_pid_stat(5)). Of another user's or another machine's processes nothing can be told.

use crate::sys::process;

/// How the names of all such devices begin.
const PREFIX: &str = "incusbox-file.";

/// A process that shares files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    place: u32,
    boot: u32,
    pid: i32,
    start: u64,
}

impl Owner {
    /// This machine's process `pid`; `None` if there is none.
    pub fn of(pid: i32) -> Option<Owner> {
        let read = |path| std::fs::read(path).unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let (uid, _) = process::own_ids();
        let place = [
            &read("/etc/machine-id")[..],
            namespace.as_os_str().as_encoded_bytes(),
            &uid.to_le_bytes(),
        ];
        let boot = read("/proc/sys/kernel/random/boot_id");
        let (place, boot) = (hash(&place) as u32, hash(&[&boot]) as u32);
        Some(Owner { place, boot, pid, start: start_of(pid)? })
    }

    /// The name of its device of this number.
    pub fn device(&self, number: usize) -> String {
        let Owner { place, boot, pid, start } = self;
        format!("{PREFIX}{place:08x}.{boot:08x}.{pid}.{start}.{number}")
    }

    /// A descriptor of its as a path, for whoever has the same process ids.
    pub fn descriptor(&self, number: i32) -> String {
        format!("/proc/{}/fd/{number}", self.pid)
    }

    /// Whose device this is, if it is a shared file.
    fn in_name(device: &str) -> Option<Owner> {
        let mut parts = device.strip_prefix(PREFIX)?.split('.');
        let owner = Owner {
            place: u32::from_str_radix(parts.next()?, 16).ok()?,
            boot: u32::from_str_radix(parts.next()?, 16).ok()?,
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
        };
        parts.next()?.parse::<usize>().ok()?;
        parts.next().is_none().then_some(owner)
    }

    /// Whether this owner has the device.
    pub fn has(&self, device: &str) -> bool {
        Owner::in_name(device) == Some(*self)
    }

    /// Whether the device is of a process of the same place that is gone; `start` says when one
    /// started that is there.
    fn outlives(&self, device: &str, start: impl Fn(i32) -> Option<u64>) -> bool {
        match Owner::in_name(device) {
            Some(owner) if owner.place == self.place => {
                owner.boot != self.boot || start(owner.pid) != Some(owner.start)
            }
            _ => false,
        }
    }
}

/// Whether the device is a file that a process of this user and machine shared which is gone.
pub fn is_left(device: &str) -> bool {
    device.starts_with(PREFIX)
        && Owner::of(std::process::id() as i32).is_some_and(|own| own.outlives(device, start_of))
}

/// Whether processes have the same ids for process `pid` as for this one: it has one id only, seen
/// from here (`NSpid`, proc_pid_status(5)).
pub fn has_our_ids(pid: i32) -> bool {
    let told = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = told.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().count() == 1)
}

/// What is called in the box after a device, in hexadecimal digits.
pub fn id(device: &str) -> String {
    format!("{:016x}", hash(&[device.as_bytes()]))
}

/// When a process started, in clock ticks since the machine did.
fn start_of(pid: i32) -> Option<u64> {
    let told = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name that may hold anything, in parentheses.
    let end = told.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&told[end + 1..]).ok()?;
    let (state, start) = (rest.split_whitespace().next()?, rest.split_whitespace().nth(19)?);
    // One that ended and was not waited for owns nothing any more.
    if matches!(state, "Z" | "X") { None } else { start.parse().ok() }
}

/// FNV-1a: the same in every build, for devices outlive the program.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter().chain(&[0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Owner = Owner { place: 1, boot: 2, pid: 30, start: 400 };

    #[test]
    fn only_what_is_surely_nobodys_is_left() {
        let is_left =
            |owner: Owner| OWN.outlives(&owner.device(7), |pid| (pid == 30).then_some(400));
        assert!(!is_left(OWN));
        assert!(is_left(Owner { start: 401, ..OWN }), "the number was given to another process");
        assert!(is_left(Owner { pid: 31, ..OWN }));
        assert!(is_left(Owner { boot: 3, ..OWN }));
        assert!(!is_left(Owner { place: 9, pid: 31, ..OWN }), "another user's or machine's");
        for other in ["eth0", "incusbox-file.1", "incusbox-file.1.2.31.400.x", "incusbox-file"] {
            assert!(!OWN.outlives(other, |_| None), "{other}");
        }
    }

    #[test]
    fn incus_takes_the_longest_name() {
        let most = Owner { place: u32::MAX, boot: u32::MAX, pid: 4_194_304, start: 99_999_999_999 };
        assert!(most.device(63).len() <= 63, "{}", most.device(63));
        assert!(most.has(&most.device(63)) && !most.has(&OWN.device(63)));
    }

    #[test]
    fn a_process_that_is_there_has_a_start() {
        let own = Owner::of(std::process::id() as i32).expect("this process");
        assert!(own.start > 0 && !is_left(&own.device(0)));
        assert_eq!(Owner::of(-1), None);
    }
}
