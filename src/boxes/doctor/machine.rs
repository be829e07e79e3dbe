//! Checks of the host itself.

use std::os::unix::fs::MetadataExt;

use super::{Patient, Seen};
use crate::boxes::host;
use crate::boxes::remedy::Remedy;
use crate::export::manifest;
use crate::run::agent_file::AgentFile;
use crate::watch;

pub fn ids(patient: &mut Patient) -> Option<Seen> {
    let user = patient.user.as_ref()?;
    let missing = host::missing_sub_ids(&patient.root, user);
    if missing.is_empty() {
        return Some(Seen::ok(format!("the ids of `{}` can be mapped into boxes", user.name)));
    }
    let lines: Vec<String> =
        missing.iter().map(|(file, line)| format!("{file} lacks `{line}`")).collect();
    let mut seen = Seen::warning(format!("{}: a shared home is less safe", lines.join(", ")));
    for (file, line) in &missing {
        seen = seen.mend(add_sub_id(file, line));
    }
    Some(seen)
}

/// shadow's own tool locks the files and keeps their form.
fn add_sub_id(file: &str, line: &str) -> Remedy {
    let id = line.split(':').nth(1).unwrap_or_default();
    let option = if file == "/etc/subuid" { "--add-subuids" } else { "--add-subgids" };
    Remedy::as_root(&["usermod", option, &format!("{id}-{id}"), "root"])
}

pub fn cgroups(patient: &mut Patient) -> Option<Seen> {
    let path = patient.root.join("sys/fs/cgroup/cgroup.controllers");
    Some(match std::fs::read_to_string(path) {
        Ok(text) if text.split_whitespace().any(|name| name == "memory") => {
            Seen::ok("cgroup2 with controllers: limits work")
        }
        Ok(_) => Seen::warning("cgroup2 offers no memory controller: limits do not work")
            .mend(kernel(patient, "have it", "cgroup_enable=memory")),
        Err(_) => Seen::warning(
            "the host does not use cgroup2 alone: limits of containers in boxes do not work",
        )
        .mend(kernel(patient, "use it", "systemd.unified_cgroup_hierarchy=1")),
    })
}

/// What only the next start of the kernel changes.
fn kernel(patient: &Patient, wanted: &str, words: &str) -> Remedy {
    Remedy::Advice(match patient.machine.is_container {
        true => {
            format!("this host is a container itself: the machine that runs it has to {wanted}")
        }
        false => format!("add to the kernel's command line, and start anew: {words}"),
    })
}

pub fn security_module(patient: &mut Patient) -> Option<Seen> {
    Some(match patient.machine.has_security_module {
        true => Seen::ok("the kernel has AppArmor or SELinux"),
        false => Seen::warning(
            "the kernel has neither AppArmor nor SELinux: boxes are confined by namespaces alone",
        )
        .mend(kernel(patient, "have one", "apparmor=1 security=apparmor")),
    })
}

pub fn fuse(patient: &mut Patient) -> Option<Seen> {
    Some(device(patient, "dev/fuse", "fuse", "AppImages and fuse-overlayfs do not work in boxes"))
}

pub fn tun(patient: &mut Patient) -> Option<Seen> {
    Some(device(patient, "dev/net/tun", "tun", "containers of users have no network in boxes"))
}

/// Boxes get the node with a mode for everybody, but not from an Incus that runs in a container:
/// there they see the node that the container has.
fn device(patient: &Patient, path: &str, module: &str, without: &str) -> Seen {
    let Ok(node) = std::fs::metadata(patient.root.join(path)) else {
        return Seen::warning(format!("/{path} is missing: {without}"))
            .mend(Remedy::as_root(&["modprobe", module]));
    };
    if patient.machine.is_container && node.mode() & 0o006 != 0o006 {
        let way = format!(
            "on the machine that runs this container, add /{path} to it with `mode=0666`, as in: incus config device add CONTAINER {module} unix-char source=/{path} path=/{path} mode=0666"
        );
        return Seen::warning(format!("/{path} is not for everybody: {without}"))
            .mend(Remedy::Advice(way));
    }
    Seen::ok(format!("/{path} is there"))
}

/// Each systemd, and each user's, holds a few; all boxes together share root's.
const INOTIFY_INSTANCES: u32 = 512;
/// Where a raised limit is kept.
pub const SYSCTL: &str = "/etc/sysctl.d/60-incusbox.conf";

pub fn inotify(patient: &mut Patient) -> Option<Seen> {
    let path = patient.root.join("proc/sys/fs/inotify/max_user_instances");
    let most: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    if most >= INOTIFY_INSTANCES {
        return Some(Seen::ok(format!("{most} inotify instances are enough for many boxes")));
    }
    let command = format!(
        "echo fs.inotify.max_user_instances=1024 >{SYSCTL} && sysctl --quiet --load={SYSCTL}"
    );
    let text = format!(
        "{most} inotify instances (fs.inotify.max_user_instances) are enough for a dozen boxes only"
    );
    Some(Seen::warning(text).mend(Remedy::as_root(&["sh", "-c", &command])))
}

pub fn agent(_: &mut Patient) -> Option<Seen> {
    Some(match AgentFile::find() {
        Ok(agent) => Seen::ok(format!("{} is at hand", agent.path().display())),
        Err(error) => Seen::failed(error.to_string().replace('\n', "; ")),
    })
}

