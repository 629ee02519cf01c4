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
    _file: File,
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
        Ok(Self { _file: file })
    }
}
