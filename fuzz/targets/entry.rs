//! Desktop entries, command lines and pictures of any bytes: no panic; what is not changed stays as
//! it was, byte for byte; of what was tidied and set no reader can see anything else; and a command
//! line that is written has the words that it was read with, and nothing that is a shell's.
#![no_main]

use std::collections::BTreeSet;

use incusbox::desktop::exec::Exec;
use incusbox::desktop::keyfile::{KeyFile, Revised};
use incusbox::desktop::{entry, picture};
use libfuzzer_sys::fuzz_target;

const MAIN: &[u8] = b"Desktop Entry";

fuzz_target!(|bytes: &[u8]| {
    let _any = picture::look(bytes);
    if let Ok(exec) = Exec::parse(bytes) {
        round_trip(&exec);
    }
    let Ok(mut file) = KeyFile::parse(bytes) else { return };
    assert_eq!(file.to_bytes(), bytes);
    if let Some(Ok(exec)) = file.get(MAIN, b"Exec").map(|value| Exec::parse(&value)) {
        round_trip(&exec);
    }

    file.tidy();
    let groups: Vec<Vec<u8>> = file.groups().into_iter().map(<[u8]>::to_vec).collect();
    for action in entry::actions(&file) {
        assert!(groups.contains(&[entry::ACTION, &action].concat()));
    }
    let mut kept = file.clone();
    kept.revise(|_, _| Revised::Kept);
    assert_eq!(kept, file);
    kept.keep_groups(|group| group == MAIN);
    assert!(kept.groups().iter().all(|group| *group == MAIN));
    let string = bytes.get(..16).unwrap_or(bytes);
    file.set(MAIN, b"Exec", string);
    let written = file.to_bytes();
    is_plain(&written);
    let mut again = KeyFile::parse(&written).expect("what was written");
    assert_eq!(again, file);
    again.tidy();
    assert_eq!(again, file, "there is nothing left to tidy");
    let is_kept = |b: &&u8| !b.is_ascii_control() || b"\t\n\r".contains(b);
    let kept: Vec<u8> = string.iter().filter(is_kept).copied().collect();
    assert_eq!(again.get(MAIN, b"Exec"), Some(kept));
});

/// Looks at the lines without the reader: each is a remark, a group, or a key that is there once.
fn is_plain(written: &[u8]) {
    let mut group = None;
    let mut seen = BTreeSet::new();
    assert!(written.ends_with(b"\n"));
    for line in written[..written.len() - 1].split(|b| *b == b'\n') {
        assert!(!line.iter().any(|b| b.is_ascii_control() && *b != b'\t'), "{line:?}");
        let line = line.trim_ascii_start();
        match line.first() {
            None | Some(b'#') => {}
            Some(b'[') => {
                let name = line[1..].strip_suffix(b"]").expect("the end of a group's name");
                assert!(!name.iter().any(|b| b"[]$\\".contains(b)));
                group = Some(name);
            }
            Some(_) => {
                let equals = line.iter().position(|b| *b == b'=').expect("a key and a value");
                let key = line[..equals].trim_ascii();
                assert!(!key.contains(&b'$'));
                assert!(seen.insert((group.expect("a group"), key)), "{key:?} is there twice");
            }
        }
    }
}

fn round_trip(exec: &Exec) {
    let value = exec.to_value();
    let again = Exec::parse(value.as_bytes()).expect("what was written");
    assert_eq!(again.to_value(), value);
    assert_eq!(again.codes().collect::<Vec<_>>(), exec.codes().collect::<Vec<_>>());
    let texts = |exec: &Exec| exec.0.iter().map(|word| word.text()).collect::<Vec<_>>();
    assert_eq!(texts(&again), texts(exec));

    let (mut is_quoted, mut letters) = (false, value.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' => assert!(is_quoted && letters.next().is_some_and(|c| "\"`$\\".contains(c))),
            '$' | '`' => panic!("a shell's: {value}"),
            letter => assert!(
                is_quoted || letter.is_ascii_alphanumeric() || " _@%+=:,./-".contains(letter),
                "{value}"
            ),
        }
    }
    assert!(!is_quoted);
}
