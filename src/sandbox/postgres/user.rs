//! The user PostgreSQL runs as: ourselves, or somebody else when we are root.
//!
//! PostgreSQL refuses root, and `initdb` wants its user to have an entry in the password file. Only
//! `/etc/passwd` is read: service accounts live there, not in a directory server.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use super::error::{Doing, PrivatePostgresError};

const PASSWORD_FILE: &str = "/etc/passwd";
/// In this order; the first one that exists is taken.
const PREFERRED: [&str; 2] = ["postgres", "nobody"];

/// Who the server's processes run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunAs {
    /// The user we are; nothing has to be changed or checked.
    Ourselves,
    /// We are root and drop to this user.
    Other { name: String, uid: u32, gid: u32 },
}

impl RunAs {
    /// Decides who is to run the server. A `cluster` that exists keeps the user it belongs to.
    ///
    /// # Errors
    /// [`PrivatePostgresError::NoUser`] as root without anybody to drop to;
    /// [`PrivatePostgresError::ForeignOwner`] when not root and the cluster is somebody else's.
    pub(super) fn choose(cluster: &Path) -> Result<Self, PrivatePostgresError> {
        let us = rustix::process::geteuid().as_raw();
        let owner = match fs::metadata(cluster) {
            Ok(found) => Some((found.uid(), found.gid())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).doing("look at", cluster),
        };
        if us != 0 {
            return match owner {
                Some((owner, _)) if owner != us => Err(PrivatePostgresError::ForeignOwner {
                    path: cluster.into(),
                    owner,
                }),
                _ => Ok(Self::Ourselves),
            };
        }
        let passwords = fs::read_to_string(PASSWORD_FILE).doing("read", PASSWORD_FILE)?;
        match owner {
            Some((uid, gid)) if uid != 0 => Ok(Self::with_id(&passwords, uid, gid)),
            _ => Self::preferred(&passwords).ok_or(PrivatePostgresError::NoUser),
        }
    }

    fn preferred(passwords: &str) -> Option<Self> {
        PREFERRED
            .iter()
            .find_map(|name| entries(passwords).find(|entry| entry.0 == *name))
            .map(|(name, uid, gid)| Self::Other {
                name: name.into(),
                uid,
                gid,
            })
    }

    fn with_id(passwords: &str, uid: u32, gid: u32) -> Self {
        let name = entries(passwords)
            .find(|entry| entry.1 == uid)
            .map(|entry| entry.0.to_owned());
        Self::Other {
            name: name.unwrap_or_else(|| uid.to_string()),
            uid,
            gid,
        }
    }

    /// Gives `path` to the server's user; nothing to do when that is us.
    pub(super) fn own(&self, path: &Path) -> Result<(), PrivatePostgresError> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)).doing("change the owner of", path),
        }
    }

    /// The first folder on the way to `path` (`path` included, symbolic links resolved) that the
    /// server's user may not enter. Permission bits only: access control lists are not read.
    pub(super) fn blocked_at(&self, path: &Path) -> Result<Option<PathBuf>, PrivatePostgresError> {
        let Self::Other { uid, gid, .. } = self else {
            return Ok(None);
        };
        let path = path.canonicalize().doing("resolve", path)?;
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        for folder in folders {
            let found = fs::metadata(folder).doing("look at", folder)?;
            let search_bit = if found.uid() == *uid {
                0o100
            } else if found.gid() == *gid {
                0o010
            } else {
                0o001
            };
            if found.mode() & search_bit == 0 {
                return Ok(Some(folder.into()));
            }
        }
        Ok(None)
    }

    /// [`blocked_at`](Self::blocked_at) as an error.
    pub(super) fn require_way_to(&self, path: &Path) -> Result<(), PrivatePostgresError> {
        match self.blocked_at(path)? {
            None => Ok(()),
            Some(blocked_at) => Err(PrivatePostgresError::NotTraversable {
                user: self.name().to_owned(),
                blocked_at,
                path: path.into(),
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ourselves => "that we are",
            Self::Other { name, .. } => name,
        }
    }
}

/// Name, user id and group id of each well-formed line of a password file, root left out.
fn entries(passwords: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    passwords.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        (uid != 0).then_some((name, uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORDS: &str = "root:x:0:0:root:/root:/bin/bash\n\
                             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
                             broken line\n\
                             postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";

    fn other(name: &str, uid: u32, gid: u32) -> RunAs {
        RunAs::Other {
            name: name.into(),
            uid,
            gid,
        }
    }

    #[test]
    fn postgres_is_preferred_to_nobody() {
        assert_eq!(RunAs::preferred(PASSWORDS), Some(other("postgres", 101, 104)));
        let without: String = PASSWORDS
            .lines()
            .filter(|line| !line.starts_with("postgres"))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(RunAs::preferred(&without), Some(other("nobody", 65534, 65534)));
        assert_eq!(RunAs::preferred("postgres:x:0:0::/:/bin/sh"), None);
    }

    #[test]
    fn an_existing_cluster_keeps_its_user() {
        assert_eq!(RunAs::with_id(PASSWORDS, 65534, 7), other("nobody", 65534, 7));
        assert_eq!(RunAs::with_id(PASSWORDS, 4711, 7), other("4711", 4711, 7));
    }
}
