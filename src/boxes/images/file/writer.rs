//! Writes a tar archive that GNU tar unpacks: ustar headers, with PAX records where those are too
//! small (pax(1)).

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::entries::{Attributes, Xattrs};

/// What fits into a ustar header's fields for names, in bytes.
const NAME_FIELD: usize = 100;
/// What fits into its fields for ids.
const MOST_ID: u64 = 0o7_777_777;
/// What fits into its field for the size.
const MOST_SIZE: u64 = 0o77_777_777_777;
const BLOCK: u64 = 512;

/// What precedes an entry's content.
#[derive(Debug)]
pub struct Head<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The type.
    pub kind: EntryType,
    /// Where a link leads; empty for others.
    pub link: &'a [u8],
    /// The length of the content in bytes.
    pub size: u64,
    /// Owner, mode, time.
    pub attributes: Attributes,
    /// Extended attributes.
    pub xattrs: &'a Xattrs,
}

/// An archive that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// An archive that goes to `out`.
    pub fn new(out: W) -> Writer<W> {
        Writer { out }
    }

    /// Writes an entry without content.
    ///
    /// # Errors
    /// Those of the output.
    pub fn entry(&mut self, head: &Head<'_>) -> io::Result<()> {
        let mut records = Vec::new();
        let mut record = |key: &[u8], value: &[u8]| add_record(&mut records, key, value);
        if head.name.len() > NAME_FIELD {
            record(b"path", head.name);
        }
        if head.link.len() > NAME_FIELD {
            record(b"linkpath", head.link);
        }
        let Attributes { mode, uid, gid, mtime } = head.attributes;
        for (key, value, most) in
            [("size", head.size, MOST_SIZE), ("uid", uid, MOST_ID), ("gid", gid, MOST_ID)]
        {
            if value > most {
                record(key.as_bytes(), value.to_string().as_bytes());
            }
        }
        if mtime > MOST_SIZE {
            record(b"mtime", mtime.to_string().as_bytes());
        }
        for (name, value) in head.xattrs {
            record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            let header = header(b"PaxHeader", b"", EntryType::XHeader, size, Attributes::default());
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&records)?;
            self.pad(size)?;
        }
        let attributes = Attributes {
            mode,
            uid: uid.min(MOST_ID),
            gid: gid.min(MOST_ID),
            mtime: mtime.min(MOST_SIZE),
        };
        let header = header(head.name, head.link, head.kind, head.size.min(MOST_SIZE), attributes);
        self.out.write_all(header.as_bytes())
    }

    /// Writes an entry's content, of which there must be as much as its head said.
    ///
    /// # Errors
    /// Those of the output, and `UnexpectedEof` for less content.
    pub fn content(&mut self, size: u64, content: &mut dyn Read) -> io::Result<()> {
        if io::copy(&mut content.take(size), &mut self.out)? < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.next_multiple_of(BLOCK) - size) as usize;
        self.out.write_all(&[0; BLOCK as usize][..padding])
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        Ok(self.out)
    }
}

fn header(name: &[u8], link: &[u8], kind: EntryType, size: u64, attributes: Attributes) -> Header {
    let mut header = Header::new_ustar();
    let fields = header.as_old_mut();
    fields.name[..name.len().min(NAME_FIELD)].copy_from_slice(&name[..name.len().min(NAME_FIELD)]);
    fields.linkname[..link.len().min(NAME_FIELD)]
        .copy_from_slice(&link[..link.len().min(NAME_FIELD)]);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(attributes.mode);
    header.set_uid(attributes.uid);
    header.set_gid(attributes.gid);
    header.set_mtime(attributes.mtime);
    header.set_cksum();
    header
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn add_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let bare = key.len() + value.len() + 3;
    let mut length = bare;
    while length != bare + length.to_string().len() {
        length = bare + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::entries::{Entries, Entry, Kind};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let long = format!("{}name", "long/".repeat(40));
        let xattrs: Xattrs = (1..120).map(|n| (vec![b'k'; n], vec![0; n * 7])).collect();
        let big = Attributes { mode: 0o6755, uid: 4_000_000_000, gid: 3_000_000, mtime: 77 };
        let mut writer = Writer::new(Vec::new());
        for (name, kind, link, attributes, xattrs) in [
            (long.as_bytes(), EntryType::Regular, &b""[..], big, &xattrs),
            (b"s", EntryType::Symlink, long.as_bytes(), Attributes::default(), &Vec::new()),
        ] {
            let size = if kind == EntryType::Regular { 5 } else { 0 };
            writer.entry(&Head { name, kind, link, size, attributes, xattrs }).expect("a vector");
            writer.content(size, &mut &b"12345"[..]).expect("a vector");
        }
        let bytes = writer.finish().expect("a vector");
        let mut entries = Entries::streamed(&bytes[..]);
        let first = entries.next().expect("well-formed").expect("an entry");
        let name = long.clone().into_bytes();
        let link = Vec::new();
        assert_eq!(first, Entry { name, kind: Kind::File, link, size: 5, attributes: big, xattrs });
        let second = entries.next().expect("well-formed").expect("an entry");
        assert_eq!((second.kind, second.link), (Kind::Symlink, long.into_bytes()));
        assert!(entries.next().expect("well-formed").is_none());
    }
}
