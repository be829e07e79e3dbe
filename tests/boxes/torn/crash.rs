//! A crash leaves old or new, and the next run goes on.

use super::ground::{Ground, Step};

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
        ground.recovers(step, &killed, &when);
        if at % 8 == 0 {
            ground.is_verified(&when);
        }
    }
    points.len()
}

#[test]
fn an_export_that_is_killed_anywhere_leaves_old_or_new_and_is_finished_by_the_next() {
    let ground = Ground::new("crash", None);
    let first = ground.step(ground.first());
    let mut points = vec![is_killed_everywhere(&ground, &first)];

    // An update in the box, and a file that the user changed.
    ground.restore(&first.new);
    ground.change();
    ground.update_box();
    let again = ground.step(ground.again());
    points.push(is_killed_everywhere(&ground, &again));

    ground.restore(&again.new);
    let away = ground.step(ground.away());
    points.push(is_killed_everywhere(&ground, &away));
    eprintln!("killed at {points:?} points");
    assert!(points.iter().all(|count| *count >= 8), "{points:?}");
}
