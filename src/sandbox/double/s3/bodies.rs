//! The bodies of saved objects: each in a file of its own beside the saved state, under its SHA-256.
//!
//! So a change of a parameter doesn't write every site anew. A body is written before the state that names
//! it, and deleted only when a later start finds that no object names it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::super::state::State;

/// The folder of the bodies, and which are known to be there.
#[derive(Debug)]
pub(in crate::sandbox::double) struct Bodies {
    folder: PathBuf,
    kept: HashSet<String>,
}

impl Bodies {
    /// Beside the file of the state: `aws.json` has its bodies in `aws.objects`.
    pub(in crate::sandbox::double) fn beside(state_file: &Path) -> Self {
        Self {
            folder: state_file.with_extension("objects"),
            kept: HashSet::new(),
        }
    }

    /// Gives the objects of a state that was read their bodies, and deletes bodies that belong to none.
    pub(in crate::sandbox::double) fn load(&mut self, state: &mut State) -> io::Result<()> {
        for object in state
            .buckets
            .values_mut()
            .flat_map(|bucket| bucket.objects.values_mut())
        {
            let path = self.folder.join(&object.sha256);
            let read = std::fs::read(&path);
            object.body = read
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?
                .into();
            self.kept.insert(object.sha256.clone());
        }
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| self.kept.contains(name)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes the bodies that are new.
    pub(in crate::sandbox::double) fn save(&mut self, state: &State) -> io::Result<()> {
        for object in state.buckets.values().flat_map(|bucket| bucket.objects.values()) {
            if self.kept.contains(&object.sha256) {
                continue;
            }
            std::fs::create_dir_all(&self.folder)?;
            let beside = self.folder.join("new");
            std::fs::write(&beside, &object.body)?;
            std::fs::rename(&beside, self.folder.join(&object.sha256))?;
            self.kept.insert(object.sha256.clone());
        }
        Ok(())
    }
}
