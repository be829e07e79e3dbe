//! The entries of real packages.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::export::Desktop;
use crate::support::{Name, command, finish, home};

const NAMES: &str = include_str!("names");
const UNPACK: &str = include_str!("unpack");
const ENTRIES: &str = include_str!("entries.py");

/// Runs a script in the box as root, with this as its stdin.
fn root(name: &Name, script: &[&str], stdin: &[u8]) -> String {
    let words = [&["--root", "--cwd", "/", name, "--"], script].concat();
    let mut command = command("incusbox-run", &words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let mut input = child.stdin.take().expect("a pipe");
    let stdin = stdin.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&stdin));
    let stdout = finish(&command, child).succeeds().stdout;
    writer.join().expect("a thread").expect("a reader");
    stdout
}

/// What a launcher would run for `words`, as the specification has it.
fn expanded(entry: &Value, words: &[&str], opened: &[&str]) -> Vec<String> {
    let text = |key: &str| entry[key].as_str().expect("text").to_owned();
    let mut out = Vec::new();
    for word in words {
        match *word {
            "%f" | "%F" | "%u" | "%U" => out.extend(opened.iter().map(|&path| path.to_owned())),
            "%i" if text("icon").is_empty() => {}
            "%i" => out.extend(["--icon".to_owned(), text("icon")]),
            "%d" | "%D" | "%n" | "%N" | "%v" | "%m" => {}
            word => {
                let word = word.replace("%c", &text("name")).replace("%k", &text("path"));
                out.push(word.replace("%%", "%"));
            }
        }
    }
    out
}

#[test]
fn the_entries_of_debians_packages_are_exported_and_mean_what_they_meant() {
    let desktop = Desktop::new("packages");
    let name = Name::create("packages", &[]);
    let count = root(&name, &["sh", "-c", UNPACK], NAMES.as_bytes());
    assert!(count.trim().parse::<u32>().expect("a number") >= 200, "{count}");
    let read = root(&name, &["python3", "-c", ENTRIES], b"");
    let entries: BTreeMap<String, Value> = read
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|entry| (entry["id"].as_str().expect("text").to_owned(), entry))
        .collect();
    let programs: Vec<&String> =
        entries.iter().filter(|(_, one)| one["is_program"] == true).map(|(id, _)| id).collect();
    assert!(programs.len() >= 200, "{}", programs.len());

    // All that can be: also what menus do not show. What is left out has no command.
    let chosen: Vec<&str> = programs
        .iter()
        .filter(|id| !entries[**id]["words"].as_array().expect("words").is_empty())
        .flat_map(|id| ["--app", id.as_str()])
        .collect();
    desktop.export(&name, &chosen).succeeds();
    let files: BTreeMap<String, String> = desktop
        .files()
        .into_iter()
        .filter(|file| file.ends_with(".desktop"))
        .map(|file| {
            let entry = desktop.read(&file);
            let id = entry.lines().find_map(|line| line.strip_prefix("X-Incusbox-Id="));
            (id.expect("an id").to_owned(), file.clone())
        })
        .collect();
    assert_eq!(2 * files.len(), chosen.len(), "{files:#?}");

    // What they run, with files and addresses of all sorts, is what they ran.
    let odd =
        home().join(format!(".boxes-{} 100% 'q\"uo`te' $HOME \u{fc}.txt", std::process::id()));
    std::fs::write(&odd, "text").expect("a file");
    let opened = [odd.to_str().expect("text"), "https://example.org/?a=b&c=%20d"];
    let mut ran = 0;
    for (id, file) in files.iter().filter(|(id, _)| entries[*id]["is_stand_in"] == true) {
        let entry = &entries[id];
        let words: Vec<&str> = entry["words"].as_array().expect("words")[1..]
            .iter()
            .map(|word| word.as_str().expect("text"))
            .collect();
        let expected = expanded(entry, &words, &opened);
        let expected: String = expected.iter().map(|word| format!("<{word}>")).collect();
        let outcome = desktop.launch(file, "Desktop Entry", &opened);
        assert_eq!(outcome.succeeds().stdout, expected, "{id}: {entry}");
        ran += 1;
    }
    std::fs::remove_file(&odd).expect("a file");
    assert!(ran >= 180, "{ran}");

    // No reader of entries has more against them than against those of the packages.
    let mut archive = Vec::new();
    for (id, file) in &files {
        let text = desktop.read(file);
        archive.extend(format!("{id} {}\n{text}", text.len()).bytes());
    }
    let worse = root(&name, &["python3", "-c", WORSE], &archive);
    assert_eq!(worse, "", "desktop-file-validate");
}

/// Lists what `desktop-file-validate` has against the entries on stdin and not against their
/// originals.
const WORSE: &str = r#"import subprocess, sys
def errors(path):
    said = subprocess.run(["desktop-file-validate", "--no-hints", path], capture_output=True, text=True).stdout
    lines = [line.split(": ", 1)[1] for line in said.splitlines() if ": " in line]
    return [line for line in lines if line.startswith("error")]
while head := sys.stdin.buffer.readline():
    name, length = head.decode().rsplit(" ", 1)
    path = "/tmp/" + name
    with open(path, "wb") as copy:
        copy.write(sys.stdin.buffer.read(int(length)))
    if len(errors(path)) > len(errors("/usr/share/applications/" + name)):
        print(name, errors(path))
"#;
