//! What all parts of the double share: options, clock, faults, the log and the guarded state.
//!
//! The state's lock is never held across an await. With `persist` set it is held while the file is
//! written, so that the file always is the state after some mutation and an answered change is saved;
//! that is meant for one developer's `greenlight dev`, not for load.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DoubleOptions;
use super::calls::CallLog;
use super::clock::DoubleClock;
use super::faults::Faults;
use super::s3;
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
    saved: Option<Saved>,
    s3_page_size: AtomicUsize,
}

/// Where the state is saved.
#[derive(Debug)]
struct Saved {
    path: PathBuf,
    /// Locked only while the state is.
    bodies: Mutex<s3::Bodies>,
}

impl World {
    /// An empty world, or the one that was saved at `options.persist`.
    pub(super) fn open(options: DoubleOptions) -> io::Result<Self> {
        let (state, saved) = match &options.persist {
            Some(path) => {
                let mut bodies = s3::Bodies::beside(path);
                let mut state = load(path)?;
                bodies.load(&mut state)?;
                let saved = Saved {
                    path: path.clone(),
                    bodies: Mutex::new(bodies),
                };
                (state, Some(saved))
            }
            None => (State::default(), None),
        };
        Ok(Self {
            options,
            clock: DoubleClock::default(),
            faults: Faults::default(),
            calls: CallLog::new(),
            state: Mutex::new(state),
            saved,
            s3_page_size: AtomicUsize::new(s3::MAX_PAGE),
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
        if let Some(saved) = &self.saved
            && let Err(error) = saved.save(&state)
        {
            tracing::error!(path = %saved.path.display(), %error, "the AWS double could not save its state");
        }
        result
    }

    /// How many entries a page of S3's listings has at most.
    pub(super) fn s3_page_size(&self) -> usize {
        self.s3_page_size.load(Ordering::Relaxed)
    }

    pub(super) fn set_s3_page_size(&self, entries: usize) {
        self.s3_page_size.store(entries, Ordering::Relaxed);
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

impl Saved {
    /// Writes beside the file and renames over it, so that a crash leaves the old state or the new one. What
    /// the new one names is written before.
    fn save(&self, state: &State) -> io::Result<()> {
        lock(&self.bodies).save(state)?;
        let beside = self.path.with_extension("tmp");
        std::fs::write(&beside, serde_json::to_vec(state)?)?;
        std::fs::rename(&beside, &self.path)
    }
}
