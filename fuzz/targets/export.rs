//! What becomes of a box's entries, services of the bus and MIME types on the host, of any bytes: no panic; nothing but
//! `incusbox-run` is in a command; only keys that are known pass, as the lines that they were; and
//! of types only names and endings, which read again are the same.
#![no_main]

use std::collections::BTreeSet;

use incusbox::desktop::exec::Exec;
use incusbox::desktop::hosted::bus;
use incusbox::desktop::hosted::entry::{Subject, rewritten};
use incusbox::desktop::hosted::mime::{Definitions, Known};
use incusbox::desktop::keyfile::KeyFile;
use incusbox::names::{BoxName, DesktopId};
use libfuzzer_sys::fuzz_target;

const RUNNER: &str = "/usr/bin/incusbox-run";
/// Keys that are written by incusbox, or mended where a menu could not show them.
const OURS: [&[u8]; 17] = [
    b"DBusActivatable",
    b"Implements",
    b"Exec",
    b"Icon",
    b"MimeType",
    b"Actions",
    b"StartupWMClass",
    b"Name",
    b"GenericName",
    b"Comment",
    b"X-GNOME-FullName",
    b"X-GNOME-WMClass",
    b"X-Incusbox-Box",
    b"X-Incusbox-Id",
    b"X-Incusbox-Hash",
    b"Keywords",
    b"X-GNOME-Keywords",
];
/// Keys that are `true` or `false`.
const TRUTHS: [&[u8]; 8] = [
    b"NoDisplay",
    b"Terminal",
    b"StartupNotify",
    b"SingleMainWindow",
    b"PrefersNonDefaultGPU",
    b"X-GNOME-SingleWindow",
    b"X-GNOME-UsesNotifications",
    b"X-KDE-RunOnDiscreteGpu",
];
/// Keys that stay as the lines that they were.
const KEPT: [&[u8]; 8] = [
    b"Type",
    b"Version",
    b"Categories",
    b"OnlyShowIn",
    b"NotShowIn",
    b"X-KDE-Protocols",
    b"X-KDE-FormFactors",
    b"X-Purism-FormFactor",
];

fuzz_target!(|bytes: &[u8]| {
    let name = BoxName::new("dev").expect("a name");
    let id = DesktopId::new("org.test.desktop").expect("an id");
    // What the user says is in the first byte: a label, arguments, a project.
    let choice = bytes.first().copied().unwrap_or_default();
    let flags = ["--flag %f".to_owned(), "a;b $c".to_owned()];
    let subject = Subject {
        name: &name,
        project: (choice & 1 == 1).then_some("other"),
        id: &id,
        path: "/usr/share/applications/org.test.desktop",
        runner: RUNNER,
        has_windows: choice & 2 == 2,
        is_on_bus: choice & 16 == 16,
        shares_files: choice & 32 == 32,
        label: if choice & 4 == 4 { "dev" } else { "" },
        flags: if choice & 8 == 8 { &flags } else { &[] },
    };
    let on_host = |icon: &str| (icon.len() % 2 == 0).then(|| "incusbox.dev.icon".to_owned());
    if let Ok(own) = rewritten(bytes, &subject, &on_host) {
        is_sound(bytes, &own);
    }
    let service = bus::Subject {
        name: &name,
        project: subject.project,
        runner: RUNNER,
        flags: subject.flags,
    };
    if let Ok(own) = bus::rewritten(bytes, "org.test", &service) {
        let lines: Vec<&[u8]> = own.split(|b| *b == b'\n').collect();
        assert!(lines.len() == 5 && lines[2] == b"Name=org.test" && lines[4].is_empty());
        assert!(lines[3].starts_with(b"Exec=/usr/bin/incusbox-run --notify "));
        assert!(!lines[3].contains(&b'\\'));
    }
    types(bytes);
});

fn is_sound(bytes: &[u8], own: &[u8]) {
    let said: BTreeSet<&[u8]> = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).collect();
    let mut group = &b""[..];
    for line in own.split(|b| *b == b'\n') {
        let line = line.trim_ascii();
        match line.first() {
            None | Some(b'#') => continue,
            Some(b'[') => {
                group = line;
                let is_action = group.starts_with(b"[Desktop Action ");
                assert!(group == b"[Desktop Entry]" || is_action, "{group:?}");
                continue;
            }
            Some(_) => {}
        }
        let equals = line.iter().position(|b| *b == b'=').expect("a key and a value");
        let (whole, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
        let key = whole.split(|b| *b == b'[').next().expect("a key");
        if KEPT.contains(&key) {
            assert!(said.contains(line), "{:?}", String::from_utf8_lossy(line));
        } else if TRUTHS.contains(&key) {
            assert!(value == b"true" || value == b"false");
        } else {
            assert!(OURS.contains(&key), "{key:?}");
        }
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || b"-_.;".contains(b);
        match key {
            b"DBusActivatable" => assert_eq!(value, b"true"),
            b"Implements" => assert!(value.iter().all(is_word), "{value:?}"),
            _ => {}
        }
        if key == b"Exec" {
            assert_eq!(whole, b"Exec");
            let file = KeyFile::parse(own).expect("what was written");
            let name = &group[1..group.len() - 1];
            let exec = Exec::parse(&file.get(name, b"Exec").expect("a command")).expect("words");
            assert_eq!(exec.0[0].text().as_deref(), Some(RUNNER));
            let words: Vec<_> = exec.0.iter().map_while(|word| word.text()).collect();
            let end = words.iter().position(|word| word == "--").expect("an end of options");
            assert_eq!(words[end - 1], "dev");
        }
    }
}

fn types(bytes: &[u8]) {
    let any = |_: &str| true;
    let mut all = Definitions::default();
    all.read(bytes, &any);
    let wanted: BTreeSet<String> = all.names().map(str::to_owned).collect();
    let Some(own) = all.package(&wanted, &Known::default()) else { return };
    let mut again = Definitions::default();
    again.read(&own, &any);
    assert_eq!(again.package(&wanted, &Known::default()).as_ref(), Some(&own));
    let own = String::from_utf8(own).expect("UTF-8");
    for line in own.lines().map(str::trim).filter(|line| line.starts_with('<')) {
        let element = line[1..].split([' ', '>', '/']).find(|word| !word.is_empty());
        let known = [
            "?xml",
            "mime-info",
            "mime-type",
            "comment",
            "generic-icon",
            "sub-class-of",
            "alias",
            "glob",
        ];
        assert!(known.contains(&element.expect("an element")), "{line}");
    }
}
