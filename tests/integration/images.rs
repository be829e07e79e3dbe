//! Images from files, all the way into a box of a real Incus, by the functions that `incusbox create`
//! calls. The boxes' only programs are a static busybox of the host and the agent as their init.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use incusbox::boxes::images::file::{Fault, ImageFile, Imported, Init};
use incusbox::boxes::images::{self, Remotes};
use incusbox::incus::Client;
use incusbox::incus::images::Novelty;
use incusbox::sys::signals::Signals;
use serde_json::json;

use crate::support::archive::{Tar, gzip, sha};
use crate::support::{End, Invocation, Outcome, Scratch, scratch, ways};

/// The agent in the images of these tests.
const AGENT: &str = "usr/local/lib/incusbox/init";

/// An image and perhaps a box made from it; both go away.
struct Made {
    name: String,
    image: Option<String>,
}

impl Made {
    fn new(what: &str) -> Made {
        Made { name: format!("hi-{}-{what}{}", std::process::id(), scratch::unique()), image: None }
    }

    /// Imports a file and makes a box with the agent as its init from it.
    fn launch(what: &str, file: &Path) -> (Made, Imported) {
        let mut made = Made::new(what);
        let imported = made.import(file);
        let init = format!("raw.lxc=lxc.init.cmd = /{AGENT} init");
        incus(&["launch", &imported.fingerprint, &made.name, "-c", &init]);
        (made, imported)
    }

    fn import(&mut self, file: &Path) -> Imported {
        let opened = ImageFile::open(file).unwrap_or_else(|error| panic!("{error}"));
        let imported = opened.import(&mut client(), &mut |_| {});
        let imported = imported.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(imported.novelty, Novelty::New);
        self.image = Some(imported.fingerprint.clone());
        imported
    }

    /// What a script of the box's busybox writes, as this user of it. By our own program, for on a busy
    /// machine `incus exec` loses all that a command writes, now and then.
    fn shell(&self, user: u32, script: &str) -> String {
        let user = user.to_string();
        let options = ["--mode", "native", "--user", &user];
        let command = [self.name.as_str(), "--", "/bin/busybox", "sh", "-c", script];
        let outcome = Invocation::program([&options[..], &command[..]].concat()).patience(60).run();
        assert_eq!(outcome.end, End::Code(0), "{}", outcome.errors());
        outcome.text()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _was_never_made =
            Invocation::new(["incus", "delete", "--force", &self.name]).patience(60).run();
        if let Some(image) = &self.image {
            let _is_gone = client().delete_image(image);
        }
    }
}

fn client() -> Client {
    Client::connect(std::env::var("INCUS_PROJECT").ok()).expect("the test bed's daemon")
}

/// What Incus's own client writes.
fn incus(words: &[&str]) -> String {
    let outcome = run(words);
    assert_eq!(outcome.end, End::Code(0), "incus {words:?}: {}", outcome.errors());
    outcome.text()
}

fn run(words: &[&str]) -> Outcome {
    Invocation::new([&["incus"], words].concat()).patience(120).run()
}

fn busybox() -> Vec<u8> {
    std::fs::read("/bin/busybox").expect("busybox-static on the host")
}

fn agent() -> Vec<u8> {
    let named = std::env::var_os("INCUSBOX_AGENT").map(PathBuf::from);
    let directory = Path::new(ways::program()).parent().expect("a directory");
    let places = ["incusbox-agent", "../libexec/incusbox/incusbox-agent"];
    let mut places = named.into_iter().chain(places.map(|place| directory.join(place)));
    let found = places.find_map(|path| std::fs::read(path).ok());
    found.expect("incusbox-agent beside incusbox-run")
}

/// A root directory with busybox and the agent.
fn base() -> Tar {
    Tar::new()
        .directory("./bin/", 0o755)
        .directory("./etc/", 0o755)
        .directory("./usr/local/lib/incusbox/", 0o755)
        .directory("./proc/", 0o755)
        .directory("./sys/", 0o755)
        .directory("./dev/", 0o755)
        .directory("./run/", 0o755)
        .directory("./run/lock/", 0o1777)
        .file("./etc/os-release", 0o644, b"ID=hi\nNAME=Hi\nVERSION_ID=7\nPRETTY_NAME=\"Hi 7\"\n")
        .file("./bin/busybox", 0o755, &busybox())
        .file(&format!("./{AGENT}"), 0o755, &agent())
}

