//! A directory for one test, removed when dropped.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Directory {
    pub path: PathBuf,
}

impl Directory {
    pub fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ibx-faults-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new directory");
        Directory { path }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _may_be_read_only = std::fs::remove_dir_all(&self.path);
    }
}
