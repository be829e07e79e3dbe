//! Package managers, with shell scripts in their place.

use std::process::{Command, Stdio};

use crate::agent::protocol::setup::SetupEvent;
use crate::agent::setup::fixture::Scratch;
use crate::agent::setup::managers::{Lock, MANAGERS, Manager};
use crate::agent::setup::packages;
use crate::agent::setup::report::Report;

/// One that has only the package `sh`, and writes what it is asked to do.
const SCRIPTED: Manager = Manager {
    name: "scripted",
    families: &["scripted"],
    program: "sh",
    has: &["/bin/sh", "-c", "test \"$0\" = sh && echo installed"],
    has_answer: Some("installed"),
    mend: &["/bin/sh", "-c", "echo mend"],
    first: Some(("/keys", &[&["/bin/sh", "-c", "echo first"]])),
    refresh: &["/bin/sh", "-c", "echo refresh $QUIET"],
    install: &["/bin/sh", "-c", "echo install \"$0\" \"$@\"; test \"$0\" != bad || exit 9"],
    upgrade: &["/bin/sh", "-c", "echo upgrade"],
    lock: Lock::Waits,
    fine: &[],
    environment: &[("QUIET", "silently")],
    words: "scripted install",
};

fn told(
    scratch: &Scratch,
    work: impl FnOnce(&Scratch, &mut Report<'_>) -> Result<(), String>,
) -> (Vec<String>, Result<(), String>) {
    let mut lines = Vec::new();
    let mut sink = |event: &SetupEvent| {
        if let SetupEvent::Output(line) = event {
            lines.push(line.clone());
        }
        true
    };
    let result = work(scratch, &mut Report::new(&mut sink));
    (lines, result)
}

fn install(
    scratch: &Scratch,
    manager: &Manager,
    names: &[&str],
) -> (Vec<String>, Result<(), String>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    told(scratch, |scratch, report| {
        packages::install(&scratch.tree(), manager, &names, report)
            .map_err(|failure| failure.to_string())
    })
}

#[test]
fn only_what_is_missing_is_installed_after_what_has_to_come_before() {
    let scratch = Scratch::new();
    let (lines, result) = install(&scratch, &SCRIPTED, &["a", "sh", "b"]);
    assert_eq!(result, Ok(()));
    assert_eq!(lines, ["mend", "first", "refresh silently", "install a b"]);
    scratch.file("keys", "");
    let (lines, _) = install(&scratch, &SCRIPTED, &["a"]);
    assert_eq!(lines, ["mend", "refresh silently", "install a"]);
    assert_eq!(install(&scratch, &SCRIPTED, &["sh"]), (Vec::new(), Ok(())));
}

#[test]
fn a_failure_names_the_command_its_status_and_its_last_lines() {
    let (_, result) = install(&Scratch::new(), &SCRIPTED, &["bad"]);
    let text = result.expect_err("a failure");
    assert!(text.contains(" bad` ended with status 9\ninstall bad"), "{text}");
    let missing = Manager { mend: &["/no/such/program"], ..SCRIPTED };
    let text = install(&Scratch::new(), &missing, &["a"]).1.expect_err("a failure");
    assert!(text.starts_with("`/no/such/program` could not be run: No such file"), "{text}");
    let fine = Manager { fine: &[9], ..SCRIPTED };
    assert_eq!(install(&Scratch::new(), &fine, &["bad"]).1, Ok(()));
}

#[test]
fn lists_that_cannot_be_fetched_are_the_cause_only_if_a_package_is_missing() {
    let offline = Manager {
        refresh: &["/bin/sh", "-c", "echo no network; exit 7", "--option=x"],
        ..SCRIPTED
    };
    assert_eq!(install(&Scratch::new(), &offline, &["a"]).1, Ok(()));
    let text = install(&Scratch::new(), &offline, &["bad"]).1.expect_err("a failure");
    assert!(text.ends_with("exit 7` ended with status 7\nno network"), "{text}");
    let (lines, upgraded) = told(&Scratch::new(), |scratch, report| {
        packages::upgrade(&scratch.tree(), &offline, report).map_err(|failure| failure.to_string())
    });
    assert!(upgraded.is_err() && !lines.contains(&"upgrade".to_owned()), "{lines:?}");
}

#[test]
fn everything_is_upgraded_after_the_same_preparation() {
    let (lines, result) = told(&Scratch::new(), |scratch, report| {
        packages::upgrade(&scratch.tree(), &SCRIPTED, report).map_err(|failure| failure.to_string())
    });
    assert_eq!((lines.join(" ").as_str(), result), ("mend first refresh silently upgrade", Ok(())));
}

#[test]
fn a_lock_that_another_holds_is_waited_for_and_told() {
    let scratch = Scratch::new();
    scratch.file("lock", "");
    let script = "import fcntl,sys,time; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX); \
                  print(flush=True); time.sleep(0.7)";
    let python = Command::new("python3")
        .args(["-c", script])
        .arg(scratch.path.join("lock"))
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else { return };
    let mut out = python.stdout.take().expect("a pipe");
    std::io::Read::read_exact(&mut out, &mut [0]).expect("a line");
    let manager = Manager { lock: Lock::Records(&["/none", "/lock"]), ..SCRIPTED };
    let (lines, result) = install(&scratch, &manager, &["a"]);
    assert_eq!(result, Ok(()));
    assert_eq!(lines[0], "waiting for another scripted (/lock)");
    assert_eq!(lines.last().map(String::as_str), Some("install a"));
    python.wait().expect("an end");
}

#[test]
fn what_is_typed_for_each_manager() {
    let typed: Vec<String> = MANAGERS
        .iter()
        .map(|manager| {
            let line = |argv: &[&str]| argv.join(" ");
            format!(
                "{} | {} | {}",
                line(manager.refresh),
                line(manager.install),
                line(manager.upgrade)
            )
        })
        .collect();
    let apt = "--option=Dpkg::Options::=--force-confdef --option=Dpkg::Options::=--force-confold \
               --option=Dpkg::Use-Pty=0 --option=DPkg::Lock::Timeout=120";
    assert_eq!(
        typed,
        [
            format!(
                "apt-get update --option=APT::Update::Error-Mode=any | apt-get install --yes {apt} | apt-get dist-upgrade --yes {apt}"
            )
            .as_str(),
            "apk --wait 120 update | apk --wait 120 add | apk --wait 120 upgrade",
            " | pacman --sync --refresh --sysupgrade --noconfirm --needed --noprogressbar \
             | pacman --sync --refresh --sysupgrade --noconfirm --noprogressbar",
            "zypper --non-interactive --gpg-auto-import-keys refresh \
             | zypper --non-interactive install --auto-agree-with-licenses \
             | zypper --non-interactive dist-upgrade --auto-agree-with-licenses",
            "zypper --non-interactive --gpg-auto-import-keys refresh \
             | zypper --non-interactive install --auto-agree-with-licenses \
             | zypper --non-interactive update --auto-agree-with-licenses",
            " | dnf install --assumeyes | dnf upgrade --assumeyes --refresh",
        ]
    );
}
