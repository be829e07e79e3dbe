//! What comes with a shim: the manual page of its command, and completions.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::boxes::images::file::compression::Compression;
use crate::names::BoxName;

/// Where completions of bash go, below the data directory.
const BASH: &str = "bash-completion/completions";
/// And those of fish.
const FISH: &str = "fish/vendor_completions.d";
/// Where all this goes, below the data directory. man-db derives the places of manual pages from
/// `~/.local/bin`; the sections are those of commands, and games.
pub const DIRECTORIES: [&str; 5] = [BASH, FISH, "man/man1", "man/man8", "man/man6"];

/// Which command of which box it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What it is called on the host.
    pub called: &'a str,
    /// The box.
    pub name: &'a BoxName,
    /// Its project, where that is not what `incusbox-run` finds by itself.
    pub project: Option<&'a str>,
    /// `incusbox-run`, by its path.
    pub runner: &'a str,
    /// The command's path in the box.
    pub command: &'a str,
}

/// The path of a manual page below the data directory, `man/man1/rg.1.gz`; `None` for what cannot be
/// one of this command.
pub fn manual(called: &str, file: &str, bytes: &[u8]) -> Option<PathBuf> {
    let rest = file.strip_prefix(called)?.strip_prefix('.')?;
    let section = rest.chars().next().filter(char::is_ascii_digit)?;
    let directory = format!("man/man{section}");
    let is_place = DIRECTORIES.contains(&&*directory);
    let (_, packed) = rest.split_once('.').unwrap_or((rest, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    let is_sound = rest.len() <= 20 && rest.chars().all(|c| is_plain(c) || c == '.');
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    let is_packed_so = match packed {
        "" => !bytes.contains(&0),
        "gz" => begins(b"\x1f\x8b"),
        "bz2" => begins(b"BZh"),
        "xz" => begins(b"\xfd7zXZ\0"),
        "zst" => begins(b"\x28\xb5\x2f\xfd"),
        _ => false,
    };
    let is_one = is_place && is_name(called) && is_sound && is_packed_so && !is_stub(bytes);
    is_one.then(|| Path::new(&directory).join(file))
}

/// Whether it is nothing but the name of another page, which is not on the host.
fn is_stub(bytes: &[u8]) -> bool {
    let mut begin = Vec::new();
    let read = Compression::of(bytes).reader(bytes).take(256).read_to_end(&mut begin);
    let mut lines = begin.split(|b| *b == b'\n');
    read.is_err() || lines.any(|line| line.starts_with(b".so ") && begin.len() < 256)
}

/// Whether files can be called as a command, and shells have no other meaning for it.
fn is_name(called: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"_.+-".contains(&b);
    called.len() <= 100 && !called.starts_with(['-', '.']) && called.bytes().all(is_letter)
}

/// A function's name for it that means nothing else to any shell: `g++()` would be a pattern.
fn function(called: &str) -> String {
    let letter = |b: u8| match b.is_ascii_alphanumeric() {
        true => char::from(b).to_string(),
        false => format!("_{b:02x}"),
    };
    "_incusbox_".chars().map(String::from).chain(called.bytes().map(letter)).collect()
}

/// The completions, by their paths below the data directory.
pub fn completions(subject: &Subject<'_>) -> Vec<(PathBuf, String)> {
    let Subject { called, name, project, runner, command } = *subject;
    let asked = Path::new(runner).with_file_name("incusbox");
    let words = [asked.to_str().unwrap_or_default(), command, project.unwrap_or_default()];
    let is_plain =
        |word: &&str| !word.contains(['\'', '\\']) && !word.chars().any(char::is_control);
    if !is_name(called) || !words.iter().all(is_plain) {
        return Vec::new();
    }
    let project = project.map(|project| format!(" '--project={project}'")).unwrap_or_default();
    let ask = format!("'{}' complete{project}", asked.display());
    let function = function(called);
    let made = "# Made by incusbox; what is changed here is set aside.";
    let bash = format!(
        "{made}
# In the command's own box, whose home is shared: not this, but what the box itself has.
[ \"${{INCUSBOX_BOX-}}\" != '{name}' ] || return 1
function {function} {{
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            # Not in zsh's bashcompinit.
            :*) ! type compopt >/dev/null 2>&1 || compopt -o \"${{line#:}}\" ;;
            =*) COMPREPLY+=(\"${{line#=}}\") ;;
        esac
    done < <({ask} '{name}' '{command}' \"$COMP_CWORD\" \"$COMP_POINT\" \"$COMP_LINE\" \"${{COMP_WORDS[@]}}\" 2>/dev/null)
}}
complete -o bashdefault -o default -F {function} '{called}'
"
    );
    let fish = format!(
        "{made}
if test \"$INCUSBOX_BOX\" = '{name}'
    # The home is shared, and this is the command's own box.
    for own in $__fish_data_dir/completions /usr/local/share/{FISH} /usr/share/{FISH}
        test -r $own/'{called}.fish'; and source $own/'{called}.fish'
    end
else
    function {function}
        set -l words (commandline -opc) (commandline -ct)
        set -l line (string join ' ' -- $words)
        {ask} --plain '{name}' '{command}' (math (count $words) - 1) (string length -- $line) $line $words 2>/dev/null
    end
    complete --command '{called}' --arguments '({function})'
end
"
    );
    vec![
        (Path::new(BASH).join(called), bash),
        (Path::new(FISH).join(format!("{called}.fish")), fish),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `.so man1/other.1`, by zstd and xz.
    const ZSTD_STUB: [u8; 30] =
        *b"\x28\xb5\x2f\xfd\x04\x68\x89\0\0.so man1/other.1\n\xa4\xac\x46\x4e";
    const XZ_STUB: [u8; 76] = *b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01\x16\0\0\0\x74\x2f\xe5\xa3\x01\0\x10.so man1/other.1\n\0\0\0\0\x35\x91\x6d\x75\x2f\x6f\x56\x98\0\x01\x29\x11\x32\x0a\x70\x0e\x1f\xb6\xf3\x7d\x01\0\0\0\0\x04YZ";

    #[test]
    fn a_manual_page_is_one_of_the_command() {
        let of = |file: &str, bytes: &[u8]| {
            manual("rg", file, bytes).map(|path| path.display().to_string())
        };
        assert_eq!(of("rg.1", b".TH RG 1\n").as_deref(), Some("man/man1/rg.1"));
        let packed = |text: &[u8], level| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), level);
            std::io::Write::write_all(&mut packer, text).expect("memory");
            packer.finish().expect("memory")
        };
        let best = flate2::Compression::best();
        let page = packed(b".TH RG 1\n", best);
        assert_eq!(of("rg.1.gz", &page).as_deref(), Some("man/man1/rg.1.gz"));
        assert_eq!(of("rg.1.gz", &packed(b".so man1/other.1\n", best)), None);
        assert_eq!(of("rg.1.zst", &ZSTD_STUB), None);
        assert_eq!(of("rg.1.xz", &XZ_STUB), None);
        for (file, bytes) in [
            ("rg.1/../../x", &b".TH"[..]),
            ("grep.1", b".TH"),
            ("rg.3", b".TH"),
            ("rg.1.gz", b".TH"),
            ("rg.1", b".so man1/other.1\n"),
            ("rg.1", b"\0"),
        ] {
            assert_eq!(of(file, bytes), None, "{file}");
        }
        assert_eq!(manual("../rg", "../rg.1", b".TH"), None);
    }

    #[test]
    fn a_completion_names_only_what_has_no_meaning_for_a_shell() {
        let name = BoxName::new("dev").expect("a name");
        let runner = "/usr/bin/incusbox-run";
        let of = |called, command| {
            completions(&Subject { called, name: &name, project: Some("work"), runner, command })
        };
        let made = of("g++", "/usr/bin/g++");
        assert!(made[0].1.contains(
            "'/usr/bin/incusbox' complete '--project=work' 'dev' '/usr/bin/g++' \"$COMP_CWORD\""
        ));
        assert!(made[0].1.contains("function _incusbox_g_2b_2b {"), "{}", made[0].1);
        assert_eq!(made.len(), 2);
        for (called, command) in [("a b", "/a b"), ("$(x)", "/x"), ("x", "/it's"), ("-x", "/x")] {
            assert_eq!(of(called, command), [], "{called}");
        }
    }
}
