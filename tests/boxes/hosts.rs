//! What changes a machine, on machines made for it: a host in a box, with a service manager,
//! sessions and an Incus of its own. Debian 12 has Incus 6.0, Debian 13 has 7.0.
//!
//! Each test is a life of one host, for they take their time to come up.

mod confined;

use crate::daemon;
use crate::host::{Host, script, user};

const IMAGE: &str = "cd /mnt/testbed-image && incus image import metadata.tar rootfs.tar.zst --alias testbed --quiet";

/// From Incus just installed to a box, and back.
fn a_newcomer(suite: &str) {
    let host = Host::new(suite, "newcomer");
    let who = user("IBX_NOBODY");
    let tables = "cat /etc/subuid /etc/subgid /etc/group | sort";
    let before = host.root(tables).succeeds().stdout;

    let told = host.sh(&who, "incusbox doctor");
    assert_eq!(told.status, Some(1), "{told:#?}");
    assert!(told.stdout.contains("FAILED   daemon"), "{told:#?}");
    host.sh(&who, "incusbox create dev").fails(1, &["incus-admin", "log out and in again"]);

    let dry = host.sh(&who, "incusbox setup --dry-run").succeeds().stdout;
    assert!(dry.contains(&format!("usermod --append --groups incus-admin {who}")), "{dry}");
    assert_eq!(host.root(tables).succeeds().stdout, before, "a dry run changes nothing");

    let told = host.sh(&who, "echo n | script -qec 'incusbox setup' /dev/null");
    assert_eq!(told.status, Some(1), "{told:#?}");
    for words in ["not done: sudo ", "nothing was changed", "go on: incusbox setup"] {
        assert!(told.stdout.contains(words), "{told:#?}");
    }
    assert_eq!(host.root(tables).succeeds().stdout, before, "it was not agreed to");

    let made = host.sh(&who, "incusbox setup --yes").succeeds();
    assert!(made.stdout.contains("make the storage pool"), "{made:#?}");
    assert!(made.stderr.contains("newgrp incus-admin"), "{made:#?}");
    let again = host.sh(&who, "incusbox setup --yes").succeeds();
    assert!(again.stderr.contains("everything is set up already"), "{again:#?}");
    assert_eq!(again.stdout, "");
    let told = host.sh(&who, "incusbox doctor").succeeds().stdout;
    assert!(!told.contains("FAILED"), "{told}");

    host.root(IMAGE).succeeds();
    host.sh(&who, "incusbox create dev --image testbed").succeeds();
    let script = "incusbox run dev -- sh -c 'id -un; id -u; sudo -n id -u; touch ~/from-box'; stat -c %U ~/from-box";
    let uid = host.root(&format!("id -u {who}")).succeeds().stdout;
    let told = host.sh(&who, script).succeeds().stdout;
    assert_eq!(told, format!("{who}\n{uid}0\n{who}\n"));
    let told = host.sh(&who, "incusbox doctor dev").succeeds().stdout;
    assert!(told.contains("`dev` runs") && !told.contains("FAILED"), "{told}");

    let nested = "incus profile unset incusbox-nested security.nesting; incus profile set incusbox-nested limits.processes=5000";
    host.root(nested).succeeds();
    let told = host.sh(&who, "incusbox doctor").succeeds().stdout;
    assert!(told.contains("security.nesting should be true"), "{told}");
    let made = host.sh(&who, "incusbox setup --yes").succeeds().stdout;
    assert!(made.starts_with("bring the profile `incusbox-nested` up to date"), "{made}");
    assert_eq!(made.lines().count(), 1, "{made}");
    let nested = "incus profile get incusbox-nested security.nesting; incus profile get incusbox-nested limits.processes";
    assert_eq!(host.root(nested).succeeds().stdout, "true\n5000\n");

    host.sh(&who, "incusbox rm --force dev").succeeds();
    host.sh(&who, "incusbox setup --undo").succeeds();
    let after = host.root(tables).succeeds().stdout;
    assert_eq!(after, before, "undone");

    // What root added for a user is that user's to take back.
    host.sh(&who, "sudo incusbox setup --yes").succeeds();
    assert_ne!(host.root(tables).succeeds().stdout, before);
    let undone = host.sh(&who, "incusbox setup --undo").succeeds();
    assert!(undone.stdout.contains("/etc/subuid"), "{undone:#?}");
    assert_eq!(host.root(tables).succeeds().stdout, before, "undone again");
    let told = host.sh(&who, "incusbox setup --undo; ls /var/lib/incusbox").succeeds();
    assert!(told.stdout.is_empty() && told.stderr.contains("has added nothing"), "{told:#?}");
}

