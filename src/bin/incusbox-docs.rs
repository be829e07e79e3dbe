//! `incusbox-docs DIR`: writes man page and completions from the definition of the command line.
//!
//! It runs when incusbox is built and is not installed. What a definition cannot know is written by
//! hand in `man/` and `completions/`, with a `@NAME@` where something generated belongs.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use incusbox::agent::protocol::desktop::Switch;
use incusbox::cli;
use incusbox::run::{arguments, environment};

const PAGE: &str = include_str!("../../man/incusbox-run.1.in");
const BASH: &str = include_str!("../../completions/boxes.bash");
const ZSH: &str = include_str!("../../completions/boxes.zsh");
const FISH: &str = include_str!("../../completions/boxes.fish");
const FISH_NAMES: &str = include_str!("../../completions/names.fish");
/// By one of its other names, `incusbox-enter`, all is as with the subcommand.
const ZSH_CALLED_AS: &str = r#"    if [[ $service == incusbox-* ]]; then
        words=(incusbox "${service#incusbox-}" "${(@)words[2,-1]}")
        (( CURRENT += 1 ))
    fi
"#;
const INCUSBOX_PAGE: &str = include_str!("../../man/incusbox.1.in");
const INCUSBOX_BASH: &str = include_str!("../../completions/incusbox.bash");
const INCUSBOX_FISH: &str = include_str!("../../completions/incusbox.fish");

