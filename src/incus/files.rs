//! The files API: files of an instance, read and written.
//!
//! Incus has a process for them in each instance that somebody asks (`incusd forkfile`), and that ends
//! when nobody asked for 10 to 15 s. Whoever asks in the moment of its end gets the failure of
//! Incus's connection to it. Asked again, Incus starts another.

use std::time::Duration;

use super::client::{Client, PATIENCE, decode, percent_encode};
use super::error::Error;
use super::http;

/// How long an answer that was sent before the end of the request may take.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// How often Incus is asked again when the process for files ended, and how long after.
const TRIES_AGAIN: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

impl Client {
    /// Makes a directory of root's, mode 0755; one that exists stays as it is.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn make_directory(&mut self, name: &str, path: &str) -> Result<(), Error> {
        let made = self.post_file(
            "making a directory in the box",
            name,
            path,
            &[("X-Incus-type", "directory"), ("X-Incus-mode", "0755")],
            b"",
        );
        match made {
            // Incus looks first and makes it then; somebody else was in between.
            Err(error) if error.text().is_some_and(|text| text.contains("file exists")) => Ok(()),
            other => other,
        }
    }

    /// Writes a file of root's that everybody may execute, replacing what is there.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn push_program(&mut self, name: &str, path: &str, content: &[u8]) -> Result<(), Error> {
        self.post_file(
            "copying the agent into the box",
            name,
            path,
            &[("X-Incus-type", "file"), ("X-Incus-mode", "0755")],
            content,
        )
    }

    /// Writes a file of root's that everybody may read, replacing what is there.
    ///
    /// # Errors
    /// Everything in [`Error`].
    #[cfg(feature = "cli")]
    pub fn push_file(&mut self, name: &str, path: &str, content: &[u8]) -> Result<(), Error> {
        self.post_file(
            "writing a file of the box",
            name,
            path,
            &[("X-Incus-type", "file"), ("X-Incus-mode", "0644")],
            content,
        )
    }

    /// Reads a file; `None` where there is none.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn read_file(&mut self, name: &str, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let doing = "reading a file of the box";
        let request = http::request("GET", &self.file_target(name, path), &[], b"");
        self.again_if_left(|client| {
            client.send(doing, &request)?;
            let response = client.receive(doing, PATIENCE)?;
            match response.status {
                200 => Ok(Some(response.body)),
                404 => Ok(None),
                _ => decode::<serde::de::IgnoredAny>(doing, &response).map(|_| None),
            }
        })
    }

    /// Whether there is something at `path`: of a directory followed by `/.` whether it is one, or a
    /// link to one.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn file_exists(&mut self, name: &str, path: &str) -> Result<bool, Error> {
        let doing = "looking for a file of the box";
        let request = http::request("HEAD", &self.file_target(name, path), &[], b"");
        for tried in 0..=TRIES_AGAIN {
            self.send(doing, &request)?;
            match self.receive_head(doing)?.status {
                200 => return Ok(true),
                404 => return Ok(false),
                500 if tried < TRIES_AGAIN => std::thread::sleep(BETWEEN_TRIES),
                _ => break,
            }
        }
        // An answer to HEAD does not say why.
        match self.read_file(name, path) {
            Err(error) if error.text().is_some_and(is_no_place) => Ok(false),
            answer => answer.map(|found| found.is_some()),
        }
    }

    /// What `ask` gives, which is asked again when the process for files had ended.
    fn again_if_left<T>(
        &mut self,
        ask: impl Fn(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..TRIES_AGAIN {
            match ask(self) {
                Err(error) if error.text().is_some_and(has_left) => {
                    std::thread::sleep(BETWEEN_TRIES);
                }
                answer => return answer,
            }
        }
        ask(self)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn remove_file(&mut self, name: &str, path: &str) -> Result<(), Error> {
        let doing = "removing a file of the box";
        let target = self.file_target(name, path);
        self.again_if_left(|client| {
            client.call::<serde::de::IgnoredAny>(doing, "DELETE", &target, b"").map(|_| ())
        })
    }

    fn file_target(&self, name: &str, path: &str) -> String {
        self.target(
            &format!("/1.0/instances/{name}/files"),
            &format!("path={}", percent_encode(path)),
        )
    }

    fn post_file(
        &mut self,
        doing: &'static str,
        name: &str,
        path: &str,
        kind: &[(&str, &str)],
        content: &[u8],
    ) -> Result<(), Error> {
        let mut headers = vec![
            ("Content-Type", "application/octet-stream"),
            ("X-Incus-uid", "0"),
            ("X-Incus-gid", "0"),
            ("X-Incus-write", "overwrite"),
        ];
        headers.extend_from_slice(kind);
        let request = http::request("POST", &self.file_target(name, path), &headers, content);
        self.again_if_left(|client| client.post(doing, &request))
    }

    fn post(&mut self, doing: &'static str, request: &[u8]) -> Result<(), Error> {
        // Incus refuses a file before it has read all of it (a full disk), and closes: the answer is
        // there to be read all the same, but the connection is spent.
        let sent = self.send(doing, request);
        let patience = if sent.is_ok() { PATIENCE } else { AFTER_REFUSAL };
        let answer = self.receive(doing, patience);
        if sent.is_err() || answer.is_err() {
            self.reconnect()?;
        }
        let response = match (answer, sent) {
            (Ok(response), _) => response,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        decode::<serde::de::IgnoredAny>(doing, &response).map(|_| ())
    }
}

/// Whether Incus's words are those of a connection to the process for files that ended.
fn has_left(text: &str) -> bool {
    ["forkfile.sock", "connection lost", "EOF"].iter().any(|words| text.contains(words))
}

/// Whether they say that there cannot be a file of that name.
fn is_no_place(text: &str) -> bool {
    let reasons = ["not a directory", "file name too long", "too many levels of symbolic links"];
    reasons.iter().any(|words| text.contains(words))
}
