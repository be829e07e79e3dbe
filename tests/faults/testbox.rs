//! Boxes of the real daemon that a test may break, and what `incus` says and does from outside.

use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, Seen};
use crate::script::Way;

/// A box of one test, deleted when dropped.
pub struct TestBox {
    pub name: String,
}

/// The running box that all tests may use and none may break.
pub fn shared() -> String {
    std::env::var("IBX_BOX").expect("IBX_BOX names a running box")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by whoever runs these tests"))
}

impl TestBox {
    /// A new running box.
    pub fn new() -> TestBox {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        // Several at once boot so slowly that the script loses patience.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let made = TestBox { name: format!("ft-{}-{number}", std::process::id()) };
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let script = variable("IBX_BOX_SCRIPT");
        let output = Command::new(script).arg(&made.name).stdin(Stdio::null()).output();
        drop(turn);
        let output = output.expect("the box script starts");
        assert!(output.status.success(), "making a box: {output:?}");
        made
    }

    /// `incus WHAT NAME MORE…`, which must succeed.
    pub fn incus(&self, what: &str, more: &[&str]) -> String {
        let output = incus(&[&[what, self.name.as_str()], more].concat());
        assert!(output.status.success(), "incus {what} {more:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a shell script of root's inside, without the agent; it must succeed. (`incus exec` loses
    /// what a short command says now and then.)
    pub fn inside(&self, script: &str) -> String {
        let output = Command::new(variable("IBX_BIN"))
            .args([
                "--mode",
                "native",
                "--root",
                "--no-start",
                &self.name,
                "--",
                "sh",
                "-ec",
                script,
            ])
            .stdin(Stdio::null())
            .output()
            .expect("incusbox-run starts");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `incusbox-run` for this box.
    pub fn client(&self, options: &[&str], command: &[&str]) -> Client {
        Client::new(&[options, &[self.name.as_str(), "--"], command].concat())
    }

    /// Runs a command on pipes.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Seen {
        self.client(options, command).run(Way::Pipes)
    }

    /// Paths of the agents in the box, leftovers of interrupted copies among them.
    pub fn agents(&self) -> Vec<String> {
        let places = "/usr/local/lib/incusbox /run/incusbox /dev/shm/incusbox";
        let found = self.inside(&format!("find {places} -name '*agent-*' 2>/dev/null || :"));
        found.lines().map(str::to_owned).collect()
    }

    /// No process of a test is left: neither the agent nor anything with `mark` in its arguments.
    pub fn assert_no_orphans(&self, mark: &str) {
        let own = "for p in /proc/[0-9]*; do [ ${p#/proc/} = $$ ] || tr '\\0' ' ' <$p/cmdline 2>/dev/null && echo; done";
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let all = self.inside(&format!("{own}; :"));
            let left: Vec<&str> = all
                .lines()
                .filter(|line| line.contains(mark) || line.contains("/agent-"))
                .collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left in the box: {left:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a process with `mark` in its arguments runs in the box.
    pub fn await_process(&self, mark: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let (head, tail) = mark.split_at(1);
        while self.inside(&format!("pgrep -f '[{head}]{tail}' || :")).trim().is_empty() {
            assert!(Instant::now() < deadline, "`{mark}` never ran");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for TestBox {
    fn drop(&mut self) {
        // A frozen one cannot be stopped, and a deleted one is gone already.
        let _not_frozen = incus(&["resume", &self.name]);
        for _ in 0..10 {
            let deleted = incus(&["delete", "--force", &self.name]);
            let said = String::from_utf8_lossy(&deleted.stderr).into_owned();
            if deleted.status.success() || said.contains("not found") {
                return;
            }
            // Incus is busy with a stop that happens inside.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Runs the `incus` client.
pub fn incus(arguments: &[&str]) -> Output {
    Command::new("incus").args(arguments).stdin(Stdio::null()).output().expect("incus is installed")
}
