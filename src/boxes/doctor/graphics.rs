//! The check of what a box gets of the host's graphics processors.

use super::session::off;
use super::{Patient, Seen};
use crate::agent::protocol::desktop::Switch;
use crate::agent::protocol::nvidia::LINKS;
use crate::boxes::desktop::on;
use crate::boxes::gpu;
use crate::boxes::nvidia;
use crate::boxes::remedy::Remedy;
use crate::sys::signals::Signals;

/// Writes the render nodes, those that the user of the process may not use behind a word, and at the
/// end that it was asked.
const NODES: &str = "for node in /dev/dri/renderD*; do test -e $node || continue; \
                     test -r $node -a -w $node && echo $node || echo closed $node; done; echo asked";

pub fn gpu(patient: &mut Patient) -> Option<Seen> {
    let instance = patient.instance.as_ref()?;
    let (name, user) = (instance.name.clone(), patient.user.as_ref()?.name.clone());
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
    let driver = driver(patient);
    if !is_running {
        return Some(of_driver(&driver, None, &name).unwrap_or_else(well));
    }
    // Unlike Incus's exec, su(1) gives the user all of the user's groups.
    let nodes = lines(patient, &["su", "-s", "/bin/sh", "-c", NODES, &user])?;
    let links = lines(patient, &["ls", "-R", LINKS])?;
    let seen = of_nodes(&nodes, &name).or_else(|| of_driver(&driver, Some(&links), &name));
    Some(seen.unwrap_or_else(well))
}

fn well() -> Seen {
    Seen::ok("the box has the host's GPU")
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

/// What a command in the box writes.
fn lines(patient: &mut Patient, command: &[&str]) -> Option<Vec<String>> {
    let name = &patient.instance.as_ref()?.name;
    let client = patient.client.as_mut().ok()?;
    let mut signals = Signals::catch(&[]).ok()?;
    let mut lines = Vec::new();
    let mut line = |line: &[u8]| lines.push(String::from_utf8_lossy(line).trim().to_owned());
    client.run_helper(name, command, b"", None, &mut signals, &mut line).ok()?;
    Some(lines)
}

/// What is to be said of nodes that the box's user may not use.
fn of_nodes(lines: &[String], name: &str) -> Option<Seen> {
    if lines.last().is_none_or(|last| last != "asked") {
        return Some(Seen::warning("whether you may use the GPU could not be asked in the box"));
    }
    if lines.len() == 1 {
        let seen = Seen::warning("the box has the device of the GPU, and no node to draw by");
        return Some(seen.mend(set(name, "on")));
    }
    let closed = lines.iter().find_map(|line| line.strip_prefix("closed "))?;
    let seen = Seen::warning(format!("you may not use `{closed}` in the box"));
    Some(seen.mend(Remedy::Advice(format!("incusbox adopt {name}"))).mend(set(name, "on")))
}

/// NVIDIA's own driver on the host.
struct Driver {
    is_loaded: bool,
    version: Option<String>,
    has_libraries: bool,
    /// Whether boxes may be shown the libraries.
    may_be_shown: bool,
    is_shown: bool,
}

fn driver(patient: &Patient) -> Driver {
    let root = &patient.root;
    Driver {
        is_loaded: nvidia::is_loaded(root),
        version: nvidia::version(root),
        has_libraries: !nvidia::directories(root).is_empty(),
        may_be_shown: patient.client.as_ref().is_ok_and(|client| !client.daemon().restricted),
        is_shown: patient.instance.as_ref().is_some_and(nvidia::is_shown),
    }
}

/// What is to be said of its libraries in the box, where `links` are those that it has; `None` for
/// a box that does not run.
fn of_driver(driver: &Driver, links: Option<&[String]>, name: &str) -> Option<Seen> {
    if !driver.is_loaded {
        return None;
    }
    let version = driver.version.as_deref().unwrap_or_default();
    let called = format!("NVIDIA driver {version}");
    let called = called.trim_end();
    let advice = |text: String| Remedy::Advice(text);
    if !driver.may_be_shown {
        return Some(
            Seen::warning("boxes of confined users are not shown the libraries of NVIDIA's driver")
                .mend(advice(format!("install those of the {called} in the box"))),
        );
    }
    if !driver.has_libraries {
        let seen = Seen::warning(format!("the {called} runs here, and its libraries are missing"));
        let what = "install the driver's libraries (libGLX_nvidia.so.0, libcuda.so.1) on the host";
        return Some(seen.mend(advice(what.to_owned())).mend(set(name, "on")));
    }
    if !driver.is_shown {
        let seen = Seen::warning(format!("the box is not shown the libraries of the {called}"));
        return Some(seen.mend(set(name, "on")));
    }
    let ending = format!(".so.{version}");
    let is_one = |link: &String| link.ends_with(&ending) || version.is_empty();
    links.filter(|links| !links.iter().any(is_one)).map(|_| {
        Seen::warning(format!("the box has no libraries of the {called}"))
            .mend(set(name, "on"))
            .mend(advice(format!("incusbox restart {name}")))
    })
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
        let told = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            of_nodes(&lines, "dev").map(|seen| seen.text)
        };
        assert_eq!(told(&["/dev/dri/renderD128", "asked"]), None);
        let closed = told(&["/dev/dri/renderD128", "closed /dev/dri/renderD129", "asked"]);
        assert!(closed.is_some_and(|text| text.contains("`/dev/dri/renderD129`")));
        assert!(told(&["asked"]).is_some_and(|text| text.contains("no node")));
        assert!(told(&[]).is_some_and(|text| text.contains("could not be asked")));
    }

    #[test]
    fn libraries_of_another_version_than_the_driver_or_none_are_told() {
        let driver = |has_libraries, may_be_shown, is_shown| Driver {
            is_loaded: true,
            version: Some("535.183.01".to_owned()),
            has_libraries,
            may_be_shown,
            is_shown,
        };
        let links = |name: &str| [name.to_owned()];
        let told = |driver: &Driver, links: Option<&[String]>| {
            of_driver(driver, links, "dev").map(|seen| (seen.status, seen.text))
        };
        let well = driver(true, true, true);
        assert_eq!(told(&well, None), None);
        assert_eq!(told(&well, Some(&links("libcuda.so.535.183.01"))), None);
        for (driver, links, words) in [
            (&well, Some(&links("libcuda.so.550.78")[..]), "no libraries of the NVIDIA driver 535"),
            (&well, Some(&[][..]), "no libraries"),
            (&driver(true, true, false), None, "not shown the libraries"),
            (&driver(false, true, false), None, "its libraries are missing"),
            (&driver(true, false, false), None, "confined users"),
        ] {
            let (status, text) = told(driver, links).expect("a warning");
            assert!(status == Status::Warning && text.contains(words), "{text}");
        }
        assert_eq!(told(&Driver { is_loaded: false, ..driver(false, true, false) }, None), None);
    }
}
