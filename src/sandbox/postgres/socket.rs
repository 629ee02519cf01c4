//! The folder of the server's socket: private, and with a path that fits into a socket's address.
//!
//! It is `<data_dir>/run` where that is short enough, else a fresh folder for temporary files, whose
//! name is kept in `<data_dir>/socket-dir` so that a later start removes what a killed run left.

use std::{
    env,
    fs::{self, DirBuilder},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    PORT,
    error::{Doing, PrivatePostgresError},
    user::RunAs,
};

/// unix(7): `sun_path` has 108 bytes, of which the last is a NUL.
const LONGEST_SOCKET_PATH: usize = 107;
/// In the data folder: where a socket's folder outside it is.
const WRITTEN_DOWN: &str = "socket-dir";
const TEMPORARY_PREFIX: &str = "greenlight-pg-";

/// A private folder for one server's socket.
#[derive(Debug)]
pub(super) struct SocketDir {
    path: PathBuf,
    /// Where the path is written down, for a folder outside the data folder.
    written_down: Option<PathBuf>,
}

impl SocketDir {
    /// Makes the folder, owned by the server's user, mode 0700. What an earlier run left is removed.
    pub(super) fn make(data_dir: &Path, run_as: &RunAs) -> Result<Self, PrivatePostgresError> {
        remove_left_over(data_dir)?;
        let written_down = data_dir.join(WRITTEN_DOWN);
        let inside = data_dir.join("run");
        if fits(&inside) {
            match fs::remove_dir_all(&inside) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).doing("remove", inside);
                }
                _ => {}
            }
            make_private(&inside, run_as)?;
            return Ok(Self {
                path: inside,
                written_down: None,
            });
        }
        let name = format!("{TEMPORARY_PREFIX}{}", Uuid::now_v7().simple());
        let places = [env::temp_dir(), PathBuf::from("/tmp")];
        let usable = places.iter().find_map(|place| {
            let path = place.canonicalize().ok()?.join(&name);
            let reachable = run_as.blocked_at(path.parent()?).ok()?.is_none();
            (fits(&path) && reachable).then_some(path)
        });
        let Some(path) = usable else {
            return Err(PrivatePostgresError::SocketPathTooLong {
                longest: inside,
                limit: LONGEST_SOCKET_PATH,
            });
        };
        // Written down first: a crash in between leaves a note without a folder, never the reverse.
        fs::write(&written_down, path.as_os_str().as_encoded_bytes()).doing("write", &written_down)?;
        make_private(&path, run_as)?;
        Ok(Self {
            path,
            written_down: Some(written_down),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes a folder outside the data folder. What can't be removed, the next start tries again.
    pub(super) fn remove(self) {
        if let Some(written_down) = self.written_down
            && fs::remove_dir_all(&self.path).is_ok()
        {
            let _ = fs::remove_file(written_down);
        }
    }
}

/// A path that is short enough, and that a connection URL can carry.
fn fits(dir: &Path) -> bool {
    let socket = dir.join(format!(".s.PGSQL.{PORT}"));
    dir.to_str().is_some() && socket.as_os_str().len() <= LONGEST_SOCKET_PATH
}

fn make_private(path: &Path, run_as: &RunAs) -> Result<(), PrivatePostgresError> {
    // Fails if somebody else was here first.
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .doing("make the folder", path)?;
    run_as.own(path)
}

/// Removes the folder for temporary files that a killed run left, if it left one.
pub(super) fn remove_left_over(data_dir: &Path) -> Result<(), PrivatePostgresError> {
    let written_down = data_dir.join(WRITTEN_DOWN);
    let text = match fs::read_to_string(&written_down) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).doing("read", written_down),
    };
    let path = Path::new(&text);
    let ours = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX));
    if ours {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).doing("remove", path);
            }
            _ => {}
        }
    }
    fs::remove_file(&written_down).doing("remove", written_down)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_that_fits_has_107_bytes() {
        let socket = format!("/.s.PGSQL.{PORT}");
        let dir = |bytes: usize| PathBuf::from(format!("/{}", "d".repeat(bytes - socket.len() - 1)));
        assert!(fits(&dir(107)));
        assert!(!fits(&dir(108)));
    }
}
