//! A crash leaves old or new, and the next run goes on.

use std::collections::BTreeSet;

use super::ground::{Ground, Memory, Step};

/// Kills the step at each call that changes a file. Between two of them nothing changes, so these are
/// all the states that a crash can leave.
fn is_killed_everywhere(ground: &Ground, step: &Step) -> usize {
    let points: Vec<_> = step.trace.points.iter().filter(|point| point.changes()).collect();
    for (at, point) in points.iter().enumerate() {
        ground.restore(&step.old);
        let when = format!("{} killed before {}", step.words[0], point.call);
        let killed = step.trace.run(&ground.command(&step.words), point, "signal=SIGKILL");
        assert_eq!(killed.status, None, "{when}: {killed:#?}");
        ground.is_whole(step, true, &when);
        let left = ground.files();
        ground.recovers(step, &killed, &when);
        if at % 8 == 0 {
            ground.is_verified(&when);
        }
        ground.restore(&left);
        ground.goes(&when);
    }
    is_flushed_in_order(step);
    points.len()
}

/// Asserts what counts when the whole machine stops: a file is on the disk before it takes its place,
/// and what happened in directories before the list says so, or says something new.
fn is_flushed_in_order(step: &Step) {
    let (mut flushed, mut dirty) = (BTreeSet::new(), BTreeSet::new());
    for point in step.trace.points.iter().filter(|point| point.is_done) {
        let paths: Vec<&str> = point.call.split(' ').skip(1).collect();
        match &*point.name {
            "fsync" => {
                dirty.remove(paths[0]);
                flushed.insert(paths[0].to_owned());
            }
            "mkdir" | "mkdirat" => {
                dirty.insert(paths[0].trim_end_matches('/').rsplit_once('/').expect("a parent").0);
            }
            "renameat2" | "unlinkat" => {
                let is_list = paths[0].ends_with("state/incusbox");
                assert!(!is_list || dirty.is_empty(), "{point:?} before {dirty:?} is flushed");
                if let Some(temporary) = paths.get(1).filter(|name| name.starts_with(".incusbox-"))
                {
                    let temporary = format!("{}/{temporary}", paths[0]);
                    let is_flushed = point.name == "unlinkat" || flushed.contains(&temporary);
                    assert!(is_flushed, "{temporary} takes its place before it is flushed");
                }
                dirty.insert(paths[0]);
            }
            "openat" | "write" | "utimensat" => {}
            other => panic!("{other} is a call that nothing is said of here"),
        }
    }
    assert!(dirty.is_empty(), "{dirty:?} is not flushed");
}

#[test]
fn an_export_that_is_killed_anywhere_leaves_old_or_new_and_is_finished_by_the_next() {
    let memory = Memory::new("crash");
    let ground = Ground::new("crash", memory.path());
    let points = ground.in_each_step(is_killed_everywhere);
    eprintln!("killed at {points:?} points");
    assert!(points.iter().all(|count| *count >= 8), "{points:?}");
}