#[test]
fn a_newcomer_comes_from_nothing_to_a_box_and_back_with_incus_6() {
    a_newcomer("bookworm");
}

#[test]
fn a_newcomer_comes_from_nothing_to_a_box_and_back_with_incus_7() {
    a_newcomer("trixie");
}

const LISTED: &str = "incusbox list --json | jq -r '.[] | .name + \" \" + .state'";

/// The box's unit, logout and login, a new daemon.
fn a_box_through_sessions(suite: &str) {
    let host = Host::ready(suite, "sessions");
    let who = user("IBX_USER");
    let state = || host.root(LISTED).succeeds().stdout;
    // Root may not map the user's ids yet, and files of a host in a box cannot be shifted.
    let refused = host.sh(&who, "incusbox create dev --image testbed");
    refused.fails(1, &["/etc/subuid lacks the line", "incusbox setup", "--home none"]);
    assert_eq!(state(), "");
    let allow = format!(
        "usermod --add-subuids $(id -u {who})-$(id -u {who}) --add-subgids $(id -g {who})-$(id -g {who}) root"
    );
    host.root(&allow).succeeds();
    host.sh(&who, "incusbox create dev --image testbed").succeeds();
    host.sh(&who, "systemctl --user enable --now incusbox-box@dev").succeeds();
    assert_eq!(state(), "dev running\n");
    host.sh(&who, "systemctl --user stop incusbox-box@dev").succeeds();
    assert_eq!(state(), "dev stopped\n");
    host.sh(&who, "systemctl --user start incusbox-box@dev").succeeds();
    assert_eq!(state(), "dev running\n");

    // A program that the box gets is on the host, seen to by a unit that started by itself.
    let appears = |program: &str| {
        let add = format!(
            "incusbox-run --root dev -- sh -c 'printf \"[Desktop Entry]\\nType=Application\\nName={program}\\nExec=true\\n\" >/usr/share/applications/{program}.desktop'"
        );
        host.sh(&who, &add).succeeds();
        let wait = format!(
            "timeout 60 sh -c 'until [ -e ~/.local/share/applications/{program}.desktop ]; do sleep 0.1; done' || {{ journalctl --user --unit incusbox-watch --no-pager >&2; false; }}"
        );
        host.sh(&who, &wait).succeeds();
    };
    host.sh(&who, "incusbox export dev --all-apps").succeeds();
    appears("first");

    script(&["--logout", &host.0, &who]).succeeds();
    assert_eq!(state(), "dev stopped\n", "a logout stops what the login started");
    script(&["--login", &host.0, &who]).succeeds();
    let started = "timeout 60 sh -c 'until systemctl --user is-active --quiet incusbox-box@dev; do sleep 0.2; done'";
    host.sh(&who, started).succeeds();
    assert_eq!(state(), "dev running\n");
    let works = "incusbox run dev -- sh -c 'id -un; echo $XDG_RUNTIME_DIR; systemctl --user is-system-running --wait; sudo -n id -u'";
    let uid = host.root(&format!("id -u {who}")).succeeds().stdout;
    let expected = format!("{who}\n/run/user/{uid}running\n0\n");
    assert_eq!(host.sh(&who, works).succeeds().stdout, expected);

    services(&host, &who);
    host.sh(&who, "incusbox export dev --all-apps").succeeds();
    appears("second");
    // Also what happens while there is no daemon. To stop its socket stops what shuts boxes down when
    // the machine goes, which is not meant here.
    host.root("mkdir -p /run/systemd/system/incus-startup.service.d; printf '[Service]\\nExecStop=\\n' >/run/systemd/system/incus-startup.service.d/boxes-stay.conf; systemctl daemon-reload").succeeds();
    let boot = || {
        let began = "incusbox-run dev -- sh -c 'cut -d\" \" -f22 /proc/1/stat'";
        host.sh(&who, began).succeeds().stdout
    };
    let before = boot();
    let late = "rm -f ~/late; incusbox-run --root --env HOME=$HOME dev -- setsid sh -c '(until [ -e ~/late ]; do sleep 0.1; done; cd /usr/share/applications; sed s/second/gap/ second.desktop >gap.desktop; rm ~/late) >/dev/null 2>&1 &'";
    host.sh(&who, late).succeeds();
    host.root("systemctl stop incus.service incus.socket").succeeds();
    host.sh(
        &who,
        "touch ~/late; timeout 30 sh -c 'while [ -e ~/late ]; do sleep 0.1; done' && sleep 1",
    )
    .succeeds();
    host.root("systemctl start incus.service").succeeds();
    host.sh(&who, "timeout 60 sh -c 'until [ -e ~/.local/share/applications/gap.desktop ]; do sleep 0.1; done' || { journalctl --user --unit incusbox-watch --no-pager >&2; ls -l ~/.local/share/applications >&2; incusbox-run --root dev -- sh -c 'ls -l /usr/share/applications; ps -ef' >&2; false; }").succeeds();
    assert_eq!(boot(), before, "the box outlived it");
    daemon::ends_runs(&host, &who, "systemctl restart incus.service");
    let kill = "systemctl kill --kill-whom=main --signal=KILL incus.service; systemctl start incus.service && incus admin waitready --timeout 60";
    daemon::ends_runs(&host, &who, kill);
    appears("third");
    assert_eq!(host.sh(&who, works).succeeds().stdout, expected, "after a restart of the daemon");
    host.sh(&who, "incusbox restart dev").succeeds();
    assert_eq!(host.sh(&who, works).succeeds().stdout, expected, "and of the box");
    appears("fourth");
    host.sh(&who, "incusbox doctor").succeeds();
    host.sh(&who, "incusbox unexport dev --all").succeeds();
    let ended = "timeout 60 sh -c 'while systemctl --user is-active --quiet incusbox-watch.service; do sleep 0.2; done'; systemctl --user is-active incusbox-watch.path; systemctl --user is-failed incusbox-watch.service";
    assert_eq!(host.sh(&who, ended).stdout, "active\ninactive\n", "nothing is left to follow");
    // Its networks are not up when the daemon answers again.
    host.sh(&who, "incusbox stop dev").succeeds();
    for _ in 0..2 {
        host.root("systemctl restart incus.service").succeeds();
        host.sh(&who, "incusbox restart dev").succeeds();
    }
    host.sh(&who, "incusbox stop dev").succeeds();
    host.root("systemctl restart incus.service").succeeds();
    host.sh(&who, "incusbox-run dev -- true").succeeds();
}

