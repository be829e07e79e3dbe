//! One voice on stderr: every line starts with the program's name, and nothing that came out of a
//! box or from the daemon reaches the terminal with control characters in it.

use std::fmt::Display;
use std::io::Write;

/// Writes `NAME: TEXT` to stderr, whole lines only. Where stderr is gone there is nobody to tell.
pub fn say(program: &str, text: impl Display) {
    let text = text.to_string();
    let mut out = String::new();
    for line in text.lines() {
        out.push_str(program);
        out.push_str(": ");
        out.push_str(&printable(line));
        out.push_str(if crate::sys::terminal::is_raw() { "\r\n" } else { "\n" });
    }
    let _nobody_to_tell = std::io::stderr().lock().write_all(out.as_bytes());
}

/// `text` with everything replaced that could change what a terminal shows of the rest: control
/// characters (C0, C1, DEL) and the characters that turn the direction of writing.
pub fn printable(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
    };
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// Bytes from a box as text that is safe to show.
pub fn printable_bytes(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_box_can_move_the_cursor_or_turn_the_text() {
        let shown = printable_bytes(b"a\x1b[2Jb\rc\xc2\x9bd\xffe\xe2\x80\xaef");
        assert_eq!(shown, "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}f");
        assert_eq!(printable("Grüße, 世界"), "Grüße, 世界");
    }
}
