//! An isolated box, attacked from inside, beside a box that is not isolated: what the second one
//! reaches shows that there was something to reach.

use crate::desktop::Session;

/// Tries each target and names those that it reaches.
const ATTACK: &str = r#"
import os, socket, sys
from concurrent.futures import ThreadPoolExecutor
def reaches(target):
    kind, where = target.split(":", 1)
    try:
        if kind == "file":
            open(where).read(1)
        elif kind == "list":
            return bool(os.listdir(where))
        elif kind == "shout":
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            one.settimeout(1)
            address, _, port = where.partition(" ")
            one.sendto(b"anybody there?", (address, int(port)))
            return one.recv(100) == b"here"
        else:
            family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
            one = socket.socket(family, socket.SOCK_STREAM)
            one.settimeout(3)
            address, _, port = where.partition(" ")
            name = {"tcp": lambda: (address, int(port)), "unix": lambda: where,
                    "abstract": lambda: "\0" + where}[kind]()
            one.connect(name)
        return True
    except (OSError, ValueError):
        return False
targets = sys.argv[1:]
with ThreadPoolExecutor(max(1, len(targets))) as all:
    for target, is_reached in zip(targets, all.map(reaches, targets)):
        if is_reached:
            print(target)
"#;

/// What a program in the box could be after, one of each kind.
fn targets(session: &Session) -> Vec<String> {
    let uid = session.here("id -u").succeeds().stdout;
    let shown = format!("/mnt/.incusbox/{}/run", uid.trim());
    let address = |name: &str| {
        let text = format!(
            "incusbox list --json | jq -r '.[] | select(.name == \"{name}\") | .addresses[0]'"
        );
        session.here(&text).succeeds().stdout.trim().to_owned()
    };
    let home = session.here("echo secret >~/only-here; echo $HOME").succeeds().stdout;
    let mut targets = vec![
        format!("file:{}/only-here", home.trim()),
        format!("unix:{shown}/bus"),
        format!("unix:{shown}/wayland-7"),
        format!("unix:{shown}/pipewire-0"),
        format!("unix:{shown}/pulse/native"),
        format!("unix:{shown}/ssh-agent.socket"),
        "unix:/mnt/.incusbox/x11/X7".to_owned(),
        "unix:/tmp/.X11-unix/X7".to_owned(),
        "unix:/dev/incus/sock".to_owned(),
        format!("list:{shown}"),
        "list:/mnt/.incusbox/share/fonts".to_owned(),
        format!("tcp:{} 4001", address("dev")),
        format!("tcp:{} 4002", address("other")),
        // The host, by the addresses of either bridge and by one of its own.
        "tcp:10.77.0.1 4003".to_owned(),
    ];
    // And by what everybody on its bridge hears.
    targets.push("shout:255.255.255.255 4004".to_owned());
    let host = "ip -4 -o address | awk '$2 != \"lo\" && $2 != \"incusbr0\" { sub(\"/.*\", \"\", $4); print $4 }'";
    let host = session.here(host).succeeds().stdout;
    targets.extend(host.lines().map(|address| format!("tcp:{address} 4003")));
    targets
}

/// Runs the attack in a box, as the user and as root.
fn reached(session: &Session, name: &str, targets: &[String]) -> Vec<String> {
    let words: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
    let mut reached = Vec::new();
    for who in ["", "--root"] {
        let text =
            format!("incusbox-run {who} {name} -- python3 -c '{ATTACK}' {}", words.join(" "));
        reached.extend(session.here(&text).succeeds().stdout.lines().map(str::to_owned));
    }
    reached.sort();
    reached.dedup();
    reached
}