/// A web server in the box, and a unit of the user's there.
const SERVER: &str = r##"cat >/usr/local/bin/web <<'END'
#!/usr/bin/perl
use IO::Socket::INET;
$| = 1;
$SIG{HUP} = sub { print "reloaded
" };
$SIG{USR1} = sub { open my $file, ">", "/tmp/usr1" };
$SIG{INT} = sub { print "asked to stop
"; exit 0 };
my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die "$!";
print "listening as ", scalar getpwuid($<), "
";
while (1) { my $client = $server->accept or next; print $client "$ENV{GREETING}
"; close $client }
END
chmod +x /usr/local/bin/web
cat >/etc/systemd/system/web.service <<'END'
[Unit]
Description=A 100% web server
[Service]
ExecStart=/usr/local/bin/web
ExecReload=/bin/kill -HUP $MAINPID
Environment="GREETING=hello there"
User=daemon
KillSignal=SIGINT
Restart=on-failure
RestartSec=100ms
END
cat >/etc/systemd/user/mine.service <<'END'
[Service]
ExecStart=/bin/sh -c 'echo mine of $(id -un); exec sleep 1000'
END
cat >/etc/systemd/system/broken.service <<'END'
[Service]
ExecStart=/bin/sh -c 'echo cannot work; exit 3'
Type=oneshot
END
cat >/etc/systemd/system/sulky.service <<'END'
[Service]
ExecStart=/bin/sh -c 'trap "exit 143" TERM; while :; do sleep 0.1; done'
Restart=always
END
systemctl daemon-reload; systemctl --user --machine=1@.host daemon-reload 2>/dev/null; true"##;

/// Services of a box are services of the host's user.
fn services(host: &Host, who: &str) {
    let sh = |text: &str| host.sh(who, text);
    host.root(&format!("cat >/tmp/server <<'EOF'\n{SERVER}\nEOF\nchmod 644 /tmp/server"))
        .succeeds();
    sh("incusbox-run --root --cwd / dev -- sh -s </tmp/server").succeeds();
    sh("incusbox export dev --service no-such")
        .fails(2, &["no service `no-such`", "list-unit-files"]);
    sh("incusbox export dev --service web --service mine --service broken.service --service sulky")
        .succeeds();
    let log = |unit: &str, words: &str| {
        let wait = format!(
            "timeout 30 sh -c 'until journalctl --user --unit {unit} --output cat --no-pager | grep --quiet \"{words}\"; do sleep 0.1; done' || {{ journalctl --user --unit {unit} --no-pager >&2; false; }}"
        );
        sh(&wait).succeeds();
    };
    let greets = "incusbox-run dev -- bash -c 'for try in $(seq 100); do 2>/dev/null exec 3</dev/tcp/127.0.0.1/8080 && cat <&3 && exit; sleep 0.1; done'";
    let is_active = |unit: &str| sh(&format!("systemctl --user is-active {unit}")).stdout;
    sh("systemctl --user start web").succeeds();
    assert_eq!(sh(greets).succeeds().stdout, "hello there\n");
    log("web", "listening as daemon");
    sh("systemctl --user reload web").succeeds();
    log("web", "^reloaded");
    // What is killed on the host is gone in the box, and starts again as its unit has it there.
    let pid = "incusbox-run dev -- pgrep -x web";
    let before = sh(pid).succeeds().stdout;
    sh("systemctl --user kill --signal KILL web").succeeds();
    let anew = format!(
        "timeout 30 sh -c 'until now=$({pid}) && [ \"$now\" != {} ]; do sleep 0.2; done'",
        before.trim()
    );
    sh(&anew).succeeds();
    // What crashes in the box is started there.
    sh("incusbox-run --root dev -- pkill -KILL -x web").succeeds();
    assert_eq!(
        (sh(greets).succeeds().stdout, is_active("web")),
        ("hello there\n".into(), "active\n".into())
    );
    let is_over = || {
        sh("systemctl --user stop web").succeeds();
        assert_eq!((sh(pid).stdout, is_active("web")), (String::new(), "inactive\n".into()));
    };
    is_over();
    // Also at once, while who follows it is not yet there.
    sh("systemctl --user start web").succeeds();
    is_over();

    sh("systemctl --user start mine").succeeds();
    log("mine", &format!("mine of {who}"));
    // What somebody stops in the box is over, as the log of the user's manager says at once.
    sh("incusbox-run dev -- systemctl --user stop mine; timeout 10 sh -c 'while systemctl --user is-active --quiet mine; do sleep 0.1; done'").succeeds();
    assert_eq!(is_active("mine"), "inactive\n");
    log("mine", "Stopped mine");
    sh("systemctl --user start mine").succeeds();
    // What it says is told also when it comes late to the box's journal.
    let late = "(sleep 2; incusbox-run --root dev -- pkill -CONT -x systemd-journal) &
        incusbox-run --root dev -- pkill -STOP -x systemd-journal
        systemctl --user start broken; status=$?; wait; exit $status";
    assert_eq!(sh(late).status, Some(1));
    log("broken", "cannot work");

    // A stopped box starts for its service, and stays stopped when somebody stops it.
    sh("incusbox stop dev; systemctl --user start web").succeeds();
    assert_eq!(sh(greets).succeeds().stdout, "hello there\n");
    // Also if it says that it failed when it is stopped.
    sh("systemctl --user start sulky; systemctl --user enable mine").succeeds();
    sh("incusbox stop dev; sleep 6").succeeds();
    assert_eq!(host.root(LISTED).succeeds().stdout, "dev stopped\n");
    // Who follows it asks Incus until the box's state is another.
    let both_are_over = || {
        sh("timeout 30 sh -c 'while systemctl --user is-active --quiet web mine; do sleep 0.2; done'")
            .succeeds();
        let log = sh("journalctl --user --unit web --unit mine --no-pager --lines 30").stdout;
        assert_eq!(is_active("web mine"), "inactive\ninactive\n", "{log}");
    };
    both_are_over();
    // A box that takes long to go down runs on for Incus, and is not held up by who follows.
    // What holds it up looks for a file of the host's: Incus puts none into a box that goes down.
    let stays = "trap \"\" TERM HUP; until [ -e $HOME/released ]; do sleep 0.2; done";
    sh(&format!("systemctl --user start web mine; incusbox-run --root --env HOME=$HOME dev -- setsid --fork bash -c '{stays}' </dev/null >/dev/null 2>&1"))
        .succeeds();
    sh("incusbox stop dev >/dev/null 2>&1 &").succeeds();
    both_are_over();
    assert_eq!(host.root(LISTED).succeeds().stdout, "dev running\n", "it still goes down");
    sh("touch ~/released").succeeds();
    sh("timeout 60 sh -c 'until incusbox list --json | grep -q stopped; do sleep 0.2; done'")
        .succeeds();
    // What the daemon's restart ends comes back, and a signal is for the main process.
    sh("systemctl --user start web").succeeds();
    let before = sh(pid).succeeds().stdout;
    // Incus waits for commands for as many minutes.
    host.root("incus config set core.shutdown_timeout=0; systemctl restart incus.service")
        .succeeds();
    let anew = format!(
        "timeout 60 sh -c 'until now=$({pid} 2>/dev/null) && [ \"$now\" != {} ] && systemctl --user is-active --quiet web; do sleep 0.2; done' || {{ journalctl --user --unit web --no-pager --lines 30 >&2; false; }}",
        before.trim()
    );
    sh(&anew).succeeds();
    sh("timeout 30 sh -c 'until systemctl --user kill --signal USR1 web && incusbox-run dev -- test -e /tmp/usr1; do sleep 0.5; done'").succeeds();
    // A service that is seen late is not taken away.
    sh("systemctl --user start web; sleep 3; test -e ~/.local/share/systemd/user/mine.service; systemctl --user is-enabled mine").succeeds();
    sh("systemctl --user start web; incusbox unexport dev --all").succeeds();
    sh("timeout 30 sh -c 'while systemctl --user is-active --quiet web; do sleep 0.1; done'; ! systemctl --user cat web").succeeds();
    assert_eq!(sh(pid).stdout, "");
}

#[test]
fn a_box_starts_at_login_stops_at_logout_and_outlives_the_daemon_with_incus_6() {
    a_box_through_sessions("bookworm");
}

#[test]
fn a_box_starts_at_login_stops_at_logout_and_outlives_the_daemon_with_incus_7() {
    a_box_through_sessions("trixie");
}

/// What a host, its storage, its project or its daemon refuse: each told, and nothing is left.
#[test]
fn a_box_that_cannot_be_made_leaves_nothing_and_is_told() {
    let host = Host::ready("trixie", "faults");
    let who = user("IBX_USER");
    let allow = format!(
        "usermod --add-subuids $(id -u {who})-$(id -u {who}) --add-subgids $(id -g {who})-$(id -g {who}) root"
    );
    host.root(&allow).succeeds();
    let create = |options: &str| {
        host.sh(&who, &format!("incusbox create dev --image testbed --home none {options}"))
    };
    let nothing_is_left = || {
        let left = "incus list --format csv --columns n; incus storage volume list default --format csv | grep container; ! ls /srv/small/containers | grep .";
        assert_eq!(host.root(left).succeeds().stdout, "");
    };
    let refused = |options: &str, words: &[&str]| {
        create(options).fails(1, words);
        nothing_is_left();
    };

    // A backup of an isolated box brings it where no isolated box ever was. (The access lists of
    // the journal are more than an Incus in a box can restore.)
    host.sh(&who, "incusbox create dev --image testbed --isolated && incusbox-run --root dev -- rm -rf /var/log/journal && incusbox stop dev").succeeds();
    host.root("incus export dev /srv/dev.tar --compression none && incus delete dev && incus network delete incusbox-iso && chmod 644 /srv/dev.tar").succeeds();
    host.sh(&who, "incusbox create dev --image-file /srv/dev.tar").succeeds();
    let told = host
        .sh(&who, "incusbox info dev --json | jq -r '.options | .isolated.value + .network.value'");
    assert_eq!(told.stdout, "onisolated\n");
    host.root("incus delete -f dev && rm /srv/dev.tar").succeeds();

    host.root(
        "mkdir /srv/small && mount -t tmpfs -o size=60m tmpfs /srv/small && \
         incus storage create small dir source=/srv/small && \
         incus profile device set default root pool small",
    )
    .succeeds();
    refused("", &["run out of disk space", "incusbox doctor"]);
    let doctor = host.sh(&who, "incusbox doctor");
    assert!(doctor.stdout.contains("warning  space      0.1 GiB are left"), "{doctor:#?}");
    host.root("mount -o remount,size=600m /srv/small").succeeds();
    refused(
        "--pre-init-hook 'cat /dev/zero >/fill || true'",
        &["No space left", "incusbox doctor"],
    );
    host.root("incus profile device set default root pool default").succeeds();

    host.root("incus profile device set default root readonly true").succeeds();
    refused("", &["does not start, and was removed again", "Read-only file system"]);
    host.root("incus profile device unset default root readonly").succeeds();

    host.root("incus project set default limits.instances 0").succeeds();
    refused("", &["maximum number of instances"]);
    host.root("incus project unset default limits.instances").succeeds();
    host.root("incus project set default limits.memory 1GiB").succeeds();
    refused("", &["no \"limits.memory\" config", "--memory"]);
    refused("--memory 2GiB", &["maximum aggregate value \"1GiB\""]);
    host.root("incus project unset default limits.memory").succeeds();

    refused("--init-hook 'exit 3'", &["init hook `exit 3` ended with status 3"]);

    host.root("incus profile device remove default eth0").succeeds();
    let offline = create("--package no-such-package");
    offline.fails(1, &["`apt-get update` ended with status 100", "Temporary failure resolving"]);
    nothing_is_left();

    // The daemon goes while the box is set up, and comes again; what was half made goes with the
    // next `create`.
    let (interrupted, ()) = std::thread::scope(|scope| {
        let making = scope.spawn(|| create("--pre-init-hook 'sleep 5'"));
        let running =
            "timeout 30 sh -c 'until incus exec dev -- pgrep -x sleep; do sleep 0.1; done'";
        host.root(running).succeeds();
        host.root("systemctl kill --kill-whom=main --signal=KILL incus.service").succeeds();
        (making.join().expect("a create"), ())
    });
    assert_eq!(interrupted.status, Some(1), "{interrupted:#?}");
    host.root("systemctl start incus.service && incus admin waitready --timeout 60").succeeds();
    create("").succeeds();
    assert_eq!(host.root(LISTED).succeeds().stdout, "dev running\n");
}
