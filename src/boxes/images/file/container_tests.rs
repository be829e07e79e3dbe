//! Container images in all forms, from the outer archive to the one that Incus gets.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::layers;
use super::super::metadata::hex;
use super::super::recognise::tests::archive;
use super::super::temporary;
use super::*;

fn here() -> Vec<String> {
    vec!["x86_64".to_owned(), "i686".to_owned()]
}

fn sha(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector");
    encoder.finish().expect("a vector")
}

fn layers() -> [Vec<u8>; 2] {
    [
        archive(&[("etc/", b""), ("etc/old", b"old"), ("etc/kept", b"kept"), ("bin/sh", b"#!")]),
        archive(&[("etc/.wh.old", b""), ("etc/new", b"new")]),
    ]
}

fn config(layers: &[Vec<u8>], architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|it| format!("sha256:{}", sha(it))).collect();
    json!({
        "architecture": architecture, "os": "linux", "created": "2024-02-29T23:59:59Z",
        "config": {"Entrypoint": ["/bin/sh"], "Cmd": null, "Env": ["A=b"], "WorkingDir": "/x", "User": "1:2"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

/// `docker save`: manifest.json.
fn docker(names: &[&str], config_name: &str, config: &[u8], layers: &[Vec<u8>]) -> Vec<u8> {
    let manifest =
        json!([{"Config": config_name, "RepoTags": ["name:tag"], "Layers": names}]).to_string();
    let mut files: Vec<(&str, &[u8])> = vec![(config_name, config)];
    files.extend(names.iter().zip(layers).map(|(name, layer)| (*name, layer.as_slice())));
    files.push(("manifest.json", manifest.as_bytes()));
    archive(&files)
}

/// An OCI layout from blobs by digest and the descriptors of its index.
struct Layout(BTreeMap<String, Vec<u8>>);

impl Layout {
    fn add(&mut self, bytes: &[u8]) -> Value {
        let digest = sha(bytes);
        self.0.insert(format!("blobs/sha256/{digest}"), bytes.to_vec());
        json!({"digest": format!("sha256:{digest}"), "size": bytes.len()})
    }

    fn image(&mut self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let config = config(layers, architecture);
        let config = self.add(&config);
        let layers: Vec<Value> = layers.iter().map(|layer| self.add(&gzip(layer))).collect();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
        let mut image = self.add(manifest.as_bytes());
        image["platform"] = json!({"architecture": architecture, "os": "linux"});
        image
    }

    fn archive(&self, manifests: Vec<Value>) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        let mut files: Vec<(&str, &[u8])> =
            vec![("oci-layout", b"{}"), ("index.json", index.as_bytes())];
        files.extend(self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        archive(&files)
    }
}

/// Names and contents.
type Files = Vec<(String, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<(Container<'static>, Files), Fault> {
    let file: &'static File = Box::leak(Box::new(temporary::copy(bytes)?));
    let container = open(file, &here())?;
    let merged = layers::merge(&container.layers, &mut |_| {})?;
    let mut out = Vec::new();
    layers::write(&container.layers, &merged.tree, &mut out)?;
    let mut entries = Entries::streamed(&out[..]);
    let mut all = Vec::new();
    while let Some(entry) = entries.next()? {
        let mut content = Vec::new();
        entries.read_to_end(&mut content).map_err(Fault::Read)?;
        all.push((String::from_utf8_lossy(&entry.name).into_owned(), content));
    }
    Ok((container, all))
}

fn check(bytes: &[u8], name: Option<&str>) {
    let (container, files) = read(bytes).expect("well-formed");
    assert_eq!((container.name.as_deref(), container.architecture.as_str()), (name, "x86_64"));
    assert_eq!(container.config.entrypoint, Some(vec!["/bin/sh".to_owned()]));
    assert_eq!(container.config.user.as_deref(), Some("1:2"));
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let expected: [(&str, &[u8]); 6] = [
        ("./", b""),
        ("./bin/", b""),
        ("./etc/", b""),
        ("./etc/kept", b"kept"),
        ("./bin/sh", b"#!"),
        ("./etc/new", b"new"),
    ];
    assert_eq!(files, expected);
}

#[test]
fn docker_save_of_old_and_new() {
    let layers = layers();
    let config = config(&layers, "amd64");
    let named = format!("{}.json", sha(&config));
    check(&docker(&["1/layer.tar", "2/layer.tar"], &named, &config, &layers), Some("name:tag"));
    let blob = format!("blobs/sha256/{}", sha(&config));
    check(&docker(&["blobs/sha256/a", "b"], &blob, &config, &layers), Some("name:tag"));
    let zipped = layers.map(|layer| gzip(&layer));
    check(&docker(&["1", "2"], &named, &config, &zipped), Some("name:tag"));
}

#[test]
fn an_oci_layout_with_the_image_for_this_machine_among_others() {
    let layers = layers();
    let mut layout = Layout(BTreeMap::new());
    let other = layout.image("arm64", &layers[..1]);
    let mut ours = layout.image("amd64", &layers);
    ours["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let mut note = layout.image("amd64", &layers[..1]);
    note["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    let missing = json!({"digest": format!("sha256:{}", sha(b"x")), "platform": {"architecture": "386", "os": "linux"}});
    let descriptors = vec![missing, other.clone(), note, ours];
    check(&layout.archive(descriptors.clone()), Some("latest"));
    // By way of an index inside.
    let inner = json!({"manifests": descriptors}).to_string();
    let inner = layout.add(inner.as_bytes());
    check(&layout.archive(vec![inner]), Some("latest"));
    match read(&layout.archive(vec![other])) {
        Err(Fault::Architecture { image, here }) => {
            assert_eq!((image, here.len()), (vec!["aarch64".to_owned()], 2))
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_layer_that_is_a_link_to_another_is_that() {
    let layers = layers();
    let config = config(&layers, "amd64");
    let manifest =
        json!([{"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar"]}]).to_string();
    let mut builder = tar::Builder::new(archive(&[
        ("0/layer.tar", &layers[0]),
        ("2/layer.tar", &layers[1]),
        ("c.json", &config),
        ("manifest.json", manifest.as_bytes()),
    ]));
    // Overwrite the end, which is two blocks.
    let length = builder.get_ref().len() - 1024;
    builder.get_mut().truncate(length);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "1/layer.tar", "../0/layer.tar").expect("a vector");
    check(&builder.into_inner().expect("a vector"), None);
}

#[test]
fn whatever_was_changed_is_noticed() {
    let layers = layers();
    let config_bytes = config(&layers, "amd64");
    let named = format!("{}.json", sha(&config_bytes));
    let mut changed = layers.clone();
    let at = changed[0].windows(4).position(|four| four == b"kept").expect("there");
    changed[0][at] = b'K';
    let error = read(&docker(&["1", "2"], &named, &config_bytes, &changed)).err();
    assert!(matches!(error, Some(Fault::Digest { .. } | Fault::Damaged(_))), "{error:?}");
    let mut other = config_bytes.clone();
    *other.last_mut().expect("bytes") = b' ';
    let error = read(&docker(&["1", "2"], &named, &other, &layers)).err();
    assert!(matches!(error, Some(Fault::Digest { .. })), "{error:?}");
    let mut layout = Layout(BTreeMap::new());
    let image = layout.image("amd64", &layers);
    for name in layout.0.keys().cloned().collect::<Vec<_>>() {
        let mut broken = Layout(layout.0.clone());
        broken.0.get_mut(&name).expect("there")[9] ^= 1;
        let error = read(&broken.archive(vec![image.clone()])).err();
        assert!(matches!(error, Some(Fault::Digest { .. })), "{name}: {error:?}");
        broken.0.remove(&name);
        let error = read(&broken.archive(vec![image.clone()])).err();
        assert!(matches!(error, Some(Fault::Missing(_))), "{name}: {error:?}");
    }
}

#[test]
fn what_is_no_single_image_for_us_is_told() {
    let layers = layers();
    let two = json!([{"Config": "a", "RepoTags": ["one:1"], "Layers": []}, {"Config": "b", "RepoTags": ["two:2"], "Layers": []}]).to_string();
    match read(&archive(&[("manifest.json", two.as_bytes())])).err() {
        Some(Fault::Several(names)) => assert_eq!(names, ["one:1", "two:2"]),
        other => panic!("{other:?}"),
    }
    let arm = config(&layers, "arm64");
    let error = read(&docker(&["1", "2"], "c", &arm, &layers)).err();
    assert!(matches!(error, Some(Fault::Architecture { .. })), "{error:?}");
    let error = read(&docker(&["1"], "c", &config(&layers, "amd64"), &layers)).err();
    assert!(matches!(error, Some(Fault::Damaged(_))), "{error:?}");
    for manifest in ["", "[]", "{}", "[{\"Config\":\"../../etc/passwd\",\"Layers\":[]}]"] {
        assert!(read(&archive(&[("manifest.json", manifest.as_bytes())])).is_err(), "{manifest}");
    }
    assert!(matches!(read(&archive(&[("oci-layout", b"{}")])).err(), Some(Fault::Missing(_))));
    let bad = json!({"manifests": [{"digest": "sha256:../../../etc/passwd"}]}).to_string();
    assert!(matches!(
        read(&archive(&[("index.json", bad.as_bytes())])).err(),
        Some(Fault::Damaged(_))
    ));
}
