//! States that differ in nothing that can matter are made equal, so that there are few enough to look at all.
//!
//! - Epochs and versions are compared and never counted: only their order is kept.
//! - A worker that has lost its lease may still sign what it has stored. All else it does comes to nothing at its next
//!   transaction (a check of its own shows that), so without something to sign it is gone at once. Where the fence is
//!   left open everything it does counts, and it stays.
//! - What nobody reads any more of a row is forgotten, and rows that say the same become one.

use super::{
    ControlPlane,
    state::{At, Drive, Intent, Job, JobState, Outcome, State, Step, WORKERS, WRITES},
};

impl ControlPlane {
    pub fn make_small(&self, state: &mut State) {
        if !self.keep_the_lost {
            for worker in 0..WORKERS {
                if !state.holds(worker) && !self.may_still_sign(state, worker) {
                    state.drives[worker] = None;
                }
            }
            state.jobs.iter_mut().for_each(forget);
        }
        for write in 0..WRITES {
            let signs = |drive: &Drive| drive.at == At::Sign { intent: write };
            let unsigned = state.drives.iter().flatten().any(signs);
            if let Some(intent) = &mut state.intents[write]
                && intent.outcome.is_some()
                && !unsigned
            {
                intent.age = self.oldest();
            }
        }
        renumber_epochs(state);
        renumber_versions(state);
        if !self.compare_and_swap {
            sort_intents(state);
        }
    }

    fn may_still_sign(&self, state: &State, worker: usize) -> bool {
        state.drives[worker]
            .is_some_and(|drive| matches!(drive.at, At::Sign { intent } if self.may_sign(state, intent)))
    }
}

/// What no worker will read of a job any more.
fn forget(job: &mut Job) {
    if job.state != JobState::Running {
        job.abort_requested = false;
    }
    if !job.unfinished() {
        job.step = Step::Flip;
    }
    if job.state == JobState::Superseded {
        job.touched = false;
    }
}

/// Else a job that is claimed again and again would never come back to a state that is known.
fn renumber_epochs(state: &mut State) {
    for number in 0..state.jobs.len() {
        let mut held = [None; WORKERS];
        for (held, drive) in held.iter_mut().zip(&state.drives) {
            *held = drive.filter(|drive| drive.job == number).map(|drive| drive.epoch);
        }
        for drive in state.drives.iter_mut().flatten() {
            if drive.job == number {
                drive.epoch = rank(&held, drive.epoch);
            }
        }
        // The job's own is the greatest.
        let job = &mut state.jobs[number];
        job.lease_epoch = rank(&held, job.lease_epoch);
    }
}

/// The pointer's version, and those that workers have in mind, keep their order. A version of the past is only
/// known to be older.
fn renumber_versions(state: &mut State) {
    let mut alive = [None; WORKERS + 1];
    alive[WORKERS] = Some(state.pointer.version);
    for (alive, drive) in alive.iter_mut().zip(&mut state.drives) {
        *alive = drive
            .as_mut()
            .and_then(|drive| version_in_mind(drive))
            .map(|version| *version);
    }
    let number = |version: u8| rank(&alive, version) + u8::from(alive.contains(&Some(version)));
    for write in 0..WRITES {
        let Some(intent) = &mut state.intents[write] else { break };
        intent.replaces = if intent.outcome.is_none() {
            number(intent.replaces)
        } else {
            0
        };
        if let Some(Outcome::Written(version) | Outcome::Landed(version)) = &mut intent.outcome {
            *version = if alive.contains(&Some(*version)) {
                number(*version)
            } else {
                0
            };
        }
        // All that matters of these is that they were of this job and this value.
        if matches!(intent.outcome, Some(Outcome::Refused | Outcome::Fenced)) {
            intent.outcome = Some(Outcome::Written(0));
        }
    }
    for drive in state.drives.iter_mut().flatten() {
        if let Some(version) = version_in_mind(drive) {
            *version = number(*version);
        }
    }
    state.pointer.version = number(state.pointer.version);
}

/// How many different ones of `all` are less.
fn rank(all: &[Option<u8>], number: u8) -> u8 {
    let mut less = 0;
    for (at, other) in all.iter().enumerate() {
        if other.is_some_and(|other| other < number) && !all[..at].contains(other) {
            less += 1;
        }
    }
    less
}

fn version_in_mind(drive: &mut Drive) -> Option<&mut u8> {
    match &mut drive.at {
        At::NoteLanded { seen }
        | At::Intend { seen }
        | At::SettleAsk { seen: Some(seen), .. }
        | At::SettleNoteLanded { seen, .. }
        | At::SettleFinish { seen, .. } => Some(&mut seen.version),
        At::Verify { version, .. } | At::Answered { version, .. } => Some(version),
        _ => None,
    }
}

/// Without a compare-and-swap the order of intents says nothing. Answered ones that say the same are one.
fn sort_intents(state: &mut State) {
    let busy = state.drives.map(|drive| drive.and_then(Drive::write));
    let mut rows: [_; WRITES] = std::array::from_fn(|write| (state.intents[write], state.network[write], write));
    let in_order = |rows: &mut [(Option<Intent>, Option<u8>, usize)]| {
        rows.sort_by_key(|(intent, request, _)| (intent.is_none(), *intent, *request));
    };
    let over = |(intent, request, write): (Option<Intent>, Option<u8>, usize)| {
        intent.is_some_and(|intent| intent.outcome.is_some()) && request.is_none() && !busy.contains(&Some(write))
    };
    in_order(&mut rows);
    for at in 1..WRITES {
        if rows[at].0 == rows[at - 1].0 && over(rows[at]) && over(rows[at - 1]) {
            rows[at - 1].0 = None;
        }
    }
    in_order(&mut rows);
    for drive in state.drives.iter_mut().flatten() {
        if let Some(write) = drive.write_mut() {
            let moved = rows.iter().position(|(_, _, before)| before == write);
            *write = moved.expect("no row is lost");
        }
    }
    state.intents = rows.map(|(intent, _, _)| intent);
    state.network = rows.map(|(_, request, _)| request);
}
