//! What a file is told by.

use sha2::{Digest, Sha256};

use crate::boxes::images::file::metadata::hex;

/// The SHA-256 of `bytes`, in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
