//! The form of a message of `incusbox-run`: its first line says what happened, to what and why; any
//! other says what to do about it. Tests of every kind hold messages against it.

/// What each line begins with.
const PREFIX: &str = "incusbox-run: ";
/// What a line that says what to do begins with.
const ADVICE: [&str; 22] = [
    "ask ",
    "check ",
    "copy ",
    "did you mean ",
    "do without ",
    "have ",
    "install ",
    "join",
    "let ",
    "log out ",
    "make ",
    "name ",
    "open ",
    "or have ",
    "put ",
    "remove ",
    "resume ",
    "run ",
    "see ",
    "see: ",
    "start ",
    "write ",
];

/// What is wrong with the form of what stderr says; nothing if that is one message.
pub fn fault(stderr: &str) -> Option<String> {
    let lines: Option<Vec<&str>> = stderr.lines().map(|line| line.strip_prefix(PREFIX)).collect();
    let Some(lines) = lines else { return Some("a line is not the program's own".to_owned()) };
    let is_advice = |line: &str| ADVICE.iter().any(|begin| line.starts_with(begin));
    match lines.as_slice() {
        [] => Some("nothing is said".to_owned()),
        [cause, ..] if cause.is_empty() || is_advice(cause) => {
            Some(format!("`{cause}` is no cause"))
        }
        [_, rest @ ..] => {
            let other = rest.iter().find(|line| !is_advice(line))?;
            Some(format!("`{other}` does not say what to do"))
        }
    }
}
