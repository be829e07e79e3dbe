//! What layers amount to: hiding, replacing, links, and what is refused.

use super::*;

/// An entry as `TYPE NAME[ -> LINK]`: f file, d directory, s symbolic link, h hard link, c device,
/// p pipe.
fn entry(text: &str) -> Entry {
    let (kind, name) = text.split_once(' ').expect("a type and a name");
    let (name, link) = name.split_once(" -> ").unwrap_or((name, ""));
    let kind = match kind {
        "f" => Kind::File,
        "d" => Kind::Directory,
        "s" => Kind::Symlink,
        "h" => Kind::HardLink,
        "c" => Kind::Device,
        _ => Kind::Fifo,
    };
    let attributes = Attributes { mode: 0o640, uid: 1, gid: 2, mtime: 3 };
    let (name, link) = (name.as_bytes().to_vec(), link.as_bytes().to_vec());
    Entry { name, kind, link, size: 1, attributes, xattrs: Vec::new() }
}

fn apply(layers: &[&[&str]]) -> Result<Tree, Fault> {
    let mut tree = Tree::default();
    for (layer, entries) in layers.iter().enumerate() {
        for (number, text) in entries.iter().enumerate() {
            tree.apply(layer, number as u64, &entry(text))?;
        }
    }
    Ok(tree)
}

/// The tree, one `NAME` a line but for the root: `NAME/`, `NAME -> LINK`, `NAME =LAYER.ENTRY`.
fn shown(layers: &[&[&str]]) -> Vec<String> {
    let tree = apply(layers).expect("safe layers");
    let show = |(name, node): (&[u8], &Node)| {
        let name = String::from_utf8_lossy(name).into_owned();
        match &node.what {
            What::Directory => format!("{name}/"),
            What::Symlink(to) => format!("{name} -> {}", String::from_utf8_lossy(to)),
            What::Fifo => format!("{name}|"),
            What::File(number) => {
                let content = tree.content(*number);
                format!("{name} ={}.{}", content.layer, content.entry)
            }
        }
    };
    tree.nodes().skip(1).map(show).collect()
}

