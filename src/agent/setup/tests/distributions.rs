//! What becomes of the files of each distribution.

use crate::agent::protocol::setup::{SetupEvent, SetupRequest};
use crate::agent::setup::fixture::{self, DISTRIBUTIONS, Scratch};

fn german() -> SetupRequest {
    SetupRequest {
        locale: vec![("LANG".to_owned(), "de_DE.UTF-8".to_owned())],
        time_zone: Some("Europe/Berlin".to_owned()),
        ..fixture::request()
    }
}

/// What is not as it was asked for, in one text.
pub fn warnings(events: &[SetupEvent]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        SetupEvent::Warning(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

pub fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"))
}

#[test]
fn each_gets_the_account_with_the_hosts_numbers_and_its_own_paths() {
    for (distribution, shell) in [
        ("debian-12", "/bin/bash"),
        ("debian-13", "/bin/bash"),
        ("ubuntu-24.04", "/bin/bash"),
        ("arch", "/bin/bash"),
        ("fedora-42", "/bin/bash"),
        ("opensuse-tumbleweed", "/bin/bash"),
        ("alpine-3.22", "/bin/ash"),
    ] {
        let scratch = Scratch::of(distribution);
        let (_, result) = scratch.set_up(&fixture::request());
        let result = result.unwrap_or_else(|text| panic!("{distribution}: {text}"));
        assert_eq!(result.shell, shell, "{distribution}");
        let passwd = scratch.text("etc/passwd");
        let wanted = format!("dev:x:1000:1000:Dev Eloper,,,:/home/dev:{shell}");
        assert_eq!(line(&passwd, "dev:"), wanted, "{distribution}");
        assert_eq!(line(&scratch.text("etc/group"), "dev:"), "dev:x:1000:", "{distribution}");
        assert_eq!(line(&scratch.text("etc/shadow"), "dev:"), "dev:!:::::::", "{distribution}");
        assert!(scratch.has("home/dev"), "{distribution}");
        let sudoers = scratch.text("etc/sudoers.d/incusbox-dev");
        assert!(sudoers.ends_with("\n#1000 ALL=(ALL:ALL) NOPASSWD: ALL\n"), "{sudoers}");
    }
}

#[test]
fn nothing_else_in_the_account_files_changes() {
    for distribution in DISTRIBUTIONS {
        let scratch = Scratch::of(distribution);
        let before: Vec<String> =
            ["passwd", "shadow"].iter().map(|file| scratch.text(&format!("etc/{file}"))).collect();
        scratch.set_up(&fixture::request()).1.expect("a set-up");
        for (file, before) in ["passwd", "shadow"].iter().zip(before) {
            let after = scratch.text(&format!("etc/{file}"));
            for line in before.lines().filter(|line| !line.starts_with("ubuntu:")) {
                assert!(after.lines().any(|other| other == line), "{distribution}: {line}");
            }
            assert_eq!(after.lines().count(), before.lines().count() + 1, "{distribution}");
        }
        assert_eq!(
            scratch.has("etc/gshadow"),
            !["opensuse-tumbleweed", "alpine-3.22"].contains(distribution)
        );
    }
}

#[test]
fn the_groups_are_those_of_devices_and_of_administrators_that_the_box_has() {
    for (distribution, groups) in [
        (
            "debian-12",
            "adm lp dialout cdrom sudo audio video plugdev systemd-journal input kvm render",
        ),
        ("arch", "scanner adm wheel audio input kvm lp optical render uucp video systemd-journal"),
        ("fedora-42", "adm lp wheel cdrom dialout kvm video audio input render systemd-journal"),
        ("opensuse-tumbleweed", "audio cdrom dialout input kvm lp render video systemd-journal"),
        ("alpine-3.22", "adm lp wheel audio cdrom dialout input video kvm"),
    ] {
        let scratch = Scratch::of(distribution);
        scratch.set_up(&fixture::request()).1.expect("a set-up");
        let text = scratch.text("etc/group");
        let member = |line: &&str| line.rsplit([':', ',']).any(|member| member == "dev");
        let names = text.lines().filter(|line| !line.starts_with("dev:")).filter(member);
        let names: Vec<&str> = names.map(|line| line.split(':').next().unwrap_or("")).collect();
        let mut wanted: Vec<&str> = groups.split(' ').collect();
        wanted.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, wanted, "{distribution}");
        if scratch.has("etc/gshadow") {
            assert!(
                scratch.text("etc/gshadow").contains(",dev\n")
                    || scratch.text("etc/gshadow").contains(":dev\n")
            );
        }
    }
}

#[test]
fn a_second_set_up_touches_nothing() {
    for distribution in DISTRIBUTIONS {
        let scratch = Scratch::of(distribution);
        let request = SetupRequest { nesting: true, ..german() };
        scratch.set_up(&request).1.expect("a set-up");
        let before = scratch.state();
        let (_, result) = scratch.set_up(&request);
        result.expect("a set-up");
        assert!(before == scratch.state(), "{distribution}");
    }
}

