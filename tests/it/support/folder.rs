//! A folder that is gone at the end of the test.

use std::{env, fs, path::PathBuf};

use uuid::Uuid;

/// Named by its field; removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = env::temp_dir().join(format!("greenlight-test-{}", Uuid::now_v7().simple()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