fn main() -> ExitCode {
    let result = match std::env::args_os().nth(1) {
        Some(directory) => write_all(Path::new(&directory)),
        None => Err(io::Error::other("usage: incusbox-docs DIR")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_to_tell = writeln!(io::stderr(), "incusbox-docs: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes everything below `directory`, under the names that it is installed by.
fn write_all(directory: &Path) -> io::Result<()> {
    let run = arguments::definition;
    let mut files = vec![
        ("man/incusbox-run.1".to_owned(), page()?),
        ("bash/incusbox-run".to_owned(), generated(Shell::Bash, run())? + BASH),
        ("zsh/_incusbox-run".to_owned(), zsh(run(), &["The box to run in"])?),
        ("fish/incusbox-run.fish".to_owned(), fish(run(), FISH)?),
        ("bash/incusbox".to_owned(), bash()?),
        ("zsh/_incusbox".to_owned(), zsh(cli::shown(), &["The box", "The boxes", ":BOX"])?),
        ("fish/incusbox.fish".to_owned(), fish(cli::shown(), INCUSBOX_FISH)?),
    ];
    files.extend(cli::LINKS.map(|link| {
        let wraps = format!("complete -c incusbox-{link} --wraps 'incusbox {link}'\n");
        (format!("fish/incusbox-{link}.fish"), wraps)
    }));
    files.extend(incusbox_pages()?);
    for (name, content) in files {
        let path = directory.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, content).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// The man page: the hand-written one with options, variables and version put in.
fn page() -> io::Result<String> {
    let mut options = Vec::new();
    Man::new(arguments::definition().mut_args(brief)).render_options_section(&mut options)?;
    let options = String::from_utf8(options).map_err(io::Error::other)?;
    let page = put(PAGE, "@VERSION@", env!("CARGO_PKG_VERSION"))?;
    let page = put(&page, "@OPTIONS@\n", &options)?;
    let page = put(&page, "@PASSED@\n", &passed())?;
    put(&page, "@SESSION@\n", &of_session())
}

/// `--tty <auto|always|never>`, in place of a list of three words below it.
fn brief(argument: Arg) -> Arg {
    let values = argument.get_possible_values();
    if values.is_empty() || !argument.get_action().takes_values() {
        return argument;
    }
    let names: Vec<_> = values.iter().map(|value| value.get_name().to_owned()).collect();
    // clap keeps names for the life of the program, which is short.
    let values: &'static str = names.join("|").leak();
    argument.value_name(values).hide_possible_values(true)
}

/// The variables that are taken over, as tagged paragraphs.
fn passed() -> String {
    let mut text = String::new();
    for (purpose, names) in environment::PASSED {
        // `\%` keeps a name from being hyphenated.
        let names: Vec<_> = names.iter().map(|name| format!("\\%{name}")).collect();
        text.push_str(&format!(".TP\n{}\n{}\n", escaped(purpose), names.join(", ")));
    }
    text
}

/// The variables of the session, each below the switch that it belongs to.
fn of_session() -> String {
    let mut text = String::new();
    for switch in Switch::ALL.into_iter().filter(|switch| switch.needs_session()) {
        let names: Vec<_> = switch.variables().iter().map(|name| format!("\\%{name}")).collect();
        text.push_str(&format!(".TP\n{}\n{}\n", escaped(switch.name()), names.join(", ")));
    }
    text
}

/// A hyphen that stays one: roff makes a bare `-` a typographic hyphen.
fn escaped(text: &str) -> String {
    text.replace('-', "\\-")
}

/// The pages of incusbox and of each of its subcommands.
fn incusbox_pages() -> io::Result<Vec<(String, String)>> {
    let mut whole = cli::shown();
    whole.build();
    // `incusbox run` is described where incusbox-run is.
    let subcommands: Vec<_> =
        whole.get_subcommands().filter(|one| one.get_name() != "run").cloned().collect();
    let names: Vec<String> =
        subcommands.iter().map(|one| format!("incusbox-{}", one.get_name())).collect();
    let reference = |name: &String| format!(".BR {} (1),", escaped(name));
    let pages = names.iter().map(reference).collect::<Vec<_>>().join("\n");
    let rest = put(INCUSBOX_PAGE, "@PAGES@", &pages)?;
    let mut out = vec![("man/incusbox.1".to_owned(), rendered(whole.mut_args(brief))? + &rest)];
    for (subcommand, name) in subcommands.into_iter().zip(&names) {
        let title: &'static str = name.clone().leak();
        let own = subcommand.name(title).bin_name(title).display_name(title).mut_args(brief);
        let see = ".SH SEE ALSO\n.BR incusbox (1),\n.BR incusbox\\-run (1)\n";
        out.push((format!("man/{name}.1"), rendered(own)? + see));
    }
    Ok(out)
}

/// A whole page made from a definition alone.
fn rendered(command: Command) -> io::Result<String> {
    let mut out = Vec::new();
    let man = Man::new(command.version(env!("CARGO_PKG_VERSION"))).manual("User Commands");
    man.render(&mut out)?;
    String::from_utf8(out).map_err(io::Error::other)
}

fn generated(shell: Shell, command: Command) -> io::Result<String> {
    let mut out = Vec::new();
    let (mut command, name) = (command.clone(), command.get_name().to_owned());
    clap_complete::generate(shell, &mut command, name, &mut out);
    String::from_utf8(out).map_err(io::Error::other)
}

/// The names that incusbox is called by as one of its subcommands.
fn links() -> String {
    cli::LINKS.map(|link| format!("incusbox-{link}")).join(" ")
}

fn bash() -> io::Result<String> {
    Ok(generated(Shell::Bash, cli::shown())? + &put(INCUSBOX_BASH, "@LINKS@", &links())?)
}

fn fish(command: Command, own: &str) -> io::Result<String> {
    Ok(generated(Shell::Fish, command)? + FISH_NAMES + own)
}

/// zsh: one function must do all, so the action for boxes, by what these are called, is changed in
/// the generated one, and what it begins with.
fn zsh(command: Command, boxes: &[&str]) -> io::Result<String> {
    let name = command.get_name().to_owned();
    let mut script = generated(Shell::Zsh, command)?;
    for about in boxes {
        let default = format!("{about}:_default'");
        script = put(&script, &default, &format!("{about}:_incusbox_boxes'"))?;
    }
    let head = format!("\n_{name}() {{\n");
    let mut begin = format!("{head}    local -a typed\n    typed=(\"${{(@)words}}\")\n");
    if name == "incusbox" {
        begin.push_str(ZSH_CALLED_AS);
        // One that may be left out would be offered together with what can stand in its place.
        script = put(&script, "'::box -- ", "':box -- ")?;
        for names in ["#compdef incusbox\n", "    compdef _incusbox incusbox\n"] {
            let all = format!("{} {}\n", names.trim_end(), links());
            script = put(&script, names, &all)?;
        }
    }
    let script = put(&script, &head, &begin)?;
    // Directly behind the `#compdef` line, which must be the first.
    let (first, rest) =
        script.split_once('\n').ok_or_else(|| io::Error::other("no zsh completion"))?;
    Ok(format!("{first}\n\n{ZSH}{rest}"))
}

/// Replaces `what`, which must be there: otherwise the generator has changed its form.
fn put(text: &str, what: &str, with: &str) -> io::Result<String> {
    if !text.contains(what) {
        return Err(io::Error::other(format!("`{}` is nowhere to be replaced", what.trim_end())));
    }
    Ok(text.replace(what, with))
}
