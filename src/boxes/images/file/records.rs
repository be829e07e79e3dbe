//! The records that precede an entry of a tar archive: what does not fit into its header (pax(1),
//! "pax Extended Header").

use super::entries::Xattrs;
use super::error::Fault;

/// What stands in the records before an entry.
#[derive(Default)]
pub struct Records {
    /// The name, where it does not fit into the header.
    pub name: Option<Vec<u8>>,
    /// Where a link leads.
    pub link: Option<Vec<u8>>,
    /// The length of the content.
    pub size: Option<u64>,
    /// The user.
    pub uid: Option<u64>,
    /// The group.
    pub gid: Option<u64>,
    /// The time of change.
    pub mtime: Option<u64>,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Whether the content has holes, which are written in a form of its own.
    pub is_sparse: bool,
}

impl Records {
    /// Reads records `LENGTH KEY=VALUE\n`; LENGTH counts all of it.
    ///
    /// # Errors
    /// [`Fault::Damaged`].
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
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

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
