//! Processes, wherever they run: those of a box are in the host's /proc too, under other numbers.

use std::time::{Duration, Instant};

use super::scratch::unique;

/// A duration for sleep(1) that no other process sleeps for, so that it can be found.
#[derive(Debug)]
pub struct Marker(String);

impl Marker {
    /// A new one, of more than a quarter of an hour.
    pub fn new() -> Marker {
        Marker(format!("{}.{}", 1000 + unique(), std::process::id()))
    }

    /// The sleepers' process ids on the host.
    pub fn sleepers(&self) -> Vec<i32> {
        let wanted = format!("sleep\0{}\0", self.0).into_bytes();
        let entries = std::fs::read_dir("/proc").expect("/proc");
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == wanted)
        })
        .collect()
    }

    /// Waits until `count` sleep.
    pub fn wait_for(&self, count: usize) {
        wait_until(
            &format!("{count} processes `sleep {}`", self.0),
            Duration::from_secs(10),
            || self.sleepers().len() == count,
        );
    }

    /// Waits until none is left, for at most `patience`.
    pub fn wait_gone(&self, patience: Duration) {
        wait_until(&format!("the end of all `sleep {}`", self.0), patience, || {
            self.sleepers().is_empty()
        });
    }
}

impl std::fmt::Display for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The state letter of a process as ps(1) shows it; `None` when there is none of that number.
pub fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Looks again and again until `is_so`; panics after `patience`.
pub fn wait_until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < patience, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
