//! Files of lines with colons between their fields: passwd(5), group(5), shadow(5), gshadow(5),
//! subuid(5).
//!
//! Only the lines that change are written anew; comments, blank and broken lines and those of NIS
//! (`+`, `-`) stay byte for byte. A new line goes before the first line of NIS, since everything
//! behind that counts as looked up already (nsswitch.conf(5), `compat`).

/// One such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    lines: Vec<Vec<u8>>,
    ends_in_newline: bool,
}

impl Table {
    /// Takes a file apart.
    pub fn parse(bytes: &[u8]) -> Table {
        let mut lines: Vec<Vec<u8>> =
            bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let ends_in_newline = lines.last().is_none_or(Vec::is_empty);
        if ends_in_newline {
            lines.pop();
        }
        Table { lines, ends_in_newline }
    }

    /// Puts it together again.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.lines.join(&b'\n');
        if self.ends_in_newline && !self.lines.is_empty() {
            bytes.push(b'\n');
        }
        bytes
    }

    /// The entries: their line numbers and fields.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Vec<&[u8]>)> {
        let is_entry = |line: &[u8]| !matches!(line.first(), None | Some(b'#' | b'+' | b'-'));
        self.lines
            .iter()
            .enumerate()
            .filter(move |(_, line)| is_entry(line))
            .map(|(at, line)| (at, fields(line)))
    }

    /// The line number of the first entry called `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.entries().find(|(_, fields)| fields[0] == name.as_bytes()).map(|(at, _)| at)
    }

    /// A field of a line, empty where the line is too short.
    pub fn field(&self, line: usize, field: usize) -> &[u8] {
        fields(&self.lines[line]).get(field).copied().unwrap_or_default()
    }

    /// A field of a line as text.
    pub fn text(&self, line: usize, field: usize) -> String {
        String::from_utf8_lossy(self.field(line, field)).into_owned()
    }

    /// A field of a line as a number.
    pub fn number(&self, line: usize, field: usize) -> Option<u32> {
        number(self.field(line, field))
    }

    /// Sets a field of a line; one that is as wanted is left alone.
    pub fn set(&mut self, line: usize, field: usize, value: &str) {
        if self.field(line, field) == value.as_bytes() {
            return;
        }
        let line = &mut self.lines[line];
        let end = if line.ends_with(b"\r") { &b"\r"[..] } else { b"" };
        let mut parts: Vec<Vec<u8>> = fields(line).into_iter().map(<[u8]>::to_vec).collect();
        parts.resize(parts.len().max(field + 1), Vec::new());
        parts[field] = value.as_bytes().to_vec();
        let mut changed = parts.join(&b':');
        changed.extend_from_slice(end);
        *line = changed;
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: &str) {
        let is_nis = |line: &Vec<u8>| matches!(line.first(), Some(b'+' | b'-'));
        let at = self.lines.iter().position(is_nis).unwrap_or(self.lines.len());
        if at == self.lines.len() {
            self.ends_in_newline = true;
        }
        self.lines.insert(at, entry.as_bytes().to_vec());
    }

    /// Adds `member` to the list in a field of a line.
    pub fn add_member(&mut self, line: usize, field: usize, member: &str) {
        let mut members = self.members(line, field);
        if !members.iter().any(|known| known == member) {
            members.push(member.to_owned());
            self.set(line, field, &members.join(","));
        }
    }

    /// Takes `member` out of the list in a field of a line.
    pub fn remove_member(&mut self, line: usize, field: usize, member: &str) {
        let mut members = self.members(line, field);
        if members.iter().any(|known| known == member) {
            members.retain(|known| known != member);
            self.set(line, field, &members.join(","));
        }
    }

    fn members(&self, line: usize, field: usize) -> Vec<String> {
        let text = self.text(line, field);
        text.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect()
    }
}

/// A decimal number, without a sign or spaces.
pub fn number(field: &[u8]) -> Option<u32> {
    if !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b':').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &[u8] = b"# comment:x:1:1\n\nroot:x:0:0:root:/root:/bin/sh\r\nbroken\n dev\n\xff:x:7:7\n+@staff:::\n+::::::";

    #[test]
    fn what_is_not_changed_stays_byte_for_byte() {
        for file in [&b""[..], b"\n", b"\n\n", b"a", b"a\n", b"a\n\nb", ODD] {
            assert_eq!(Table::parse(file).bytes(), file, "{file:?}");
        }
    }

    #[test]
    fn a_new_entry_stands_before_those_of_nis_and_ends_an_unfinished_line() {
        let mut table = Table::parse(ODD);
        table.add("dev:x:1000:1000::/home/dev:/bin/sh");
        let text = table.bytes();
        let new = b"\xff:x:7:7\ndev:x:1000:1000::/home/dev:/bin/sh\n+@staff:::\n+::::::";
        assert!(text.ends_with(new));
        let mut table = Table::parse(b"root:x:0:");
        table.add("dev:x:1000:");
        assert_eq!(table.bytes(), b"root:x:0:\ndev:x:1000:\n");
        let mut table = Table::parse(b"");
        table.add("dev:x:1000:");
        assert_eq!(table.bytes(), b"dev:x:1000:\n");
    }

    #[test]
    fn a_field_is_changed_alone_and_the_lines_ending_is_kept() {
        let mut table = Table::parse(ODD);
        let root = table.find("root").expect("root");
        table.set(root, 6, "/bin/bash");
        assert!(
            table.bytes().starts_with(b"# comment:x:1:1\n\nroot:x:0:0:root:/root:/bin/bash\r\n")
        );
        table.set(root, 8, "new");
        assert_eq!(table.text(root, 8), "new");
    }

    #[test]
    fn comments_and_lines_of_nis_are_no_entries() {
        let table = Table::parse(b"#dev:x:1:\n+dev:x:1:\n-dev:x:2:\ndev2:x:3:\n");
        assert_eq!(table.find("dev"), None);
        assert_eq!(table.entries().count(), 1);
        assert_eq!(table.find("dev2").and_then(|at| table.number(at, 2)), Some(3));
    }

    #[test]
    fn members_come_and_go_without_touching_the_others() {
        let mut table = Table::parse(b"sudo:x:27:ann,bob\nvideo:x:44:\n");
        table.add_member(0, 3, "dev");
        table.add_member(0, 3, "ann");
        table.add_member(1, 3, "dev");
        assert_eq!(table.bytes(), b"sudo:x:27:ann,bob,dev\nvideo:x:44:dev\n");
        table.remove_member(0, 3, "ann");
        table.remove_member(1, 3, "dev");
        assert_eq!(table.bytes(), b"sudo:x:27:bob,dev\nvideo:x:44:\n");
    }

    #[test]
    fn a_number_has_digits_only() {
        assert_eq!(number(b"1000"), Some(1000));
        assert_eq!(number(b"+5"), None);
        assert_eq!(number(b""), None);
        assert_eq!(number(b"4294967296"), None);
    }
}