pub fn is_out_of_reach_of_everything(session: &Session) {
    session.here("incusbox create alone --image testbed --isolated").succeeds();
    session.here("incusbox create other --image testbed --isolated").succeeds();
    let listen = "systemd-run --user --quiet --unit=attacked python3 -m http.server";
    session.here(&format!("incusbox-run dev -- {listen} 4001")).succeeds();
    session.here(&format!("incusbox-run other -- {listen} 4002")).succeeds();
    session.here(&format!("{listen} 4003")).succeeds();
    let answers = r#"import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("0.0.0.0", 4004))
while True: one.sendto(b"here", one.recvfrom(100)[1])"#;
    let answers = format!("systemd-run --user --quiet --unit=answering python3 -c '{answers}'");
    session.here(&answers).succeeds();
    let targets = targets(session);
    let is_tcp_of_other = |target: &str| target.ends_with(" 4002");
    let by_dev = reached(session, "dev", &targets);
    let missed: Vec<&String> = targets
        .iter()
        .filter(|target| !by_dev.contains(target) && !is_tcp_of_other(target))
        .collect();
    assert!(missed.is_empty(), "there is nothing to attack: {missed:?}");
    let own = reached(session, "other", &["tcp:127.0.0.1 4002".to_owned()]);
    assert_eq!(own.len(), 1, "the other isolated box listens");

    assert_eq!(reached(session, "alone", &targets), Vec::<String>::new());
    // Nor by names that are in no file system, nor by what a command was given.
    let names = session.here("sed -n 's/.* @//p' /proc/net/unix | sort -u").succeeds().stdout;
    let names: Vec<String> = names.lines().map(|name| format!("abstract:{name}")).collect();
    assert_eq!(reached(session, "alone", &names), Vec::<String>::new());
    let variables =
        "env | grep -E 'DISPLAY|XAUTHORITY|SSH_AUTH|PULSE|PIPEWIRE|WAYLAND|/mnt/'; true";
    let told = session.here(&format!("incusbox-run alone -- sh -c \"{variables}\"")).succeeds();
    assert_eq!(told.stdout, "");
    // The displays' cookies, one of each user's, are not there for the asking: what the box is,
    // Incus knows.
    let cookies = "find /run/incusbox -name 'cookie-*' | wc -l";
    let asks = format!(
        "incusbox-run --root alone -- sh -c 'mkdir -p /etc/incusbox/on; touch /etc/incusbox/on/display'; incusbox-run --root alone -- sh -c \"{cookies}\"; incusbox-run --root dev -- sh -c \"{cookies}\"; incusbox-run --root alone -- rm /etc/incusbox/on/display"
    );
    assert_eq!(session.here(&asks).succeeds().stdout, "0\n2\n");
    // Its ids are nobody else's, and none is the user's.
    let ids = |name: &str| session.here(&format!("incusbox-run {name} -- cat /proc/self/uid_map"));
    let (alone, other) = (ids("alone").succeeds().stdout, ids("other").succeeds().stdout);
    assert_eq!((alone.lines().count(), other.lines().count()), (1, 1));
    assert_ne!(alone, other);
    assert_ne!(alone, ids("dev").succeeds().stdout);
    // Root cannot take a neighbour's address, either.
    let spoof = "ip address add 10.77.0.200/24 dev eth0; ip neighbour flush all; timeout 3 bash -c '</dev/tcp/10.77.0.1/4003' 2>/dev/null && echo reached; true";
    assert_eq!(
        session.here(&format!("incusbox-run --root alone -- sh -c \"{spoof}\"")).succeeds().stdout,
        ""
    );

    let refused = session.here("incusbox set alone display=on");
    refused.fails(2, &["was made isolated", "incusbox create --isolated --display"]);
    session.here("incusbox stop alone").succeeds();
    session.here("incusbox create copy --clone alone").succeeds();
    assert_eq!(reached(session, "copy", &targets), Vec::<String>::new(), "a copy is isolated, too");
    session
        .here("incusbox stop dev; incusbox create apart --clone dev --isolated --no-nesting")
        .succeeds();
    assert_eq!(reached(session, "apart", &targets), Vec::<String>::new(), "a copy made isolated");
    for name in ["alone", "other", "copy", "apart"] {
        session.here(&format!("incusbox rm --force {name}")).succeeds();
    }
    session.here("systemctl --user stop attacked answering; incusbox start dev").succeeds();
}
