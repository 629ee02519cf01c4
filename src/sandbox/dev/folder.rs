//! The folder in which `greenlight dev` keeps what is to be there next time.
//!
//! ```text
//! <folder>/            0711 as root (PostgreSQL's user passes through), else 0700
//!   lock               one `greenlight dev` at a time
//!   postgres/          the private PostgreSQL
//!   aws-double.json    what the AWS double remembers
//!   admin-token        0600
//! ```
//!
//! `--fresh` removes these and nothing else: the folder is the user's to choose, and may hold more.

use std::{
    env,
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::sandbox::{
    folder_lock::{FolderLock, LockRefused},
    postgres::PrivatePostgres,
};

/// Root's own folders can't be entered by the user PostgreSQL has to run as.
const ROOTS_FOLDER: &str = "/var/tmp/greenlight-dev";

/// The data folder, ours until this is dropped.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: FolderLock,
}

impl DataFolder {
    /// Makes and locks the folder; with `fresh`, forgets what an earlier run left.
    pub(super) fn open(chosen: Option<PathBuf>, fresh: bool) -> anyhow::Result<Self> {
        let us = rustix::process::geteuid().as_raw();
        let path = match chosen {
            Some(path) => path,
            None => default_place(us == 0, |name| env::var_os(name).map(PathBuf::from))?,
        };
        let doing = |what: &str| format!("could not {what} {}", path.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| doing("make the folder"))?;
        let path = path.canonicalize().with_context(|| doing("resolve"))?;
        let found = fs::metadata(&path).with_context(|| doing("look at"))?;
        if found.uid() != us {
            // In a place that everybody may write to, somebody may have been there before us.
            bail!(
                "{} belongs to the user with id {}, so nothing is kept there: choose another folder with --data-dir",
                path.display(),
                found.uid()
            );
        }
        let lock = FolderLock::take(&path).map_err(|refused| match refused {
            LockRefused::InUse { holder } => anyhow::anyhow!(
                "another `greenlight dev`{} is running on {}: stop it, or choose another folder with --data-dir",
                holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
                path.display()
            ),
            LockRefused::Io(error) => anyhow::Error::new(error).context(doing("lock")),
        })?;
        if us == 0 {
            let mode = found.mode() & 0o7777 | 0o011;
            fs::set_permissions(&path, Permissions::from_mode(mode)).with_context(|| doing("open the way through"))?;
        }
        let folder = Self { path, _lock: lock };
        if fresh {
            folder.forget()?;
        }
        Ok(folder)
    }

    fn forget(&self) -> anyhow::Result<()> {
        PrivatePostgres::erase(&self.postgres())?;
        for file in [self.double(), self.token_file()] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("could not remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    pub(super) fn double(&self) -> PathBuf {
        self.path.join("aws-double.json")
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.path.join("admin-token")
    }

    /// The token of an earlier run. It may have been made for a database that is gone.
    pub(super) fn kept_token(&self) -> anyhow::Result<Option<String>> {
        let file = self.token_file();
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("could not read {}", file.display())),
        }
    }

    /// Keeps a token for the next run, readable for us alone.
    pub(super) fn keep_token(&self, token: &str) -> anyhow::Result<()> {
        let file = self.token_file();
        let beside = self.path.join("admin-token.new");
        let write = || {
            let _ = fs::remove_file(&beside);
            let mut new = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            writeln!(new, "{token}")?;
            fs::rename(&beside, &file)
        };
        write().with_context(|| format!("could not write {}", file.display()))
    }
}

/// Where data is kept if nobody said where.
fn default_place(root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if root {
        return Ok(ROOTS_FOLDER.into());
    }
    // XDG Base Directory Specification: a relative path is invalid and is to be ignored.
    if let Some(data) = variable("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        return Ok(data.join("greenlight"));
    }
    match variable("HOME").filter(|path| path.is_absolute()) {
        Some(home) => Ok(home.join(".local/share/greenlight")),
        None => bail!("no folder for the data: neither HOME nor XDG_DATA_HOME is set; name one with --data-dir"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: bool, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| PathBuf::from(value))
        };
        default_place(root, variable)
            .ok()
            .map(|path| path.display().to_string())
    }

    #[test]
    fn data_is_kept_where_the_desktop_specification_says() {
        let home = ("HOME", "/home/example");
        assert_eq!(
            place(false, &[home]).as_deref(),
            Some("/home/example/.local/share/greenlight")
        );
        assert_eq!(
            place(false, &[home, ("XDG_DATA_HOME", "/data")]).as_deref(),
            Some("/data/greenlight")
        );
        assert_eq!(
            place(false, &[home, ("XDG_DATA_HOME", "data")]).as_deref(),
            Some("/home/example/.local/share/greenlight")
        );
        assert_eq!(place(true, &[home]).as_deref(), Some(ROOTS_FOLDER));
        assert_eq!(place(false, &[]), None);
    }
}
