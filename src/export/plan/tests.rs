use super::*;
use crate::desktop::hosted::mime::Known;
use crate::export::ground::TypeFiles;
use crate::export::manifest::{Record, Sharing, Shimmed};

const ENTRY: &str = "[Desktop Entry]\nType=Application\nName=Edit\nExec=edit %f\nIcon=edit\n";

fn png(side: u32) -> Vec<u8> {
    let header = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    [&header[..], &side.to_be_bytes(), &side.to_be_bytes(), b"\x08\x06\0\0\0rest"].concat()
}

fn pictured(path: &str, bytes: Option<Vec<u8>>) -> Pictured {
    Pictured { path: path.to_owned(), stamp: "1".to_owned(), bytes: bytes.map(Into::into) }
}

fn offers(id: &str, pictures: Vec<Pictured>) -> Offers {
    let app = App {
        id: DesktopId::new(id).expect("an id"),
        path: format!("/usr/share/applications/{id}"),
        name: "Edit".to_owned(),
        comment: String::new(),
        icon: "edit".to_owned(),
        shown: Shown::Yes,
        plain_name: "Edit".to_owned(),
        icons: vec!["edit".to_owned()],
        types: vec!["text/plain".to_owned(), "application/x-foo".to_owned()],
        class: String::new(),
        is_only_on_bus: false,
        bytes: ENTRY.as_bytes().to_vec(),
    };
    let mut offers = Offers::default();
    offers.apps.push(app);
    offers.pictures.insert("edit".to_owned(), pictures);
    offers
}

fn ground(ids: &[&str]) -> Ground {
    Ground {
        data: "/d".into(),
        runner: "/usr/bin/incusbox-run".to_owned(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        units: BTreeSet::new(),
        beside: BTreeSet::new(),
        second: BTreeSet::new(),
        type_files: TypeFiles::default(),
        buses: Some(BTreeSet::new()),
        types: Some(Known::default()),
        project: None,
    }
}

fn all() -> Exports {
    let mut exports = Exports::default();
    exports.chosen.all = Some(Look::default());
    exports
}

fn paths(plan: &Plan) -> Vec<&str> {
    plan.files.keys().map(|path| path.to_str().expect("text")).collect()
}

fn text(plan: &Plan, path: &str) -> String {
    match &plan.files[Path::new(path)].content {
        Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Content::Same => panic!("{path}"),
    }
}

fn dev() -> BoxName {
    BoxName::new("dev").expect("a name")
}

#[test]
fn pictures_go_where_their_sizes_are() {
    let svg = b"<svg/>".to_vec();
    let xpm = b"/* XPM */\n\"48 48 2 1\",".to_vec();
    let offers = offers(
        "org.edit.desktop",
        vec![
            pictured("/old.xpm", Some(xpm)),
            pictured("/47.png", Some(png(47))),
            pictured("/48.png", Some(png(48))),
            pictured("/b/48.png", Some([png(48), b"other".to_vec()].concat())),
            pictured("/1000.png", Some(png(1000))),
            pictured("/x.svg", Some(svg)),
            pictured("/no.png", Some(b"#!/bin/sh".to_vec())),
        ],
    );
    let plan = plan(&dev(), &all(), &offers, &ground(&[]));
    let expected = [
        "/d/applications/org.edit.desktop",
        "/d/icons/hicolor/48x48/apps/incusbox.dev.edit.png",
        "/d/icons/hicolor/512x512/apps/incusbox.dev.edit.png",
        "/d/icons/hicolor/scalable/apps/incusbox.dev.edit.svg",
    ];
    assert_eq!(paths(&plan), expected);
    assert_eq!(plan.files[Path::new(expected[1])].content, Content::Bytes(png(48).into()));
    assert!(text(&plan, expected[0]).contains("\nIcon=incusbox.dev.edit\n"));
}

#[test]
fn a_program_without_a_picture_has_an_icon_that_is_seen() {
    let plan = plan(&dev(), &all(), &offers("a.desktop", Vec::new()), &ground(&[]));
    assert_eq!(paths(&plan), ["/d/applications/a.desktop"]);
    assert!(text(&plan, "/d/applications/a.desktop").contains("\nIcon=application-x-executable\n"));
}

#[test]
fn a_type_that_the_host_lacks_is_the_programs_own_file() {
    let mut offers = offers("a.desktop", Vec::new());
    let mut exports = all();
    let first = plan(&dev(), &exports, &offers, &ground(&[]));
    let wanted = ["application/x-foo", "text/plain"].map(str::to_owned);
    assert!(first.types.iter().eq(&wanted), "{:?}", first.types);
    assert_eq!(paths(&first), ["/d/applications/a.desktop"]);

    exports.types = first.types;
    let package = "<mime-info><mime-type type='application/x-foo'><glob pattern='*.foo'/></mime-type></mime-info>";
    offers.packages.push(package.as_bytes().to_vec());
    let own = "/d/mime/packages/incusbox.dev.a.desktop.xml";
    let second = plan(&dev(), &exports, &offers, &ground(&[]));
    assert_eq!(paths(&second), ["/d/applications/a.desktop", own]);
    assert!(text(&second, own).contains("*.foo"));
    assert_eq!(second.files[Path::new(own)].users, ["app:a.desktop".to_owned()].into());

    let none = Ground { types: None, ..ground(&[]) };
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &none)), ["/d/applications/a.desktop"]);
}

