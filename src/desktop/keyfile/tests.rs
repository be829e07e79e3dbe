use super::*;

const ENTRY: &[u8] = b"# a remark

[Desktop Entry]
Type=Application
Name = An App \r
Name[de]=Ein Programm
  Exec=app %u
Keywords=one;two\\;three;four;
Exec=app --last %u

[Desktop Action new]
Name=New
Exec=app --new
X-Odd_Key.2=x";

const MAIN: &[u8] = b"Desktop Entry";

fn entry() -> KeyFile {
    KeyFile::parse(ENTRY).expect("an entry")
}

fn text(file: &KeyFile) -> String {
    String::from_utf8(file.to_bytes()).expect("text")
}

#[test]
fn what_is_not_changed_is_written_as_it_was() {
    for bytes in [
        ENTRY,
        b"",
        b"\n",
        b"[",
        b"[]",
        b"]",
        b"=",
        b"[a]=",
        b"a[=b",
        b"\xff=\xfe\n\r\n[x]\r\ny=z",
        b"[a][$i]\nb[$e]=c\n[]\n=x\n no pair \n",
    ] {
        assert_eq!(KeyFile::parse(bytes).expect("a file").to_bytes(), bytes);
    }
}

#[test]
fn values_are_found_as_desktops_find_them() {
    let file = entry();
    assert_eq!(file.groups(), [MAIN, b"Desktop Action new"]);
    assert_eq!(file.get(MAIN, b"Name").as_deref(), Some(&b"An App"[..]));
    assert_eq!(file.get(MAIN, b"Exec").as_deref(), Some(&b"app --last %u"[..]), "the last");
    assert_eq!(file.get(b"Desktop Action new", b"X-Odd_Key.2").as_deref(), Some(&b"x"[..]));
    assert_eq!(file.get(MAIN, b"Icon"), None);
    assert_eq!(file.get(b"Nothing", b"Name"), None);
}

#[test]
fn a_translation_is_found_or_the_words_without_one() {
    let file = KeyFile::parse(b"[G]\nN=a\nN[de]=b\nN[de_AT.UTF-8@x]=c\n").expect("a file");
    let of = |locales: &[&str]| {
        let locales: Vec<String> = locales.iter().map(|&locale| locale.into()).collect();
        String::from_utf8(file.localized(b"G", b"N", &locales).expect("a value")).expect("text")
    };
    assert_eq!(
        [of(&[]), of(&["fr"]), of(&["de_DE", "de"]), of(&["de_AT@x"])],
        ["a", "a", "b", "c"]
    );
}

#[test]
fn a_value_that_is_set_is_the_only_one_of_its_key() {
    let mut file = entry();
    file.set(MAIN, b"Exec", b"incusbox-run a\\b\nc ");
    file.set(MAIN, b"Name", b"Other");
    file.set(MAIN, b"Icon", b"icon");
    file.set(b"Desktop Action new", b"Icon", b"new");
    file.set(b"Added", b"Key", b" x");
    let expected = "# a remark

[Desktop Entry]
Type=Application
Name=Other
Exec=incusbox-run a\\\\b\\nc\\s
Keywords=one;two\\;three;four;
Icon=icon

[Desktop Action new]
Name=New
Exec=app --new
X-Odd_Key.2=x
Icon=new

[Added]
Key=\\sx
";
    assert_eq!(text(&file), expected);
}

#[test]
fn groups_of_one_name_are_one() {
    let mut file =
        KeyFile::parse(b"[A]\nExec=1\n[B]\nExec=2\n[A]\nExec=3\nExec[de]=4\n").expect("a file");
    assert_eq!(file.get(b"A", b"Exec").as_deref(), Some(&b"3"[..]));
    file.set(b"A", b"Exec", b"5");
    assert_eq!(text(&file), "[A]\nExec=5\n[B]\nExec=2\n[A]\n");
}

