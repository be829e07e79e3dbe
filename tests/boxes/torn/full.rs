//! A disk that is full or breaks leaves old or new, it is said where and what to do, and a run with
//! room mends it.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use super::ground::{Ground, Memory, Step};
use crate::support::Outcome;

/// Asserts that it is said which file, why, and what to type next.
fn is_said(outcome: &Outcome, base: &str, why: &str, next: &str, when: &str) {
    assert!(!matches!(outcome.status, None | Some(0)), "{when}: {outcome:#?}");
    for text in [&*format!("`{base}"), why, next, "do the same again"] {
        assert!(outcome.stderr.contains(text), "{when}: no `{text}`: {outcome:#?}");
    }
    assert!(outcome.stderr.lines().all(|line| line.starts_with("incusbox")), "{outcome:#?}");
}

/// Has each call fail that may.
fn fails_everywhere(ground: &Ground, step: &Step) -> usize {
    let points: Vec<_> = step.trace.points.iter().filter(|point| point.may_fail()).collect();
    for (at, point) in points.iter().enumerate() {
        let (what, why, next) = match (point.flushes() || point.name == "unlinkat", at % 4) {
            (true, _) => ("error=EIO", "Input/output error", "journalctl"),
            (false, 3) => ("error=EDQUOT", "quota exceeded", "quota -s"),
            (false, _) => ("error=ENOSPC", "No space left on device", "df -h "),
        };
        ground.restore(&step.old);
        let when = format!("{} with {what} at {}", step.words[0], point.call);
        let failed = step.trace.run(&ground.command(&step.words), point, what);
        is_said(&failed, &ground.path(""), why, next, &when);
        ground.is_whole(step, false, &when);
        ground.recovers(step, &failed, &when);
        if at % 8 == 0 {
            ground.is_verified(&when);
        }
    }
    points.len()
}

#[test]
fn an_export_that_finds_no_room_anywhere_says_so_and_leaves_old_or_new() {
    let memory = Memory::new("full");
    let ground = Ground::new("full", memory.path());
    let points = ground.in_each_step(fails_everywhere);
    eprintln!("failed at {points:?} points");
    assert!(points.iter().all(|count| *count >= 8), "{points:?}");
}

/// A file system of 64 pages in a mount namespace of its own, which is seen from outside by the
/// process that has it.
struct Small(Child);

impl Small {
    const MOUNT: &str =
        "mount -t tmpfs -o size=256k,mode=755 torn /mnt && echo mounted && exec cat";

    fn new() -> Small {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", Small::MOUNT]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut small = Small(command.spawn().expect("unshare"));
        let mut said = [0; 8];
        let out = small.0.stdout.as_mut().expect("a pipe");
        out.read_exact(&mut said).expect("a user may make namespaces");
        small
    }

    fn path(&self) -> String {
        format!("/proc/{}/root/mnt", self.0.id())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ends_the_file_system = self.0.kill();
        let _so = self.0.wait();
    }
}

/// Leaves so many pages.
fn fill(path: &str, pages: u64) {
    let mut ballast = std::fs::File::create(path).expect("a file");
    while ballast.write_all(&[0; 4096]).is_ok() {}
    let length = ballast.metadata().expect("a length").len();
    ballast.set_len(length - pages * 4096).expect("a length");
}

#[test]
fn a_small_file_system_that_is_full_keeps_what_it_has() {
    let small = Small::new();
    let ground = Ground::new("small", small.path());
    let failures = ground.in_each_step(fails_while_full);
    assert!(failures.iter().all(|count| *count > 0), "{failures:?}");
}

/// Does the step with no page, with one, and so on until it has room. Returns how many were too few.
fn fails_while_full(ground: &Ground, step: &Step) -> u64 {
    let ballast = ground.path("ballast");
    for pages in 0.. {
        ground.restore(&step.old);
        fill(&ballast, pages);
        let when = format!("{} with {pages} pages", step.words[0]);
        let outcome = ground.run(&step.words);
        std::fs::remove_file(&ballast).expect("a file");
        if outcome.status == Some(0) {
            return pages;
        }
        is_said(&outcome, &ground.path(""), "No space left on device", "df -h ", &when);
        ground.is_whole(step, false, &when);
        ground.recovers(step, &outcome, &when);
    }
    unreachable!("the numbers have no end")
}
