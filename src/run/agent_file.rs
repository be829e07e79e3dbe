//! The agent as a file: where it is on the host, where it goes in a box.
//!
//! Its name in the box holds a digest of its content, so "missing or of another version" is one
//! question with one answer, and two versions of incusbox can use one box side by side.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::incus::Client;

/// Directories in a box that the agent may live in, best first: one that survives a restart, then,
/// for a box whose root cannot be written, two that live in memory.
pub const PLACES: &[&str] = &["/usr/local/lib/incusbox", "/run/incusbox", "/dev/shm/incusbox"];

/// The agent that belongs to this program.
#[derive(Debug)]
pub struct AgentFile {
    path: PathBuf,
    name: String,
}

impl AgentFile {
    /// Finds it: `INCUSBOX_AGENT`, beside this program, or in `../libexec/incusbox` or
    /// `../lib/incusbox` from there.
    ///
    /// # Errors
    /// When it is in none of them.
    pub fn find() -> Result<AgentFile, Error> {
        let mut tried = Vec::new();
        if let Some(named) = std::env::var_os("INCUSBOX_AGENT").filter(|named| !named.is_empty()) {
            tried.push(PathBuf::from(named));
        } else if let Ok(own) = std::env::current_exe() {
            let directory = own.parent().unwrap_or(Path::new("/"));
            for place in ["", "../libexec/incusbox", "../lib/incusbox"] {
                tried.push(directory.join(place).join("incusbox-agent"));
            }
        }
        for path in &tried {
            if let Some(name) = name_of(path) {
                return Ok(AgentFile { path: path.clone(), name });
            }
        }
        Err(Error::AgentFile { tried })
    }

    /// Its path on the host.
    #[cfg(feature = "cli")]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path in a box, in the directory `place`.
    pub fn path_in(&self, place: &str) -> String {
        format!("{place}/{}", self.name)
    }

    /// Copies it into the stopped instance `name` at a path of the caller's, to be its init.
    ///
    /// # Errors
    /// When it cannot be read or Incus refuses it.
    #[cfg(feature = "cli")]
    pub fn push_as_init(&self, client: &mut Client, name: &str, path: &str) -> Result<(), Error> {
        let content = std::fs::read(&self.path)
            .map_err(|source| Error::Host { doing: "reading incusbox-agent", source })?;
        let refused = |source| Error::Push { name: name.to_owned(), source };
        for (at, _) in path.match_indices('/').skip(1) {
            client.make_directory(name, &path[..at]).map_err(refused)?;
        }
        client.push_program(name, path, &content).map_err(refused)
    }

    /// Copies it into the box `name`, under a temporary name: it moves itself to its own when it
    /// first runs, so that nobody ever executes half of it. Returns both paths.
    ///
    /// # Errors
    /// The last place's refusal, when none takes it.
    pub fn push(&self, client: &mut Client, name: &str) -> Result<(String, String), Error> {
        let content = std::fs::read(&self.path)
            .map_err(|source| Error::Host { doing: "reading incusbox-agent", source })?;
        let mut last = None;
        for place in PLACES {
            let path = self.path_in(place);
            let temporary = format!("{place}/.{}.{}", self.name, std::process::id());
            let made = client.make_directory(name, place);
            match made.and_then(|()| client.push_program(name, &temporary, &content)) {
                Ok(()) => return Ok((temporary, path)),
                Err(source) => {
                    // A full disk leaves a part of it behind, which would fill the disk for good.
                    let _was_never_there = client.remove_file(name, &temporary);
                    // Whatever state that left the connection in.
                    client.reconnect().map_err(Error::Incus)?;
                    last = last.or(Some(source));
                }
            }
        }
        let name = name.to_owned();
        Err(match last {
            Some(source) => Error::Push { name, source },
            None => Error::AgentFile { tried: Vec::new() },
        })
    }
}

/// The agent's name in a box. The linker wrote a digest of the whole program into it (its build id);
/// a file without one is read whole.
fn name_of(path: &Path) -> Option<String> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path).ok()?;
    let mut head = vec![0; 4096];
    let length = file.read_at(&mut head, 0).ok()?;
    let digest = match build_id(&head[..length]) {
        Some(id) => id.iter().take(10).map(|byte| format!("{byte:02x}")).collect(),
        None => {
            let mut hasher = DefaultHasher::new();
            std::fs::read(path).ok()?.hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        }
    };
    Some(format!("agent-{digest}"))
}

/// The build id in the head of an ELF file for 64 bits, little-endian: the note of type
/// NT_GNU_BUILD_ID (3) of owner "GNU" in a segment of type PT_NOTE (4). See elf(5).
fn build_id(elf: &[u8]) -> Option<&[u8]> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    };
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, entry, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for header in (0..count).filter_map(|index| table.checked_add(index * entry)) {
        if number(header, 4)? != 4 {
            continue;
        }
        let (mut at, size) = (number(header + 8, 8)?, number(header + 32, 8)?);
        let end = at.checked_add(size)?;
        while at + 12 <= end {
            let (owner, length, kind) = (number(at, 4)?, number(at + 4, 4)?, number(at + 8, 4)?);
            let content = at + 12 + owner.next_multiple_of(4);
            if kind == 3 && elf.get(at + 12..at + 16)? == b"GNU\0" {
                return elf.get(content..content.checked_add(length)?).filter(|id| !id.is_empty());
            }
            at = content.checked_add(length.next_multiple_of(4))?;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_found_in_a_program_and_nowhere_else() {
        let own = std::fs::read("/proc/self/exe").expect("own program");
        let id = build_id(&own[..4096.min(own.len())]);
        assert!(id.is_none_or(|id| id.len() >= 8), "{id:?}");
        for junk in [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01", &[0xff; 4096]] {
            assert_eq!(build_id(junk), None);
        }
        let mut huge = vec![0xff; 4096];
        huge[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(build_id(&huge), None);
    }
}
