//! The check of what a box gets of the host's graphics processors.

use super::session::off;
use super::{Patient, Seen};
use crate::agent::protocol::desktop::Switch;
use crate::boxes::desktop::on;
use crate::boxes::gpu;
use crate::boxes::remedy::Remedy;
use crate::sys::signals::Signals;

/// Writes the render nodes that the user of the process may not use.
const CLOSED: &str = "for node in /dev/dri/renderD*; do \
                      test ! -e $node || test -r $node -a -w $node || echo $node; done";

pub fn gpu(patient: &mut Patient) -> Option<Seen> {
    let instance = patient.instance.as_ref()?;
    let name = instance.name.clone();
    if !on(instance)?.contains(&Switch::Gpu) {
        return Some(off(&name, Switch::Gpu));
    }
    let has_device = instance.expanded_devices.contains_key(gpu::DEVICE);
    let is_running = instance.status == "Running";
    let has_cards = patient.client.as_mut().ok()?.cards().ok()?.iter().any(|card| card.has_node());
    let host = match (has_cards, patient.machine.is_container) {
        (false, _) => Host::Without,
        (true, false) => Host::Gives,
        (true, true) => Host::CannotGive,
    };
    if let Some(seen) = of_device(host, has_device, &name) {
        return Some(seen);
    }
    let closed = if is_running { closed(patient, &name)? } else { Vec::new() };
    Some(of_nodes(&closed, &name))
}

/// The host of a box.
#[derive(Clone, Copy)]
enum Host {
    Without,
    Gives,
    CannotGive,
}

fn set(name: &str, value: &str) -> Remedy {
    Remedy::Advice(format!("incusbox set {name} gpu={value}"))
}

/// What is to be said already because of host and device.
fn of_device(host: Host, has_device: bool, name: &str) -> Option<Seen> {
    match (host, has_device) {
        (Host::Gives, true) => None,
        (Host::Without, false) => Some(Seen::ok("no GPU here; drawing is done by the processor")),
        (Host::CannotGive, false) => Some(Seen::ok(
            "Incus runs in a container and cannot give its GPU on; drawing is done by the processor",
        )),
        (Host::Without | Host::CannotGive, true) => Some(
            Seen::failed("the box has the device of a GPU that is not there: it will not start")
                .mend(set(name, "off")),
        ),
        (Host::Gives, false) => Some(
            Seen::warning("the host has a GPU that the box does not have").mend(set(name, "on")),
        ),
    }
}

/// The nodes that the box's user may not use.
fn closed(patient: &mut Patient, name: &str) -> Option<Vec<String>> {
    let user = patient.user.as_ref()?.name.clone();
    let client = patient.client.as_mut().ok()?;
    let mut signals = Signals::catch(&[]).ok()?;
    let mut nodes = Vec::new();
    let mut line = |line: &[u8]| nodes.push(String::from_utf8_lossy(line).trim().to_owned());
    // Unlike Incus's exec, su(1) gives the user all of the user's groups.
    let command = ["su", "-s", "/bin/sh", "-c", CLOSED, &user];
    client.run_helper(name, &command, b"", &mut signals, &mut line).ok()?;
    Some(nodes)
}

fn of_nodes(closed: &[String], name: &str) -> Seen {
    match closed.first() {
        None => Seen::ok("the box has the host's GPU"),
        Some(node) => Seen::warning(format!("you may not use `{node}` in the box"))
            .mend(set(name, "on"))
            .mend(Remedy::Advice(format!("incusbox adopt {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::doctor::Status;

    #[test]
    fn a_gpu_is_missed_where_there_is_one_and_feared_where_there_is_none() {
        let seen = |host, has_device| of_device(host, has_device, "dev");
        let told = |host, has_device| {
            let seen = seen(host, has_device).expect("a word");
            (seen.status, seen.remedies.first().map(ToString::to_string))
        };
        let command = |text: &str| Some(text.to_owned());
        assert_eq!(told(Host::Without, false), (Status::Ok, None));
        assert_eq!(told(Host::CannotGive, false), (Status::Ok, None));
        assert_eq!(told(Host::Gives, false), (Status::Warning, command("incusbox set dev gpu=on")));
        let off = command("incusbox set dev gpu=off");
        assert_eq!(told(Host::Without, true), (Status::Failed, off));
        assert!(seen(Host::Gives, true).is_none());
    }

    #[test]
    fn a_node_that_is_closed_to_the_user_is_named() {
        assert_eq!(of_nodes(&[], "dev").status, Status::Ok);
        let seen = of_nodes(&["/dev/dri/renderD128".to_owned()], "dev");
        assert!(seen.text.contains("renderD128") && seen.status == Status::Warning);
    }
}
