//! What is asked of the daemon for a word, and what becomes of its answers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::boxes::images::error::PrivateFailure;

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const CONFIG: &str = "remotes:
  docker: {addr: https://docker.io, protocol: oci, public: true}
  ubuntu: {addr: https://ubuntu.example, protocol: simplestreams, public: true}
  open: {addr: 'https://open.example:8443', public: true}
  work: {addr: 'https://work.example:8443', project: team, public: false}
  other: {addr: unix:///run/other/unix.socket, public: false}
";

/// A directory with a client's configuration.
struct Configuration(PathBuf);

impl Configuration {
    fn new() -> Configuration {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ibx-source-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(directory.join("servercerts")).expect("a directory");
        std::fs::write(directory.join("config.yml"), CONFIG).expect("a file");
        std::fs::write(directory.join("servercerts/open.crt"), "PEM").expect("a file");
        Configuration(directory)
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

/// Looks `word` up with a daemon that has these answers by path, and nothing else.
fn look_up(word: &str, answers: &[(&str, Value)]) -> Result<Found, Error> {
    let mut never = |_: &str, target: &str| -> Result<Vec<u8>, PrivateFailure> {
        panic!("nobody has to be asked for {target}")
    };
    look_up_asking(word, answers, &mut never)
}

fn look_up_asking(word: &str, answers: &[(&str, Value)], ask: Ask<'_>) -> Result<Found, Error> {
    let answers: BTreeMap<String, Value> =
        answers.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let daemon = std::thread::spawn(move || {
        let mut inbox = Vec::new();
        loop {
            let Some(end) = inbox.windows(4).position(|four| four == b"\r\n\r\n") else {
                let mut chunk = [0; 4096];
                match theirs.read(&mut chunk) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => inbox.extend_from_slice(&chunk[..count]),
                }
                continue;
            };
            let head = String::from_utf8_lossy(&inbox[..end]).into_owned();
            inbox.drain(..end + 4);
            let path = head.split(' ').nth(1).unwrap_or_default();
            let body = match answers.get(path) {
                Some(metadata) => json!({"type": "sync", "metadata": metadata}),
                None => json!({"type": "error", "error": "not found", "error_code": 404}),
            };
            let body = body.to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if theirs.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut client = Client::over(ours);
    let configuration = Configuration::new();
    let remotes = Remotes::of(std::slice::from_ref(&configuration.0)).expect("well-formed");
    let found = find_with(&mut client, &remotes, word, ask);
    drop(client);
    daemon.join().expect("the daemon");
    found
}

fn request(found: &Found) -> Value {
    serde_json::to_value(&found.source).expect("JSON")
}

fn image(kind: &str) -> Value {
    json!({"fingerprint": FINGERPRINT, "public": false, "type": kind})
}

#[test]
fn a_short_name_is_an_alias_of_the_image_server() {
    let found = look_up("debian:13", &[]).expect("a short name");
    assert_eq!(
        request(&found),
        json!({
            "type": "image", "mode": "pull", "protocol": "simplestreams",
            "server": "https://images.linuxcontainers.org", "alias": "debian/13",
        })
    );
    assert_eq!(found.shown, "images:debian/13");
    let bare = look_up("arch", &[]).expect("a short name");
    assert_eq!(bare.shown, "images:archlinux");
}

#[test]
fn an_image_that_is_here_comes_before_a_short_name() {
    let answers = [
        ("/1.0/images/aliases/arch", json!({"name": "arch", "target": FINGERPRINT})),
        (&*format!("/1.0/images/{FINGERPRINT}"), image("container")),
    ];
    for word in ["arch", "local:arch"] {
        let found = look_up(word, &answers).expect("it is here");
        assert_eq!(request(&found), json!({"type": "image", "fingerprint": FINGERPRINT}));
        assert_eq!(
            (found.shown.as_str(), found.kind.as_deref()),
            ("local:arch", Some("container"))
        );
    }
}

#[test]
fn twelve_digits_of_a_fingerprint_name_an_image_that_is_here() {
    let word = &FINGERPRINT[..12];
    let answers = [(&*format!("/1.0/images/{word}"), image("container"))];
    let found = look_up(word, &answers).expect("it is here");
    assert_eq!(found.source.fingerprint.as_deref(), Some(FINGERPRINT));
    let answers = [("/1.0/images/cafe", image("container"))];
    assert!(matches!(look_up("cafe", &answers), Err(Error::Unknown { .. })));
}

#[test]
fn a_remote_of_the_users_comes_before_a_short_name() {
    let found = look_up("ubuntu:24.04", &[]).expect("a remote");
    assert_eq!(found.source.server.as_deref(), Some("https://ubuntu.example"));
    assert_eq!(found.source.alias.as_deref(), Some("24.04"));
}

#[test]
fn a_public_incus_is_asked_by_our_daemon_alone() {
    let found = look_up("open:some/image", &[]).expect("a remote");
    assert_eq!(
        request(&found),
        json!({
            "type": "image", "mode": "pull", "protocol": "incus", "certificate": "PEM",
            "server": "https://open.example:8443", "alias": "some/image",
        })
    );
}

#[test]
fn a_private_incus_gives_a_secret_to_those_whom_it_trusts() {
    let mut asked = Vec::new();
    let mut ask = |method: &str, target: &str| {
        asked.push(format!("{method} {target}"));
        let answer = match asked.len() {
            1 => json!({"name": "base", "target": FINGERPRINT}),
            2 => image("container"),
            _ => json!({"id": "x", "metadata": {"secret": "s3cret"}}),
        };
        Ok(answer.to_string().into_bytes())
    };
    let found = look_up_asking("work:base", &[], &mut ask).expect("a remote");
    assert_eq!(
        asked,
        [
            "GET work:/1.0/images/aliases/base".to_owned(),
            format!("GET work:/1.0/images/{FINGERPRINT}"),
            format!("POST work:/1.0/images/{FINGERPRINT}/secret"),
        ]
    );
    assert_eq!(
        request(&found),
        json!({
            "type": "image", "mode": "pull", "protocol": "incus", "project": "team",
            "server": "https://work.example:8443", "fingerprint": FINGERPRINT, "secret": "s3cret",
        })
    );
}

#[test]
fn a_private_incus_that_cannot_be_asked_is_told_with_a_way_out() {
    let mut ask = |_: &str, _: &str| Err(PrivateFailure::NoClient);
    let error = look_up_asking("work:base", &[], &mut ask).expect_err("no client").to_string();
    assert!(error.contains("private remote `work`") && error.contains("--image-file"), "{error}");
    let mut ask = |_: &str, _: &str| Err(PrivateFailure::Client("Error: x\u{1b}[2Jy\n".to_owned()));
    let error = look_up_asking("work:base", &[], &mut ask).expect_err("refused").to_string();
    assert!(error.contains("image `base`: x\u{fffd}[2Jy\n"), "{error}");
    let mut ask = |_: &str, _: &str| Ok(br#"{"fingerprint":"../x","target":"y"}"#.to_vec());
    assert!(look_up_asking("work:base", &[], &mut ask).is_err());
}

#[test]
fn registries_need_an_incus_that_knows_them() {
    let with = [("/1.0", json!({"api_extensions": ["a", "instance_oci"]}))];
    let found = look_up("docker:library/debian:13", &with).expect("Incus 6.3");
    assert_eq!(found.source.protocol, Some("oci"));
    assert_eq!(found.source.alias.as_deref(), Some("library/debian:13"));
    let without = [("/1.0", json!({"api_extensions": ["a"]}))];
    let error = look_up("docker:debian", &without).expect_err("Incus 6.0").to_string();
    assert!(error.contains("docker save -o image.tar debian"), "{error}");
}

#[test]
fn what_means_nothing_is_told_with_what_may_have_been_meant() {
    let aliases = [("/1.0/images/aliases", json!(["/1.0/images/aliases/my-image?project=x"]))];
    for (word, meant) in [
        ("my-imgae", "did you mean `my-image`"),
        ("fedroa", "`fedora`"),
        ("debian/13", "`images:debian/13`"),
        ("imges:debian/13", "`images:debian/13`"),
        ("fedroa:43", "`fedora:43`"),
    ] {
        let error = look_up(word, &aliases).expect_err(word).to_string();
        assert!(error.contains(meant), "{word}: {error}");
    }
    let socket = look_up("other:x", &[]).expect_err("another daemon").to_string();
    assert!(socket.contains("incus image copy other:x local:"), "{socket}");
}
