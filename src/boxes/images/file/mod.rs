//! Images that come as a file: what it is, and how it becomes an image of Incus.
//!
//! ```text
//! recognise ─┬─ root directory ──── metadata of ours + the file as it is ──┐
//!            ├─ Incus image ─────── the file as it is (or its two files) ──┼─ POST /1.0/images
//!            ├─ container image ─── container ─ layers ─ tree ─ writer ────┘
//!            └─ backup ──────────────────────────────────────────────────── POST /1.0/instances
//! ```
//!
//! A file is a stranger's: every size in it is bounded, no name in it reaches this machine's file
//! system, and nothing is unpacked here.

mod architecture;
pub mod compression;
mod container;
mod entries;
pub mod error;
mod import;
mod layers;
mod leftover;
pub mod metadata;
mod recognise;
mod records;
mod section;
mod settings;
mod temporary;
mod tree;
mod writer;

pub use container::Config;
pub use error::{Error, Fault};
pub use import::{ImageFile, Imported, Progress};
pub use leftover::sweep;
pub use metadata::Init;
pub use recognise::Backup;
