//! The entries of a tar archive, one after another, with bounded memory.
//!
//! The crate `tar` reads headers, but gives long names and PAX records (pax(1), "pax Extended
//! Header") as much memory as they ask for, which in a stranger's archive is any amount. So its
//! headers are used, and what holds them together is here.

use std::io::{self, Read};

use tar::Header;

use super::error::Fault;

/// The most that the records before one entry may have, in bytes: a path of 4096, and xattrs.
const MOST_RECORDS: u64 = 1 << 20;
/// The longest name that Linux has, in bytes.
const MOST_NAME: usize = 4096;
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
}

/// The owner, mode and time of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Mode with the set-id and sticky bits, without the type.
    pub mode: u32,
    /// User.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Time of change, in seconds since 1970.
    pub mtime: u64,
}

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name as it stands there.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// The length of its content, in bytes.
    pub size: u64,
    /// Owner, mode, time.
    pub attributes: Attributes,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// What a skip does with a reader.
type Skip<R> = fn(&mut R, u64) -> io::Result<()>;

/// Reads an archive; after [`Entries::next`] it reads the content of that entry.
pub struct Entries<R> {
    source: R,
    skip: Skip<R>,
    /// What is left of the present entry's content, in bytes.
    left: u64,
    /// What fills its last block up.
    padding: u64,
}

/// What stands in the records before an entry.
#[derive(Default)]
struct Records {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
    xattrs: Xattrs,
    is_sparse: bool,
}

/// Whether an archive begins like this: old ones have no magic, but all have a checksum.
pub fn begins(head: &[u8]) -> bool {
    let Some(block) = head.get(..BLOCK) else { return false };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    Header::from_byte_slice(block).cksum().is_ok_and(|expected| expected == sum)
}

impl<R: Read> Entries<R> {
    /// An archive that can only be read from its beginning to its end.
    pub fn streamed(source: R) -> Entries<R> {
        Entries::new(source, |source, count| {
            let skipped = io::copy(&mut source.by_ref().take(count), &mut io::sink())?;
            if skipped < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        })
    }

    /// An archive in which content is left out by `skip`.
    pub fn new(source: R, skip: Skip<R>) -> Entries<R> {
        Entries { source, skip, left: 0, padding: 0 }
    }

