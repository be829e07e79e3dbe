//! The files API: putting a file into an instance.

use super::client::{Client, decode, percent_encode};
use super::error::Error;
use super::http;

/// How long an answer that was sent before the end of the request may take.
const AFTER_REFUSAL: std::time::Duration = std::time::Duration::from_secs(1);

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
        let target = self.file_target(name, path);
        self.send(doing, &http::request("GET", &target, &[], b""))?;
        let response = self.receive(doing, super::client::PATIENCE)?;
        match response.status {
            200 => Ok(Some(response.body)),
            404 => Ok(None),
            _ => decode::<serde::de::IgnoredAny>(doing, &response).map(|_| None),
        }
    }

    /// Whether there is something at `path`.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn file_exists(&mut self, name: &str, path: &str) -> Result<bool, Error> {
        let doing = "looking for a file of the box";
        let target = self.file_target(name, path);
        self.send(doing, &http::request("HEAD", &target, &[], b""))?;
        Ok(self.receive_head(doing)?.status == 200)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn remove_file(&mut self, name: &str, path: &str) -> Result<(), Error> {
        let target = self.file_target(name, path);
        self.call::<serde::de::IgnoredAny>("removing a file of the box", "DELETE", &target, b"")
            .map(|_| ())
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
        // Incus refuses a file before it has read all of it (a full disk), and closes: the answer is
        // there to be read all the same, but the connection is spent.
        let sent = self.send(doing, &request);
        let patience = if sent.is_ok() { super::client::PATIENCE } else { AFTER_REFUSAL };
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