#[test]
fn the_manager_the_init_and_the_distribution_are_recognised() {
    for (distribution, id, manager, first, init) in [
        ("debian-12", "debian", "apt", "systemd", "systemd"),
        ("ubuntu-24.04", "ubuntu", "apt", "systemd", "systemd"),
        ("arch", "arch", "pacman", "init", "systemd"),
        ("fedora-42", "fedora", "dnf", "init", "systemd"),
        ("opensuse-tumbleweed", "opensuse-tumbleweed", "zypper", "systemd", "systemd"),
        ("alpine-3.22", "alpine", "apk", "init", "openrc"),
        ("alpine-3.22", "alpine", "apk", "sleep", "none"),
    ] {
        let scratch = Scratch::of(distribution);
        let result = scratch.set_up_under(first, &fixture::request()).1.expect("a set-up");
        assert_eq!((result.distribution.as_str(), result.init.as_str()), (id, init));
        assert_eq!(result.package_manager.as_deref(), Some(manager));
    }
}

#[test]
fn lingering_is_for_boxes_with_systemd() {
    let debian = Scratch::of("debian-12");
    debian.set_up(&fixture::request()).1.expect("a set-up");
    assert!(debian.has("var/lib/systemd/linger/dev"));
    let alpine = Scratch::of("alpine-3.22");
    alpine.set_up_under("init", &fixture::request()).1.expect("a set-up");
    assert!(!alpine.has("var/lib/systemd"));
}

#[test]
fn a_locale_that_cannot_be_had_becomes_the_plain_one_and_is_told() {
    for (distribution, package) in [
        ("debian-12", "apt-get install locales"),
        ("fedora-42", "dnf install glibc-langpack-de"),
        ("opensuse-tumbleweed", "zypper install glibc-locale"),
    ] {
        let scratch = Scratch::of(distribution);
        let (events, result) = scratch.set_up(&german());
        result.expect("a set-up");
        assert!(scratch.text("etc/locale.conf").contains("LANG=C.UTF-8\n"), "{distribution}");
        assert!(warnings(&events).contains(package), "{:?}", warnings(&events));
    }
    let debian = Scratch::of("debian-12");
    debian.directory("usr/lib/locale/de_DE.utf8");
    let (events, _) = debian.set_up(&german());
    assert_eq!(debian.text("etc/default/locale"), "LANG=de_DE.UTF-8\n");
    assert_eq!(warnings(&events), "");
}

#[test]
fn on_debian_13_both_files_of_the_locale_stay_one_and_alpine_speaks_all() {
    let scratch = Scratch::of("debian-13");
    scratch.directory("usr/lib/locale/de_DE.utf8");
    scratch.set_up(&german()).1.expect("a set-up");
    assert_eq!(scratch.text("etc/locale.conf"), "LANG=de_DE.UTF-8\n");
    let link = std::fs::read_link(scratch.path.join("etc/default/locale")).expect("a link");
    assert_eq!(link, std::path::Path::new("../locale.conf"));
    let alpine = Scratch::of("alpine-3.22");
    let (events, _) = alpine.set_up(&german());
    assert_eq!(alpine.text("etc/locale.conf"), "LANG=de_DE.UTF-8\n");
    assert!(!warnings(&events).contains("locale"));
}

#[test]
fn the_time_zone_is_a_link_where_the_box_knows_the_zone() {
    for distribution in DISTRIBUTIONS {
        let scratch = Scratch::of(distribution);
        let has_zone = scratch.has("usr/share/zoneinfo/Europe/Berlin");
        let (events, _) = scratch.set_up(&german());
        let link = std::fs::read_link(scratch.path.join("etc/localtime")).ok();
        let leads = link.is_some_and(|link| link.ends_with("usr/share/zoneinfo/Europe/Berlin"));
        assert_eq!(leads, has_zone, "{distribution}");
        assert_eq!(warnings(&events).contains("time zone"), !has_zone, "{distribution}");
        if distribution.starts_with("debian") {
            assert_eq!(scratch.text("etc/timezone"), "Europe/Berlin\n");
        }
    }
}

#[test]
fn doas_and_polkit_have_rules_where_they_have_a_place_for_them() {
    let alpine = Scratch::of("alpine-3.22");
    alpine.set_up(&fixture::request()).1.expect("a set-up");
    assert!(alpine.text("etc/doas.d/incusbox-dev.conf").contains("\npermit nopass 1000\n"));
    let fedora = Scratch::of("fedora-42");
    fedora.set_up(&fixture::request()).1.expect("a set-up");
    let rule = fedora.text("etc/polkit-1/rules.d/49-incusbox-dev.rules");
    assert!(rule.contains("subject.user == \"dev\""));
    assert!(!fedora.has("etc/doas.d"));
}

#[test]
fn a_shell_that_the_box_lacks_is_replaced_and_told_with_what_brings_it() {
    let mut request = fixture::request();
    request.user.as_mut().expect("a user").shell = "/run/current-system/sw/bin/zsh".to_owned();
    let (events, result) = Scratch::of("debian-12").set_up(&request);
    assert_eq!(result.expect("a set-up").shell, "/bin/bash");
    assert!(
        warnings(&events).contains("no `zsh`") && warnings(&events).contains("apt-get install zsh")
    );
    let (events, result) = Scratch::of("debian-13").set_up(&request);
    assert_eq!(result.expect("a set-up").shell, "/bin/zsh");
    assert_eq!(warnings(&events), "");
}

#[test]
fn nesting_gives_ranges_that_nobody_else_has() {
    let scratch = Scratch::of("ubuntu-24.04");
    scratch.set_up(&SetupRequest { nesting: true, ..fixture::request() }).1.expect("a set-up");
    for file in ["etc/subuid", "etc/subgid"] {
        assert_eq!(scratch.text(file), "ubuntu:100000:65536\ndev:165536:65536\n");
    }
}
