//! One process at a time uses a folder.
//!
//! The lock is `flock` on a file named `lock` in the folder: the kernel lets go of it when the
//! process ends, however it ends, and children don't inherit it. The file holds its user's number,
//! for the refusal's words only.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// A folder that is ours until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

/// Why a folder could not be locked.
#[derive(Debug)]
pub enum LockRefused {
    /// By another handle, of this process or another one, whose number is known unless it is just
    /// being written.
    InUse { holder: Option<u32> },
    /// The operating system refused.
    Io(io::Error),
}

impl From<io::Error> for LockRefused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl FolderLock {
    /// Takes the folder, which must exist, without waiting.
    ///
    /// # Errors
    /// [`LockRefused`].
    pub fn take(folder: &Path) -> Result<Self, LockRefused> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a courtesy; the refusal stands without it.
                let _ = file.read_to_string(&mut holder);
                return Err(LockRefused::InUse {
                    holder: holder.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    /// Closing alone would not do: a child that another thread has just forked holds the file too, until its `exec`.
    fn drop(&mut self) {
        // What can't be unlocked is closed all the same.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_at_once_though_a_copy_of_the_file_is_still_open() {
        let folder = std::env::temp_dir().join(format!("greenlight-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let lock = FolderLock::take(&folder).unwrap();
        // What a fork has until its exec.
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(FolderLock::take(&folder), Err(LockRefused::InUse { .. })));
        drop(lock);
        let again = FolderLock::take(&folder);
        drop(copy);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(again.is_ok(), "{again:?}");
    }
}
