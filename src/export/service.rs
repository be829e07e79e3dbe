//! The user unit on the host that stands for a service of a box.

use crate::agent::protocol::service::Service;
use crate::message::printable;
use crate::names::BoxName;

/// The unit for `service`.
pub fn text(runner: &str, name: &BoxName, project: Option<&str>, service: &Service) -> Vec<u8> {
    let Service { name: own, scope, description, can_reload, restarts } = service;
    let project = project.map(|project| format!("--project={project}"));
    let tail = |verb: &str| [name.as_str(), "--", "service", verb].map(str::to_owned);
    let line = |verb: &str| {
        let head = ["--root", "--cwd=/", "--no-stdin", "--agent"].map(str::to_owned);
        // Somebody may stop the box right after it was started for this.
        let stays = (verb != "start").then(|| "--no-start".to_owned());
        let tail = tail(verb);
        let all = [runner.to_owned()].into_iter().chain(head).chain(stays);
        let all = all.chain(project.clone()).chain(tail);
        let words = all.chain([scope.to_string(), own.to_string()]);
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    };
    // It stands behind a `=`, where a percent begins a specifier and a backslash joins lines.
    let description: String = printable(description).chars().take(200).collect();
    let description = description.replace('%', "%%").replace('\\', "/");
    let mut text = format!(
        "# Made by incusbox; what is changed here is set aside. To change it: systemctl --user edit\n\
         [Unit]\n\
         Description={description} (box {name})\n\
         Documentation=man:incusbox-export(1)\n\
         X-Incusbox-Box={name}\n\
         \n\
         [Service]\n\
         # The box's own systemd starts, stops and restarts it, as its unit there says.\n\
         Type=exec\n\
         ExecStartPre={}\n\
         ExecStart={}\n\
         # Who follows it may be told to end before it listens. Without $MAINPID it has ended by itself.\n\
         ExecStop=-{} $MAINPID\n",
        line("start"),
        line("follow"),
        line("stop"),
    );
    if *can_reload {
        text.push_str(&format!("ExecReload={}\n", line("reload")));
    }
    if *restarts {
        // Who follows it was killed. What the box's systemd ended stays so.
        text.push_str("Restart=on-abnormal\n");
    }
    text.push_str(
        "# The daemon was restarted, which ended who follows it and so the service.\nRestartForceExitStatus=75\nRestartSec=2\n\
         # The box was stopped.\nSuccessExitStatus=143\nKillMode=mixed\nTimeoutStartSec=10min\nTimeoutStopSec=5min\n\n[Install]\nWantedBy=default.target\n",
    );
    text.into_bytes()
}

/// A word for a line of systemd's (systemd.service(5), "Command lines").
fn quoted(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.,:=@+".contains(&b);
    let doubled = word.replace('%', "%%").replace('$', "$$");
    match word.bytes().all(is_plain) && !word.is_empty() {
        true => doubled,
        false => format!("\"{}\"", doubled.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::service::{Scope, ServiceName};

    #[test]
    fn a_service_cannot_add_a_line_or_a_specifier() {
        let service = Service {
            name: ServiceName::new("web").expect("a name"),
            scope: Scope::System,
            description: "a%h\nExecStart=evil \\".to_owned(),
            can_reload: true,
            restarts: false,
        };
        let name = BoxName::new("dev").expect("a name");
        let made = text("/opt/a b%/incusbox-run", &name, Some("work"), &service);
        let made = String::from_utf8(made).expect("text");
        assert!(made.contains("\nDescription=a%%h\u{fffd}ExecStart=evil / (box dev)\n"), "{made}");
        assert!(made.contains("\nExecStart=\"/opt/a b%%/incusbox-run\" --root --cwd=/ --no-stdin --agent --no-start --project=work dev -- service follow system web.service\n"), "{made}");
        assert!(made.contains("service reload system web.service\n") && !made.contains("Restart="));
        assert!(made.contains("\nRestartForceExitStatus=75\n"));
        assert!(made.contains("\nExecStop=-\"/opt/a b%%/incusbox-run\" --root --cwd=/ --no-stdin --agent --no-start --project=work dev -- service stop system web.service $MAINPID\n"), "{made}");
        assert_eq!(made.matches("\nExecStart=").count(), 1);
    }
}
