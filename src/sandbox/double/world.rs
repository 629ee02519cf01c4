//! What all parts of the double share: options, clock, faults, the log and the guarded state.
//!
//! The state's lock is never held across an await. With `persist` set it is held while the file is
//! written, so that the file always is the state after some mutation and an answered change is saved;
//! that is meant for one developer's `greenlight dev`, not for load.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DoubleOptions;
use super::calls::CallLog;
use super::clock::DoubleClock;
use super::faults::Faults;
use super::state::State;

/// Locks, whether or not an earlier holder panicked: every change to what is guarded is complete
/// before anything that can panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One double's inside.
#[derive(Debug)]
pub(super) struct World {
    pub options: DoubleOptions,
    pub clock: DoubleClock,
    pub faults: Faults,
    pub calls: CallLog,
    state: Mutex<State>,
}

impl World {
    /// An empty world, or the one that was saved at `options.persist`.
    pub(super) fn open(options: DoubleOptions) -> io::Result<Self> {
        let state = match &options.persist {
            Some(path) => load(path)?,
            None => State::default(),
        };
        Ok(Self {
            options,
            clock: DoubleClock::default(),
            faults: Faults::default(),
            calls: CallLog::new(),
            state: Mutex::new(state),
        })
    }

    /// Looks at the state.
    pub(super) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.state))
    }

    /// Changes the state and saves it, if it is to be saved.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        if let Some(path) = &self.options.persist
            && let Err(error) = save(path, &state)
        {
            tracing::error!(path = %path.display(), %error, "the AWS double could not save its state");
        }
        result
    }
}

/// Reads the saved state, or begins an empty one; the folder is there afterwards.
fn load(path: &Path) -> io::Result<State> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            let text = format!("{} is not a saved state of the AWS double: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(error),
    }
}

/// Writes beside the file and renames over it, so that a crash leaves the old state or the new one.
fn save(path: &Path, state: &State) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, serde_json::to_vec(state)?)?;
    std::fs::rename(&beside, path)
}