fn tidied(bytes: &[u8]) -> String {
    let mut file = KeyFile::parse(bytes).expect("a file");
    file.tidy();
    let bytes = file.to_bytes();
    let again = KeyFile::parse(&bytes).expect("a file");
    assert_eq!(again, file, "it is read as it was written");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn what_a_reader_may_take_otherwise_is_taken_out() {
    let told = tidied(
        b"Exec=before\n# kept\n[Desktop Entry]\nName=x\nExec[$e]=$(evil)\nno pair\nExec []=y\nN[de=x\n\
          =z\n[Desktop Entry][$i]\nExec=evil\n[]\nA=b\n[More]\nC=d\n",
    );
    assert_eq!(told, "# kept\n[Desktop Entry]\nName=x\n[More]\nC=d\n");
}

#[test]
fn no_group_is_another_one_for_kde() {
    for odd in
        ["Desktop\\sEntry", "Desktop\\x20Entry", " Desktop Entry", "Desktop Entry ", "$i", "a\\b"]
    {
        let told = tidied(format!("[G]\nA=b\n[{odd}]\nExec=evil\n[H]\nC=d\n").as_bytes());
        assert_eq!(told, "[G]\nA=b\n[H]\nC=d\n", "{odd}");
    }
}

#[test]
fn only_what_is_for_reading_has_translations() {
    let told =
        tidied(b"[G]\nExec=a\nExec[de]=evil\nHidden[C]=true\nName[de]=x\nIcon[de]=y\nEncoding=z\n");
    assert_eq!(told, "[G]\nExec=a\nName[de]=x\nIcon[de]=y\n");
}

#[test]
fn of_two_values_the_last_is_left() {
    let told = tidied(b"[G]\nA=1\nB=x\nA[de]=5\nA=2\nName[de]=1\n[H]\nA=7\n[G]\nA=3\nName[de]=2\n");
    assert_eq!(told, "[G]\nB=x\n[H]\nA=7\n[G]\nA=3\nName[de]=2\n");
}

#[test]
fn a_line_ends_where_it_seems_to() {
    let told = tidied(
        b"[G]\r\nA=1 \t\r\n# x\rExec=evil\nB=2\rExec=evil\nC=\x0c3\n  D = 4\r\n[H]\r\r\nE=5",
    );
    assert_eq!(told, "[G]\nA=1\n  D = 4\n");
    assert_eq!(tidied(b"[G]\nA=b"), "[G]\nA=b\n");
}

#[test]
fn escapes_mean_the_same_to_all() {
    let told = tidied(b"[G]\nA=\\x2fhome\nB=it\\'s \\\\ \\s\\n\\t\\r\nC=a\\;b;\nD=x\\\n");
    assert_eq!(told, "[G]\nA=\\\\x2fhome\nB=it\\\\'s \\\\ \\s\\n\\t\\r\nC=a\\;b;\nD=x\\\\\n");
}

#[test]
fn strings_survive_their_escapes() {
    for string in
        [&b""[..], b" ", b"  a  ", b"\t", b"\\", b"\\n", b"a\nb\r", b";", b"\\;", b"\xff\xfe"]
    {
        let mut file = KeyFile::default();
        file.set(b"G", b"K", string);
        let mut again = KeyFile::parse(&file.to_bytes()).expect("a file");
        assert_eq!(again.get(b"G", b"K").as_deref(), Some(string), "{string:?}");
        again.tidy();
        assert_eq!(again.get(b"G", b"K").as_deref(), Some(string), "{string:?}");
    }
    let mut file = KeyFile::default();
    file.set(b"G", b"K", b"a\x1b\x0cb \x7f");
    assert_eq!(text(&file), "[G]\nK=ab\\s\n", "what has no escape is left out");
}

#[test]
fn files_that_readers_cut_off_are_refused() {
    assert_eq!(KeyFile::parse(b"[a]\0"), Err(Malformed::Zero));
    assert_eq!(KeyFile::parse(&vec![b'\n'; MOST_BYTES + 1]), Err(Malformed::TooLarge));
}