#[test]
fn the_bus_starts_a_program_by_its_name_unless_that_is_taken() {
    let mut offers = offers("org.edit.App.desktop", Vec::new());
    let service = "[D-BUS Service]\nName=org.edit.App\nExec=/usr/bin/edit --service\n";
    offers.buses.insert("org.edit.App.desktop".to_owned(), service.into());
    let (entry, own) =
        ("/d/applications/org.edit.App.desktop", "/d/dbus-1/services/org.edit.App.service");
    let made = plan(&dev(), &all(), &offers, &ground(&[]));
    assert_eq!(paths(&made), [entry, own]);
    assert!(
        text(&made, own)
            .ends_with("Exec=/usr/bin/incusbox-run --notify dev -- /usr/bin/edit --service\n")
    );
    assert!(!text(&made, entry).contains("DBusActivatable"), "its command looks at what it opens");

    let taken = Ground { buses: Some(["org.edit.App".to_owned()].into()), ..ground(&[]) };
    let alone = Ground { buses: None, ..ground(&[]) };
    for ground in [&taken, &alone] {
        assert_eq!(paths(&plan(&dev(), &all(), &offers, ground)), [entry]);
    }
    let renamed = plan(&dev(), &all(), &offers, &ground(&["org.edit.App.desktop"]));
    assert_eq!(paths(&renamed), ["/d/applications/incusbox.dev.org.edit.App.desktop"]);

    // Without a command of its own it needs the bus.
    offers.apps[0].bytes = ENTRY.replace("Exec=edit %f", "DBusActivatable=true").into();
    offers.apps[0].is_only_on_bus = true;
    let made = plan(&dev(), &all(), &offers, &ground(&[]));
    assert!(text(&made, entry).contains("DBusActivatable=true\n"), "{}", text(&made, entry));
    let refused = plan(&dev(), &all(), &offers, &taken).refused;
    assert!(refused[0].1.contains("something else by its name"), "{refused:?}");
}

#[test]
fn what_the_host_has_too_is_told_apart() {
    let offers = offers("a.desktop", Vec::new());
    let own = "/d/applications/incusbox.dev.a.desktop";
    let first = plan(&dev(), &all(), &offers, &ground(&["a.desktop"]));
    assert_eq!(paths(&first), [own]);
    assert!(text(&first, own).contains("\nName=Edit (dev)\n"));
    assert!(!text(&first, own).contains("StartupWMClass"), "windows of that class are the host's");

    // What it is called once it stays, for it may be pinned.
    let mut exports = all();
    let record = Record { users: ["app:a.desktop".to_owned()].into(), ..Record::default() };
    exports.files.insert(own.into(), record);
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &ground(&[]))), [own]);

    let both = plan(&dev(), &all(), &offers, &ground(&["a.desktop", "incusbox.dev.a.desktop"]));
    assert_eq!(paths(&both), [""; 0]);
    assert!(both.refused[0].1.contains("the host has entries"), "{both:?}");
}

#[test]
fn what_was_chosen_counts_before_all_and_what_was_excepted_never() {
    let offers = offers("a.desktop", Vec::new());
    let mut exports = all();
    exports.chosen.except.insert("a.desktop".to_owned());
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &ground(&[]))), [""; 0]);
    let label = Look {
        label: Some("work".to_owned()),
        flags: vec!["-x".to_owned()],
        files: Sharing::PerRun,
    };
    exports.chosen.apps.insert("a.desktop".to_owned(), label);
    exports.chosen.apps.insert("b.desktop".to_owned(), Look::default());
    let made = plan(&dev(), &exports, &offers, &ground(&[]));
    let entry = text(&made, "/d/applications/a.desktop");
    assert!(
        entry.contains("Name=Edit (work)\n")
            && entry.contains(" --opened=@@ --share-files dev -- edit -x @@ %f @@\n"),
        "{entry}"
    );
    assert_eq!(made.missing, ["b.desktop"]);
}

#[test]
fn patterns_say_which_of_all_are_meant_by_id_or_name() {
    let offers = offers("a.desktop", Vec::new());
    let meant = |only: &str, except: &str| {
        let mut exports = all();
        exports.chosen.only = only.split_whitespace().map(str::to_owned).collect();
        exports.chosen.except = except.split_whitespace().map(str::to_owned).collect();
        !plan(&dev(), &exports, &offers, &ground(&[])).files.is_empty()
    };
    assert!(meant("", "") && meant("a", "b") && meant("x ed?t", "") && meant("A.desk*", ""));
    assert!(!meant("b", "") && !meant("", "E*") && !meant("a*", "*.desktop"));
}