/// Exported commands are put there.
pub fn path(patient: &mut Patient) -> Option<Seen> {
    let home = &patient.user.as_ref()?.home;
    let directory = std::path::Path::new(home).join(".local/bin");
    let all = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&all).any(|known| known == directory);
    let shown = directory.display();
    Some(match is_there {
        true => Seen::ok(format!("{shown} is on the PATH")),
        false => {
            Seen::warning(format!("{shown} is not on the PATH: exported commands are not found"))
                .mend(Remedy::Advice(format!("add to ~/.profile: PATH=\"{shown}:$PATH\"")))
        }
    })
}

/// What is exported stays true only as long as somebody follows the boxes.
pub fn exports(patient: &mut Patient) -> Option<Seen> {
    // Root has no launcher.
    patient.user.as_ref()?;
    let mend = || Remedy::Advice(format!("systemctl --user start {}", watch::UNIT));
    Some(match manifest::listing().map(|listing| listing.boxes) {
        Ok(boxes) if boxes.is_empty() => return None,
        Ok(boxes) => match watch::is_at_work() {
            Ok(true) => Seen::ok(format!("{} boxes are followed", boxes.len())),
            _ => Seen::warning("programs and commands of boxes are on the host, and nobody follows what becomes of them").mend(mend()),
        },
        Err(error) => Seen::failed(format!("the list of what is exported cannot be read: {error}"))
            .mend(Remedy::Advice("incusbox export --list".to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::boxes::doctor::Status;
    use crate::boxes::host::{HostUser, Machine};
    use crate::incus::Error;

    /// A host of files alone.
    struct Scratch {
        root: std::path::PathBuf,
        is_container: bool,
        has_security_module: bool,
    }

    impl Scratch {
        fn new(name: &str, files: &[(&str, &str)]) -> Scratch {
            let root = std::env::temp_dir().join(format!("incusbox-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
                std::fs::write(path, text).expect("a file");
            }
            std::fs::create_dir_all(&root).expect("a root");
            Scratch { root, is_container: false, has_security_module: true }
        }

        fn found(&self, check: fn(&mut Patient) -> Option<Seen>) -> (Status, String) {
            let user = HostUser {
                name: "dev".to_owned(),
                uid: 1000,
                group: "dev".to_owned(),
                gid: 1000,
                comment: String::new(),
                home: "/home/dev".to_owned(),
                shell: "/bin/sh".to_owned(),
                groups: Vec::new(),
            };
            let client = Err(Error::NoSocket { tried: Vec::new() });
            let Scratch { is_container, has_security_module, .. } = *self;
            let machine = Machine { has_security_module, is_container };
            let root = self.root.clone();
            let mut patient = Patient { root, machine, ..Patient::new(Some(user), client) };
            let seen = check(&mut patient).expect("a finding");
            let remedies: Vec<String> = seen.remedies.iter().map(ToString::to_string).collect();
            (seen.status, remedies.join("; "))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _left_in_tmp = std::fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn a_host_that_lacks_everything_is_told_what_mends_each() {
        let bare = Scratch::new("bare", &[("proc/sys/fs/inotify/max_user_instances", "128\n")]);
        let warned = |check, remedy: &str| {
            let (status, told) = bare.found(check);
            assert_eq!(status, Status::Warning);
            assert!(told.contains(remedy), "{told}");
        };
        warned(ids, "sudo usermod --add-subuids 1000-1000 root; sudo usermod --add-subgids");
        warned(cgroups, "systemd.unified_cgroup_hierarchy=1");
        warned(fuse, "sudo modprobe fuse");
        warned(tun, "sudo modprobe tun");
        warned(inotify, SYSCTL);
        warned(path, "add to ~/.profile");
    }

    #[test]
    fn a_host_that_has_everything_is_well() {
        let files = [
            ("etc/subuid", "root:1000:1\n"),
            ("etc/subgid", "root:1000:1\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
            ("dev/fuse", ""),
            ("dev/net/tun", ""),
            ("proc/sys/fs/inotify/max_user_instances", "1024\n"),
        ];
        let whole = Scratch::new("whole", &files);
        for check in [ids, cgroups, fuse, tun, inotify] {
            assert_eq!(whole.found(check), (Status::Ok, String::new()));
        }
        let limited = Scratch::new("limited", &[("sys/fs/cgroup/cgroup.controllers", "cpu\n")]);
        let (status, told) = limited.found(cgroups);
        assert!(status == Status::Warning && told.contains("cgroup_enable=memory"), "{told}");
    }

    #[test]
    fn what_the_kernel_lacks_is_told_with_who_can_give_it() {
        let mut host = Scratch::new("kernel", &[]);
        host.has_security_module = false;
        let (status, told) = host.found(security_module);
        assert!(status == Status::Warning && told.contains("security=apparmor"), "{told}");
        host.is_container = true;
        let told = host.found(security_module).1;
        assert!(told.contains("the machine that runs it has to have one"), "{told}");
    }

    /// A file stands for the node: it is its mode that is looked at.
    #[test]
    fn a_node_that_is_not_for_everybody_matters_in_a_container_alone() {
        let mut host = Scratch::new("node", &[("dev/fuse", "")]);
        let node = host.root.join("dev/fuse");
        let mut found = |is_container, mode| {
            std::fs::set_permissions(&node, std::fs::Permissions::from_mode(mode)).expect("a mode");
            host.is_container = is_container;
            host.found(fuse).0
        };
        assert_eq!(found(false, 0o600), Status::Ok);
        assert_eq!(found(true, 0o600), Status::Warning);
        assert_eq!(found(true, 0o666), Status::Ok);
    }
}