fn refusal(layers: &[&[&str]]) -> Unsafe {
    match apply(layers) {
        Err(Fault::Unsafe { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_later_layer_adds_replaces_and_hides() {
    assert_eq!(
        shown(&[
            &["d ./", "d ./etc/", "f ./etc/a", "f ./etc/b", "d ./opt/x/", "f ./opt/x/y"],
            &["f etc/b", "f etc/.wh.a", "f .wh.opt", "f new/in/it", "p etc/pipe"],
        ]),
        ["etc/", "etc/b =1.0", "etc/pipe|", "new/", "new/in/", "new/in/it =1.3"]
    );
}

#[test]
fn a_name_that_begins_like_a_hidden_one_is_another() {
    assert_eq!(
        shown(&[&["f a/x", "f a-b", "f ab", "f a.c"], &["f .wh.a"]]),
        ["a-b =0.1", "a.c =0.3", "ab =0.2"]
    );
}

#[test]
fn an_opaque_directory_hides_only_what_is_below_its_layer_wherever_the_mark_stands() {
    let lower: &[&str] = &["f d/old", "f d/sub/old", "f d/both"];
    for upper in [
        ["d d", "f d/.wh..wh..opq", "f d/sub/new", "f d/both"],
        ["d d", "f d/sub/new", "f d/both", "f d/.wh..wh..opq"],
    ] {
        let tree = shown(&[lower, &upper]);
        let names: Vec<&str> =
            tree.iter().map(|line| line.split(' ').next().expect("one")).collect();
        assert_eq!(names, ["d/", "d/both", "d/sub/", "d/sub/new"], "{upper:?}");
        assert!(tree[1].starts_with("d/both =1."));
    }
}

#[test]
fn a_mark_hides_nothing_of_its_own_layer() {
    assert_eq!(shown(&[&["f a/old"], &["f a/new", "f .wh.a"]]), ["a/", "a/new =1.0"]);
    assert_eq!(shown(&[&["f a"], &["f a", "f .wh.a"]]), ["a =1.0"]);
    // Notes of aufs about itself are no marks.
    assert_eq!(
        shown(&[&["f a"], &["f .wh..wh.aufs", "d .wh..wh.plnk", "h .wh..wh.orph -> x"]]),
        ["a =0.0"]
    );
}

#[test]
fn a_hard_link_keeps_its_content_whatever_becomes_of_the_other_name() {
    // To a file of a lower layer, before that is replaced.
    assert_eq!(shown(&[&["f a"], &["h b -> a", "f a"], &["f .wh.a"]]), ["b =0.0"]);
    // After it was replaced.
    assert_eq!(shown(&[&["f a"], &["f a", "h ./b -> ./a"]]), ["a =1.0", "b =1.0"]);
    // By way of a directory's other name, and to a symbolic link itself.
    assert_eq!(
        shown(&[&["d usr/bin", "s bin -> usr/bin", "f bin/x", "h y -> bin/x", "h z -> bin"]]),
        ["bin -> usr/bin", "usr/", "usr/bin/", "usr/bin/x =0.2", "y =0.2", "z -> usr/bin"]
    );
}

#[test]
fn something_else_in_place_of_a_directory_or_link_replaces_it() {
    assert_eq!(shown(&[&["f d/x"], &["f d"]]), ["d =1.0"]);
    assert_eq!(shown(&[&["f d/x"], &["s d -> /etc"]]), ["d -> /etc"]);
    assert_eq!(shown(&[&["s d -> /etc"], &["d d", "f d/x"]]), ["d/", "d/x =1.1"]);
    assert_eq!(shown(&[&["f d/x"], &["d d"]]), ["d/", "d/x =0.0"]);
    assert_eq!(shown(&[&["f d"], &["f d/x"]]), ["d/", "d/x =1.0"]);
}

#[test]
fn below_a_symbolic_link_an_entry_goes_where_it_leads_with_the_images_root_as_root() {
    for link in ["usr/lib", "/usr/lib", "./usr//lib/", "usr/x/../lib"] {
        let link = format!("s lib -> {link}");
        assert_eq!(
            shown(&[&["d usr/lib", &link], &["f lib/x", "f lib/.wh.y", "h z -> lib/x"]])[2..],
            ["usr/lib/", "usr/lib/x =1.0", "z =1.0"],
            "{link}"
        );
    }
}

#[test]
fn what_leads_out_is_refused() {
    assert_eq!(refusal(&[&["f ../x"]]), Unsafe::Upwards);
    assert_eq!(refusal(&[&["f a/../../x"]]), Unsafe::Upwards);
    assert_eq!(refusal(&[&["d a/.."]]), Unsafe::Upwards);
    assert_eq!(refusal(&[&["f /etc/passwd"]]), Unsafe::Absolute);
    assert_eq!(refusal(&[&["s a -> ../../out", "f a/x"]]), Unsafe::LeadsOut);
    assert_eq!(refusal(&[&["s a -> /../out", "f a/x"]]), Unsafe::LeadsOut);
    assert_eq!(refusal(&[&["s a -> b", "s b -> a", "f a/x"]]), Unsafe::Loop);
    assert_eq!(refusal(&[&["s a -> a/a/a/a", "f a/x"]]), Unsafe::Loop);
    assert_eq!(refusal(&[&["h a -> ../x"]]), Unsafe::Upwards);
    assert_eq!(refusal(&[&["h a -> /etc/shadow"]]), Unsafe::Absolute);
    assert_eq!(refusal(&[&["h a -> nothing"]]), Unsafe::Target);
    assert_eq!(refusal(&[&["d d", "h a -> d"]]), Unsafe::Target);
    assert_eq!(refusal(&[&["f a/.wh..."]]), Unsafe::Whiteout);
    assert_eq!(refusal(&[&["f a/.wh."]]), Unsafe::Whiteout);
    // A link that nothing is put below leads wherever it likes: it is text.
    assert_eq!(shown(&[&["s a -> ../../out"]]), ["a -> ../../out"]);
}

#[test]
fn the_refused_entry_is_named_without_what_could_harm_a_terminal() {
    let error = apply(&[&["f ../\u{1b}[2Jx"]]).expect_err("refused");
    let text = error.of(std::path::Path::new("i.tar")).to_string();
    assert!(
        text.contains("`i.tar` is refused for its entry `../\u{fffd}[2Jx`: its name has `..`"),
        "{text}"
    );
}

#[test]
fn devices_are_left_out_and_counted() {
    let layers: &[&[&str]] = &[&["d dev", "c dev/null", "f x"], &["c x"]];
    assert_eq!(shown(layers), ["dev/"]);
    assert_eq!(apply(layers).expect("safe").devices(), 2);
}

#[test]
fn many_marks_in_one_place_take_no_longer_than_one() {
    let mut tree = Tree::default();
    for number in 0..20_000 {
        tree.apply(0, number, &entry(&format!("f d/{number}"))).expect("safe");
    }
    let began = std::time::Instant::now();
    for number in 0..20_000 {
        tree.apply(1, number * 2, &entry(&format!("f d/x{number}"))).expect("safe");
        tree.apply(1, number * 2 + 1, &entry("f d/.wh..wh..opq")).expect("safe");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(tree.nodes().count(), 20_002);
}

#[test]
fn a_program_is_found_by_any_of_its_names() {
    let layers: &[&[&str]] = &[&[
        "f usr/lib/systemd/systemd",
        "s sbin -> usr/sbin",
        "s usr/sbin/init -> ../lib/systemd/systemd",
    ]];
    let tree = apply(layers).expect("safe");
    let (real, node) = tree.find("sbin/init").expect("there");
    assert_eq!(real, b"usr/lib/systemd/systemd");
    assert!(matches!(node.what, What::File(_)));
    assert!(tree.find("sbin/nothing").is_none());
}