/// An archive as `docker save` writes it.
fn docker(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|it| format!("sha256:{}", sha(it))).collect();
    let settings =
        json!({"Entrypoint": ["/bin/sh", "-c"], "Env": ["A=b c"], "WorkingDir": "/data"});
    let config = json!({"architecture": "amd64", "os": "linux", "created": "2024-02-29T23:59:59Z",
        "config": settings, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string().replace("amd64", docker_architecture());
    let config_name = format!("{}.json", sha(config.as_bytes()));
    let names: Vec<String> =
        (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": ["hi:1"], "Layers": names}]);
    let mut tar = Tar::new().file(&config_name, 0o644, config.as_bytes());
    for (name, layer) in names.iter().zip(layers) {
        // Layers of an image may be compressed or not.
        let content = if name.starts_with('1') { gzip(layer) } else { layer.clone() };
        tar = tar.file(name, 0o644, &content);
    }
    tar.file("manifest.json", 0o644, manifest.to_string().as_bytes()).bytes()
}

fn docker_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[test]
fn layers_become_a_box_with_links_modes_owners_and_capabilities() {
    // cap_dac_read_search, permitted and effective (linux/capability.h, VFS_CAP_REVISION_2).
    let capability = [1, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = "long-name/".repeat(30);
    let lower = base()
        .file("./etc/removed", 0o644, b"x")
        .file("./opt/gone/file", 0o644, b"x")
        .file("./etc/linked", 0o644, b"first\n")
        .file("./secret", 0o600, b"secret\n")
        .xattr("security.capability", &capability)
        .file("./bin/read", 0o755, &busybox())
        .bytes();
    let upper = Tar::new()
        .file("./etc/.wh.removed", 0o644, b"")
        .file("./opt/.wh.gone", 0o644, b"")
        .hard_link("./etc/kept", "./etc/linked")
        .file("./etc/linked", 0o644, b"second\n")
        .hard_link("./bin/sh", "./bin/busybox")
        .file("./bin/su", 0o4755, &busybox())
        .directory("./data/", 0o1777)
        .owned("./data/owned", 4242)
        .file(&format!("./{long}file"), 0o640, b"deep\n")
        .symlink("./lib", "usr/lib")
        .file("./lib/below-link", 0o644, b"through\n")
        .bytes();
    let scratch = Scratch::new();
    let file = scratch.file("no-name-that-says-anything", docker(&[lower, upper]));
    let (own, imported) = Made::launch("oci", &file);

    assert_eq!(imported.init, Init::Missing);
    let oci = imported.oci.expect("settings");
    assert_eq!(oci.entrypoint, Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]));
    let get = |key: &str| incus(&["config", "get", &own.name, key]).trim_end().to_owned();
    assert_eq!(get("image.incusbox.init"), "none");
    assert_eq!(get("image.incusbox.oci.entrypoint"), r#"["/bin/sh","-c"]"#);
    assert_eq!(get("image.incusbox.oci.env"), r#"["A=b c"]"#);
    assert_eq!((get("image.os"), get("image.release")), ("Hi".to_owned(), "7".to_owned()));

    assert_eq!(
        own.shell(0, "cat /etc/kept /etc/linked /lib/below-link"),
        "first\nsecond\nthrough\n"
    );
    assert_eq!(own.shell(0, "ls -d /etc/removed /opt/gone 2>/dev/null || echo none"), "none\n");
    assert_eq!(
        own.shell(
            0,
            "ls -di /bin/sh /bin/busybox | while read i n; do echo $i; done | uniq | wc -l"
        )
        .trim(),
        "1"
    );
    assert_eq!(
        own.shell(0, "stat -c '%a %u' /bin/su /data /data/owned"),
        "4755 0\n1777 0\n600 4242\n"
    );
    assert_eq!(
        own.shell(0, &format!("cat /{long}file; cat /etc/hostname")),
        format!("deep\n{}\n", own.name)
    );
    // Nobody but root may read it, and whoever has the capability.
    assert_eq!(
        own.shell(1234, "busybox cat /secret 2>/dev/null || exec -a cat /bin/read /secret"),
        "secret\n"
    );

    the_agent_is_an_init(&own);
}

fn the_agent_is_an_init(own: &Made) {
    // What it mounts, with what the image has there.
    let mounts = own.shell(0, "while read a b c rest; do echo $b $c; done </proc/mounts");
    for expected in ["/run tmpfs", "/tmp tmpfs"] {
        assert!(mounts.lines().any(|line| line == expected), "{mounts}");
    }
    assert_eq!(own.shell(0, "stat -c %a /run/lock /tmp /dev/shm"), "1777\n1777\n1777\n");
    assert_eq!(own.shell(0, "cat /proc/1/comm"), "init\n");
    // Orphans are reaped.
    own.shell(0, "for i in 1 2 3 4 5; do (sleep 0.05 &) ; done; sleep 0.4");
    let left = own.shell(0, "grep -l 'State:.Z' /proc/[0-9]*/status || echo none");
    assert_eq!(left, "none\n");
    // Signals that are for others do not end it.
    own.shell(0, "kill -HUP 1; kill -USR1 1; kill -CHLD 1; sleep 0.1");
    // A stop is heeded at once, also with processes that ignore it; and it can be started again.
    own.shell(0, "trap '' TERM; (while :; do sleep 1; done) >/dev/null 2>&1 &");
    for _ in 0..2 {
        let began = Instant::now();
        incus(&["stop", &own.name]);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "the stop took {took:?}");
        incus(&["start", &own.name]);
        assert_eq!(own.shell(0, "echo up"), "up\n");
    }
}

#[test]
fn a_root_directory_is_passed_on_as_it_is() {
    let scratch = Scratch::new();
    for (what, content) in [("plain", base().bytes()), ("gz", gzip(&base().bytes()))] {
        let (own, imported) = Made::launch(what, &scratch.file(what, content));
        assert_eq!((imported.init, imported.oci), (Init::Unknown, None));
        assert_eq!(own.shell(0, "cat /etc/hostname"), format!("{}\n", own.name));
        assert_eq!(incus(&["config", "get", &own.name, "image.description"]), "Hi 7\n");
    }
}

#[test]
fn what_incus_exports_is_taken_back() {
    let scratch = Scratch::new();
    let directory = scratch.path().to_str().expect("a name in UTF-8");
    let (mut own, first) = Made::launch("export", &scratch.file("root", base().bytes()));

    // An image in two files, by either of them, and one that is there already.
    incus(&["image", "export", &first.fingerprint, directory]);
    let meta = scratch.path().join(format!("meta-{}.tar", first.fingerprint));
    let again = ImageFile::open(&meta).expect("half an image").import(&mut client(), &mut |_| {});
    let again = again.expect("its other half is beside it");
    assert_eq!(
        (again.fingerprint.as_str(), again.novelty),
        (first.fingerprint.as_str(), Novelty::WasThere)
    );
    incus(&["image", "delete", &first.fingerprint]);
    assert_eq!(own.import(&meta).fingerprint, first.fingerprint);
    let lonely = scratch.file("lonely", std::fs::read(&meta).expect("readable"));
    let error = ImageFile::open(&lonely).expect("half").import(&mut client(), &mut |_| {});
    assert!(matches!(error.expect_err("no half").fault, Fault::Half { .. }));

    // A backup of the box.
    own.shell(0, "echo kept >/etc/kept");
    incus(&["stop", &own.name]);
    let backup = scratch.path().join("backup");
    incus(&["export", &own.name, backup.to_str().expect("UTF-8"), "--compression", "none"]);
    let opened = ImageFile::open(&backup).expect("a backup");
    assert_eq!(opened.backup().expect("a backup").name, own.name);
    let refused = opened.import(&mut client(), &mut |_| {}).expect_err("no image");
    assert!(matches!(refused.fault, Fault::IsBackup));
    let restored = Made::new("restored");
    let mut signals = Signals::catch(&[]).expect("signals");
    let name = (restored.name.as_str(), None);
    opened.restore(&mut client(), &mut signals, name, &mut |_| {}).expect("restored");
    incus(&["start", &restored.name]);
    assert_eq!(restored.shell(0, "cat /etc/kept"), "kept\n");

    // An image of one file, as `incus publish` and distrobuilder make it.
    let alias = format!("{}-published", own.name);
    incus(&["publish", &own.name, "--alias", &alias, "--compression", "none"]);
    let unified = scratch.path().join("unified");
    incus(&["image", "export", &alias, unified.to_str().expect("UTF-8")]);
    incus(&["image", "delete", &alias]);
    let unified = scratch.path().join("unified.tar");
    let (published, _) = Made::launch("unified", &unified);
    assert_eq!(published.shell(0, "cat /etc/kept"), "kept\n");
}

#[test]
fn a_damaged_image_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let name = format!("hostile-{}", std::process::id());
    let is_left = |text: &str| incus(&["image", "list", "--format", "csv"]).contains(text);
    let lower = Tar::new().file("./etc/x", 0o644, b"x").bytes();
    let upper = Tar::new().symlink("./up", "../../..").file("./up/x", 0o644, b"x").bytes();
    let file = scratch.file(&name, docker(&[lower, upper]));
    let error =
        ImageFile::open(&file).expect("a container image").import(&mut client(), &mut |_| {});
    let text = error.expect_err("unsafe").to_string();
    assert!(text.contains("`up/x`") && text.contains("leads out"), "{text}");
    assert!(!is_left(&name));
    // Incus itself finds this one damaged, after all was sent.
    let mut bytes = gzip(&base().bytes());
    let end = bytes.len() / 2;
    bytes.truncate(end);
    bytes.extend([0; 64]);
    let mut made = Made::new("damaged");
    let imported = made.import(&scratch.file(&name, bytes));
    let launched = run(&["launch", &imported.fingerprint, &made.name]);
    assert_ne!(launched.end, End::Code(0));
    assert!(is_left(&imported.fingerprint[..12]));
    drop(made);
    assert!(!is_left(&imported.fingerprint[..12]));
}

#[test]
fn an_image_that_is_here_is_found_by_alias_and_fingerprint() {
    let remotes = Remotes::load().expect("the client's configuration");
    let image = std::env::var("IBX_IMAGE").expect("IBX_IMAGE");
    let found = images::find(&mut client(), &remotes, &image).expect("it is here");
    let fingerprint = found.source.fingerprint.clone().expect("a fingerprint");
    for word in [format!("local:{image}"), fingerprint[..12].to_owned(), fingerprint.clone()] {
        let again = images::find(&mut client(), &remotes, &word).expect("it is here");
        assert_eq!(again.source.fingerprint.as_ref(), Some(&fingerprint), "{word}");
    }
    let error = images::find(&mut client(), &remotes, &image[..image.len() - 1]);
    let error = error.expect_err("no such image").to_string();
    assert!(error.contains(&format!("did you mean `{image}`")), "{error}");
}

#[test]
fn a_box_comes_from_an_image_server() {
    let scratch = Scratch::new();
    let root = gzip(&base().bytes());
    let yaml = format!("architecture: {}\ncreation_date: 1700000000\n", std::env::consts::ARCH);
    let meta = gzip(&Tar::new().file("metadata.yaml", 0o644, yaml.as_bytes()).bytes());
    scratch.file("meta", &meta);
    scratch.file("root", &root);
    let fingerprint = sha(&[meta.as_slice(), root.as_slice()].concat());
    let item = |kind: &str, path: &str, bytes: &[u8]| {
        json!({"ftype": kind, "path": path, "sha256": sha(bytes), "size": bytes.len(),
            "combined_rootxz_sha256": fingerprint})
    };
    let items = json!({"incus.tar.xz": item("incus.tar.xz", "meta", &meta), "root.tar.xz": item("root.tar.xz", "root", &root)});
    let product = json!({"aliases": "hi/7,hi/7/default", "arch": docker_architecture(), "os": "Hi",
        "release": "7", "release_title": "7", "versions": {"20260101_00:00": {"items": items}}});
    let entry = json!({"datatype": "image-downloads", "path": "streams/v1/images.json", "format": "products:1.0", "products": ["hi:7"]});
    std::fs::create_dir_all(scratch.path().join("streams/v1")).expect("a directory");
    let index = json!({"format": "index:1.0", "index": {"images": entry}});
    scratch.file("streams/v1/index.json", index.to_string());
    let images = json!({"format": "products:1.0", "datatype": "image-downloads", "content_id": "images", "products": {"hi:7": product}});
    scratch.file("streams/v1/images.json", images.to_string());
    let server = Server::new(scratch.path());
    let address = format!("http://127.0.0.1:{}", server.1);
    scratch.file(
        "config.yml",
        format!("remotes: {{hi: {{addr: '{address}', protocol: simplestreams, public: true}}}}\n"),
    );

    let remotes = Remotes::of(&[scratch.path().to_owned()]).expect("a configuration");
    let found = images::find(&mut client(), &remotes, "hi:hi/7").expect("a remote");
    let mut own = Made::new("server");
    own.image = Some(fingerprint);
    let config = json!({"raw.lxc": format!("lxc.init.cmd = /{AGENT} init")});
    let body = json!({"name": own.name, "source": found.source, "config": config, "start": true});
    let mut client = client();
    let target = client.target("/1.0/instances", "");
    let body = body.to_string();
    let envelope = client.call::<serde_json::Value>("creating", "POST", &target, body.as_bytes());
    let operation = envelope.expect("accepted").operation;
    let ended = client.wait("creating", &operation, Duration::from_secs(60)).expect("an end");
    ended.success("creating").expect("made");
    assert_eq!(own.shell(0, "cat /etc/os-release | head -n 1"), "ID=hi\n");
}

/// Serves a directory, and is ended with the test.
struct Server(std::process::Child, u16);

impl Server {
    fn new(directory: &Path) -> Server {
        let program = "import http.server as h, sys\n\
            s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)\n\
            print(s.server_port, flush=True)\n\
            s.serve_forever()\n";
        let mut child = std::process::Command::new("python3")
            .args(["-c".as_ref(), OsStr::new(program)])
            .current_dir(directory)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
        std::io::BufRead::read_line(&mut out, &mut line).expect("a port");
        Server(child, line.trim().parse().expect("a port"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _was_waited_for = self.0.wait();
    }
}
