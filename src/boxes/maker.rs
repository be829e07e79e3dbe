//! Who makes a box, written so that others can tell whether that process still lives.
//!
//! A lock file cannot say it: each user has directories of their own, and the same user has others
//! at a login than in cron or below su(1). Everybody who may ask Incus sees the instance, so what
//! tells stands there: the machine, its boot, the namespace of the process id (pid_namespaces(7)),
//! the id and when the process began (proc_pid_stat(5)), since ids are given again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::sys::process::{Lifetime, lifetime};

/// A process that makes something in Incus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    /// What tells the machine from others; 0 where that is not known.
    machine: u32,
    /// What tells its boots apart.
    boot: u32,
    /// The namespace that the id is one of.
    namespace: u32,
    pid: u32,
    /// When it began, in the kernel's ticks.
    began: u64,
    /// What tells its tries apart.
    attempt: u32,
}

/// What is known of a maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is at work.
    Lives,
    /// It ended, and left what it had begun.
    Ended,
    /// It is, or was, on another machine or in a container.
    Elsewhere,
}

impl Maker {
    /// This process, for one try.
    pub fn this() -> Maker {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let attempt = now.map_or(0, |now| now.as_nanos() as u32);
        let pid = std::process::id();
        let began = match lifetime(pid as i32) {
            Lifetime::Since(ticks) => ticks,
            Lifetime::Over | Lifetime::Hidden => 0,
        };
        let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino() as u32);
        let boot = text("/proc/sys/kernel/random/boot_id".as_ref());
        Maker { machine: machine(), boot: short(&boot), namespace, pid, began, attempt }
    }

    /// Reads what [`Maker`]'s `Display` wrote.
    pub fn parse(text: &str) -> Option<Maker> {
        let parts: Vec<&str> = text.split('-').collect();
        let [machine, boot, namespace, pid, began, attempt] = parts[..] else { return None };
        let number = |text| u32::from_str_radix(text, 16).ok();
        Some(Maker {
            machine: number(machine)?,
            boot: number(boot)?,
            namespace: number(namespace)?,
            pid: number(pid)?,
            began: u64::from_str_radix(began, 16).ok()?,
            attempt: number(attempt)?,
        })
    }

    /// Whether it still lives.
    pub fn life(&self) -> Life {
        self.life_seen_by(&Maker::this(), lifetime)
    }

    fn life_seen_by(&self, here: &Maker, lifetime: impl Fn(i32) -> Lifetime) -> Life {
        if self.machine != here.machine || self.machine == 0 {
            return Life::Elsewhere;
        }
        if self.boot != here.boot {
            return Life::Ended;
        }
        if self.namespace != here.namespace {
            return Life::Elsewhere;
        }
        match lifetime(self.pid as i32) {
            Lifetime::Over => Life::Ended,
            Lifetime::Since(ticks) if self.began != 0 && ticks != self.began => Life::Ended,
            Lifetime::Since(_) | Lifetime::Hidden => Life::Lives,
        }
    }
}

impl std::fmt::Display for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Maker { machine, boot, namespace, pid, began, attempt } = self;
        write!(f, "{machine:x}-{boot:x}-{namespace:x}-{pid:x}-{began:x}-{attempt:x}")
    }
}

/// The machine's id, shortened: as it is, it is not for others (machine-id(5)).
fn machine() -> u32 {
    let id = text("/etc/machine-id".as_ref());
    if id.is_empty() { 0 } else { short(&format!("incusbox {id}")) }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn short(text: &str) -> u32 {
    Sha256::digest(text.as_bytes()).iter().take(4).fold(0, |all, byte| all << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maker_is_read_as_it_was_written() {
        let this = Maker::this();
        assert_eq!(Maker::parse(&this.to_string()), Some(this));
        for other in ["", "1234-18a", "1-2-3-4-5", "1-2-3-4-5-6-7", "1-2-3-4-5-x"] {
            assert_eq!(Maker::parse(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_lives_and_its_tries_differ() {
        let this = Maker::this();
        assert_ne!(this, Maker { attempt: this.attempt + 1, ..this });
        assert_eq!(this.life_seen_by(&Maker { machine: 7, ..this }, lifetime), Life::Elsewhere);
        let here = Maker { machine: 1, ..this };
        assert_eq!(here.life_seen_by(&here, lifetime), Life::Lives);
    }

    #[test]
    fn only_what_can_be_known_to_have_ended_has() {
        let here = Maker { machine: 1, boot: 2, namespace: 3, pid: 4, began: 5, attempt: 6 };
        let judged = |maker: Maker, lifetime| maker.life_seen_by(&here, |_| lifetime);
        assert_eq!(judged(here, Lifetime::Since(5)), Life::Lives);
        assert_eq!(judged(here, Lifetime::Hidden), Life::Lives);
        assert_eq!(judged(here, Lifetime::Over), Life::Ended);
        // Its id was given to another process.
        assert_eq!(judged(here, Lifetime::Since(9)), Life::Ended);
        assert_eq!(judged(Maker { boot: 9, ..here }, Lifetime::Since(5)), Life::Ended);
        assert_eq!(judged(Maker { namespace: 9, ..here }, Lifetime::Over), Life::Elsewhere);
        assert_eq!(judged(Maker { machine: 9, ..here }, Lifetime::Over), Life::Elsewhere);
        let nowhere = Maker { machine: 0, ..here };
        assert_eq!(nowhere.life_seen_by(&nowhere, |_| Lifetime::Over), Life::Elsewhere);
    }
}