#[test]
fn a_picture_that_is_the_same_keeps_its_place() {
    let path = "/d/icons/hicolor/48x48/apps/incusbox.dev.edit.png";
    let mut exports = all();
    let source = Source { icon: "edit".into(), path: "/48.png".into(), stamp: "1".into() };
    exports.files.insert(path.into(), Record { source: Some(source), ..Record::default() });
    let offers = offers("a.desktop", vec![pictured("/48.png", None)]);
    let made = plan(&dev(), &exports, &offers, &ground(&[]));
    assert_eq!(made.files[Path::new(path)].content, Content::Same);
    assert!(!made.is_short);
    // Under another name of the box it has to be sent.
    let web = BoxName::new("web").expect("a name");
    assert!(plan(&web, &exports, &offers, &ground(&[])).is_short);
}

#[test]
fn the_names_of_icons_are_those_of_files() {
    let of = |icon: &str| icon_name(&dev(), None, icon);
    assert_eq!(of("org.edit.png"), "incusbox.dev.org.edit");
    for icon in ["/opt/x/a.png", "../a", "a b", "ü", &"x".repeat(200)] {
        let name = of(icon);
        let hash = name.strip_prefix("incusbox.dev.").expect("a prefix");
        assert!(hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
}

#[test]
fn a_command_has_a_shim_as_long_as_it_is_there() {
    let mut exports = Exports::default();
    let shimmed = Shimmed { command: "tool".to_owned(), sudo: true };
    exports.chosen.commands.insert("/home/u/bin/tool".into(), shimmed);
    let mut offers = Offers::default();
    assert_eq!(plan(&dev(), &exports, &offers, &ground(&[])).missing, ["tool"]);
    let manual = Some(("tool.1".to_owned(), b".TH TOOL 1\n".to_vec()));
    let program = Program { path: "/usr/bin/tool".to_owned(), manual, is_completed: true };
    offers.programs.insert("tool".to_owned(), program);
    let made = plan(&dev(), &exports, &offers, &ground(&[]));
    assert_eq!(made.files[Path::new("/home/u/bin/tool")].mode, 0o755);
    assert!(text(&made, "/home/u/bin/tool").ends_with("command=/usr/bin/tool\noption=--root\n"));

    // What comes with it, unless the user has that already.
    let bash = "/d/bash-completion/completions/tool";
    let all = ["/d/fish/vendor_completions.d/tool.fish", "/d/man/man1/tool.1", "/home/u/bin/tool"];
    assert_eq!(paths(&made), [&[bash][..], &all].concat());
    let own = Ground { beside: [bash.into()].into(), ..ground(&[]) };
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &own)), all);
}

#[test]
fn a_unit_has_its_own_name_unless_the_host_has_it() {
    use crate::agent::protocol::service::{Found, Scope, Service, ServiceName};
    let name = ServiceName::new("web").expect("a name");
    let (description, scope) = ("x".to_owned(), Scope::System);
    let service =
        Service { name: name.clone(), scope, description, can_reload: false, restarts: true };
    let mut offers = offers("a.desktop", Vec::new());
    offers.services.insert(name.clone(), Found::There(service));
    let mut exports = Exports::default();
    exports.chosen.services.insert(name);
    let mut host = ground(&[]);
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &host)), ["/d/systemd/user/web.service"]);
    host.units.insert("web.service".to_owned());
    let other = "/d/systemd/user/incusbox.dev.web.service";
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &host)), [other]);
    // It stays called so.
    let record = Record { users: ["service:web.service".to_owned()].into(), ..Record::default() };
    exports.files.insert(other.into(), record);
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &ground(&[]))), [other]);
    // A service manager that does not answer takes nothing away.
    for found in offers.services.values_mut() {
        *found = Found::Unknown;
    }
    let kept = plan(&dev(), &exports, &offers, &host);
    assert_eq!(
        (paths(&kept), kept.files[&PathBuf::from(other)].content.clone()),
        (vec![other], Content::Same)
    );
    offers.services.clear();
    assert_eq!(plan(&dev(), &exports, &offers, &host).missing, ["web.service"]);
    exports.files.clear();
    exports.chosen.services = [ServiceName::new("foo@x").expect("a name")].into();
    let service = Service {
        name: ServiceName::new("foo@x").expect("a name"),
        scope: Scope::System,
        description: String::new(),
        can_reload: false,
        restarts: false,
    };
    offers.services.insert(service.name.clone(), Found::There(service));
    host.units.insert("foo@.service".to_owned());
    let instance = "/d/systemd/user/incusbox.dev.foo@x.service";
    assert_eq!(paths(&plan(&dev(), &exports, &offers, &host)), [instance]);
}