    /// What the archive is read from.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// The next entry; `None` at the end of the archive.
    ///
    /// # Errors
    /// For what is no tar archive, and for one that asks for too much.
    pub fn next(&mut self) -> Result<Option<Entry>, Fault> {
        let mut records = Records::default();
        let mut size_of_records = 0;
        loop {
            let rest = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding);
            (self.skip)(&mut self.source, rest).map_err(cut_off)?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(damaged)?;
            let kind = header.entry_type();
            let is_record = matches!(kind.as_byte(), b'x' | b'g' | b'X' | b'L' | b'K');
            if is_record {
                size_of_records += size;
                if size_of_records > MOST_RECORDS {
                    return Err(Fault::TooMuch("an entry with more than 1 MiB of attributes"));
                }
            }
            self.begin(if is_record { size } else { records.size.unwrap_or(size) });
            if !is_record {
                return self.entry(&header, records).map(Some);
            }
            let mut content = Vec::new();
            self.read_to_end(&mut content).map_err(Fault::Read)?;
            match kind.as_byte() {
                b'L' => records.name = Some(until_nul(content)),
                b'K' => records.link = Some(until_nul(content)),
                // Global records hold comments of git and the like.
                b'g' => {}
                _ => records.read(&content)?,
            }
        }
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64).saturating_sub(size);
    }

    /// A header; `None` at the end, which is a block of zeros, or nothing at all.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !begins(&block) {
            return Err(Fault::Damaged("a header of the archive has a wrong checksum".to_owned()));
        }
        Ok(Some(Header::from_byte_slice(&block).clone()))
    }

    fn entry(&mut self, header: &Header, records: Records) -> Result<Entry, Fault> {
        let name = records.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let link = link.unwrap_or_default();
        if name.len() > MOST_NAME || link.len() > MOST_NAME {
            return Err(Fault::TooMuch("a name of more than 4096 bytes"));
        }
        let unsupported = |what| Err(Fault::Unsupported { entry: name.clone(), what });
        if records.is_sparse {
            return unsupported("it is sparse; make the archive without --sparse");
        }
        let kind = match header.entry_type().as_byte() {
            // Before POSIX a directory was a file with a slash at its end.
            b'0' | 0 if name.ends_with(b"/") => Kind::Directory,
            b'0' | b'7' | 0 => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return unsupported("it is sparse; make the archive without --sparse"),
            _ => return unsupported("it is of a kind that is not known"),
        };
        if kind != Kind::File && header.entry_type().as_byte() != b'5' {
            // Some archives give a hard link the size of its file, without content.
            self.begin(0);
        }
        let old = header.as_old();
        let attributes = Attributes {
            mode: filled(&old.mode, header.mode())? as u32 & 0o7777,
            uid: records.uid.map_or_else(|| filled(&old.uid, header.uid()), Ok)?,
            gid: records.gid.map_or_else(|| filled(&old.gid, header.gid()), Ok)?,
            // Some archives have times before 1970, which a header cannot hold.
            mtime: records.mtime.unwrap_or_else(|| header.mtime().unwrap_or(0)),
        };
        let xattrs = records.xattrs;
        Ok(Entry { name, kind, link, size: self.left, attributes, xattrs })
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.source.read(&mut buffer[..length])?;
        if count == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl Records {
    /// Reads records `LENGTH KEY=VALUE\n`; LENGTH counts all of it.
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        let damaged =
            || Fault::Damaged("an extended header of the archive is malformed".to_owned());
        while !bytes.is_empty() && bytes[0] != 0 {
            let space = bytes.iter().position(|b| *b == b' ').ok_or_else(damaged)?;
            let length = number(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length > space + 1).ok_or_else(damaged)?;
            let record = bytes.get(space + 1..length).ok_or_else(damaged)?;
            let record = record.strip_suffix(b"\n").ok_or_else(damaged)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(damaged)?;
            self.take(&record[..equals], &record[equals + 1..])?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let whole = || {
            number(value.split(|b| *b == b'.').next().unwrap_or_default())
                .ok_or_else(|| Fault::Damaged("a number in an extended header is none".to_owned()))
        };
        match key {
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(whole()?),
            b"uid" => self.uid = Some(whole()?),
            b"gid" => self.gid = Some(whole()?),
            b"mtime" => self.mtime = whole().ok(),
            _ => {
                self.is_sparse |= key.starts_with(b"GNU.sparse.");
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// A number of a header; many programs leave a field empty for zero.
fn filled<T: Into<u64>>(field: &[u8], number: io::Result<T>) -> Result<u64, Fault> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    number.map(Into::into).map_err(damaged)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn damaged(error: io::Error) -> Fault {
    Fault::Damaged(error.to_string())
}

fn cut_off(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Fault::Damaged("the archive ends in the middle of an entry".to_owned())
        }
        _ => Fault::Read(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(size);
        header.set_mode(0o104755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, kind, content.len() as u64);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Fault> {
        let mut entries = Entries::streamed(bytes);
        let mut all = Vec::new();
        while let Some(entry) = entries.next()? {
            let mut content = Vec::new();
            // Every second one is left unread.
            if all.len() % 2 == 0 {
                entries.read_to_end(&mut content).map_err(Fault::Read)?;
            }
            all.push((entry, content));
        }
        Ok(all)
    }

    #[test]
    fn entries_have_their_long_names_attributes_and_content() {
        let long = "d/".repeat(150) + "f";
        let records = format!(
            "{} path={long}\n18 uid=3000000000\n15 gid=4000000\n20 mtime=1234.56789\n",
            // 3 digits, a space, `path=`, a newline.
            long.len() + 10
        );
        let xattr = b"34 SCHILY.xattr.security.x=\0=\nbin\n".to_vec();
        let bytes = [
            entry("a", b'0', b"content"),
            entry("skipped", b'0', &[1; 1000]),
            entry("x", b'x', &[records.as_bytes(), &xattr[..]].concat()),
            entry("short", b'0', b"!"),
            entry("L", b'L', b"gnu/long/name\0"),
            entry("short", b'5', b""),
            vec![0; 1024],
        ]
        .concat();
        let all = read(&bytes).expect("well-formed");
        assert_eq!(all.len(), 4);
        assert_eq!((all[0].0.name.as_slice(), all[0].1.as_slice()), (&b"a"[..], &b"content"[..]));
        assert_eq!(all[0].0.attributes, Attributes { mode: 0o4755, uid: 7, gid: 8, mtime: 9 });
        assert_eq!(all[2].0.name, long.as_bytes());
        let attributes =
            Attributes { mode: 0o4755, uid: 3_000_000_000, gid: 4_000_000, mtime: 1234 };
        assert_eq!(all[2].0.attributes, attributes);
        assert_eq!(all[2].0.xattrs, [(b"security.x".to_vec(), b"\0=\nbin".to_vec())]);
        assert_eq!(
            (all[3].0.name.as_slice(), all[3].0.kind),
            (&b"gnu/long/name"[..], Kind::Directory)
        );
        assert!(all[3].0.xattrs.is_empty(), "records are for one entry");
    }

    #[test]
    fn an_archive_that_is_cut_off_or_changed_is_damaged() {
        let bytes = entry("a", b'0', &[7; 700]);
        for length in [1, 511, 513, 1100] {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut changed = bytes;
        changed[3] = b'x';
        assert!(matches!(read(&changed), Err(Fault::Damaged(_))));
    }

    #[test]
    fn records_without_bound_are_refused_before_they_are_read() {
        for kind in [b'x', b'L', b'K', b'g'] {
            let bytes = header("x", kind, 1 << 40);
            assert!(matches!(read(&bytes), Err(Fault::TooMuch(_))), "{kind}");
        }
        let many = entry("x", b'x', &b"9 abc=de\n".repeat(50_000)).repeat(3);
        assert!(matches!(read(&many), Err(Fault::TooMuch(_))));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in ["x", "5 ab\n", "99 a=b\n", "3 a=b\n", "-1 a=b\n", "7 size=\n", "0 =\n"] {
            let bytes = [entry("x", b'x', bad.as_bytes()), entry("a", b'0', b"")].concat();
            assert!(read(&bytes).is_err(), "{bad}");
        }
        let sparse = entry("x", b'x', b"22 GNU.sparse.major=1\n");
        let sparse = [sparse, entry("a", b'0', b"")].concat();
        assert!(matches!(read(&sparse), Err(Fault::Unsupported { .. })));
    }
}
