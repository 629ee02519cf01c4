//! What a worker does: `leases::claim`, `engine::drive`, and the steps `flip` and `settle`, cut where another
//! worker, the network or time can come between.

use super::{
    ControlPlane, Fence,
    state::{At, Drive, Intent, Job, JobState, Outcome, PROMOTION, Pointer, ROLLBACK, State, Step, Value},
};

/// Ticks for which `WriteGuard` lets an intent be signed: the one in which it was stored.
pub const SIGN_TICKS: u8 = 1;

impl ControlPlane {
    /// What a way back writes, and the way forward.
    fn wanted(&self, job: usize, state: JobState) -> Value {
        match (job, state) {
            (PROMOTION, JobState::Unwinding) if self.plain => Value::Before,
            (PROMOTION, JobState::Unwinding) => Value::PutBack,
            (ROLLBACK, _) if self.plain => Value::Before,
            (ROLLBACK, _) => Value::RolledBack,
            _ => Value::Promoted,
        }
    }

    /// `pointers::late_for`: an unanswered write of another value may still land.
    fn late_for(&self, state: &State, value: Value) -> bool {
        self.late_write_watch.is_some_and(|watch| {
            state
                .unanswered()
                .any(|intent| intent.value != value && intent.age < SIGN_TICKS + watch)
        })
    }

    /// `leases::claim`, `drive`, and its first turn: nothing is done between that could not be undone by stopping.
    /// Also of a job whose lease has just run out, whatever its worker is doing.
    pub fn claim(&self, state: &mut State, job: usize, worker: usize) {
        let row = &mut state.jobs[job];
        row.leased = true;
        row.lease_epoch += 1;
        state.holder[job] = Some(worker);
        state.drives[worker] = Some(Drive {
            job,
            epoch: row.lease_epoch,
            wanted: Value::Before,
            at: At::Observe,
        });
        self.turn(state, worker);
    }

    /// `Store::fence`. False: the lease is gone, and the worker stops quietly.
    fn fence(&self, state: &mut State, worker: usize) -> bool {
        let Some(drive) = state.drives[worker] else {
            return false;
        };
        let job = &state.jobs[drive.job];
        let open = match self.fence {
            Fence::OwnerAndEpoch => job.leased && job.lease_epoch == drive.epoch,
            Fence::OwnerAlone => job.leased,
            Fence::Open => true,
        };
        if !open {
            state.drives[worker] = None;
        } else if !state.holds(worker) {
            state.trespassed = true;
        }
        open
    }

    /// `Drive::turn`: what is next, in the transaction that was fenced.
    fn turn(&self, state: &mut State, worker: usize) {
        let Some(Drive { job, .. }) = state.drives[worker] else {
            return;
        };
        let row = &mut state.jobs[job];
        if job == PROMOTION && row.state == JobState::Running && row.abort_requested {
            // `Drive::unwind`. A step that failed for good turns the job round in the same way.
            if !row.touched {
                return end(state, worker, JobState::Aborted);
            }
            row.state = JobState::Unwinding;
            row.step = Step::Flip;
        }
        let wanted = self.wanted(job, row.state);
        let at = match row.step {
            Step::Flip => At::Observe,
            Step::Settle if self.asks_before_it_looks => At::SettleAsk {
                seen: None,
                landed: false,
            },
            Step::Settle => At::SettleLook { late: None },
        };
        if let Some(drive) = &mut state.drives[worker] {
            drive.wanted = wanted;
            drive.at = at;
        }
    }

    /// The next thing that a worker does.
    pub fn go_on(&self, state: &mut State, worker: usize) {
        let Some(drive) = state.drives[worker] else { return };
        match drive.at {
            At::Observe => {
                let seen = state.pointer;
                if state.is_late_write(seen) {
                    put(state, worker, At::NoteLanded { seen });
                } else {
                    self.decide(state, worker, seen);
                }
            }
            At::NoteLanded { seen } => {
                if self.fence(state, worker) {
                    self.note_landed(state, seen);
                    self.decide(state, worker, seen);
                }
            }
            At::Intend { seen } => {
                if self.fence(state, worker) {
                    let intent = state
                        .intents
                        .iter()
                        .position(Option::is_none)
                        .expect("not enabled when full");
                    state.intents[intent] = Some(Intent {
                        job: drive.job,
                        value: drive.wanted,
                        replaces: seen.version,
                        age: 0,
                        outcome: None,
                    });
                    state.jobs[drive.job].touched = true;
                    put(state, worker, At::Sign { intent });
                }
            }
            At::Sign { intent } => {
                if self.may_sign(state, intent) {
                    state.network[intent] = Some(0);
                    put(state, worker, At::Await { intent });
                } else {
                    put(state, worker, At::Refused { intent });
                }
            }
            // The call timed out: the intent stays unanswered, and the step is tried again later.
            At::Await { .. } => {
                if self.fence(state, worker) {
                    job_waits(state, worker);
                }
            }
            At::Refused { intent } => {
                if self.fence(state, worker) {
                    self.answer(state, intent, Outcome::Refused);
                    job_waits(state, worker);
                }
            }
            At::Verify { intent, version } => {
                let verified = state.pointer.value == drive.wanted;
                put(
                    state,
                    worker,
                    At::Answered {
                        intent,
                        version,
                        verified,
                    },
                );
            }
            At::Answered {
                intent,
                version,
                verified,
            } => {
                if self.fence(state, worker) {
                    self.answer(state, intent, Outcome::Written(version));
                    if verified {
                        state.jobs[drive.job].step = Step::Settle;
                        self.turn(state, worker);
                    } else {
                        job_waits(state, worker);
                    }
                }
            }
            At::Already => {
                if self.fence(state, worker) {
                    state.jobs[drive.job].step = Step::Settle;
                    self.turn(state, worker);
                }
            }
            At::SettleAsk { .. } | At::SettleLook { .. } => self.before_settling(state, worker, drive),
            At::SettleNoteLanded { late, seen } => {
                if self.fence(state, worker) {
                    self.note_landed(state, seen);
                    put(state, worker, looked(late, seen, true));
                }
            }
            At::SettleFinish { late, seen, landed } => {
                if self.fence(state, worker) {
                    self.finish(state, worker, (late, seen.value == drive.wanted, landed));
                }
            }
        }
    }

    /// `WriteGuard::may_sign`.
    pub fn may_sign(&self, state: &State, intent: usize) -> bool {
        !self.write_guard || state.intents[intent].is_some_and(|intent| intent.age < SIGN_TICKS)
    }

    /// `Run::decide`, for one pointer.
    fn decide(&self, state: &mut State, worker: usize, seen: Pointer) {
        let Some(drive) = state.drives[worker] else { return };
        if seen.value != drive.wanted {
            // Nobody else writes here: whoever calls it foreign, and may act on that, is wrong.
            state.mistaken |= state.holds(worker) && !state.accepts(drive.job, seen.value);
            return put(state, worker, At::Intend { seen });
        }
        let may_be_overwritten = self.compare_and_swap && state.unanswered().any(|intent| intent.value != drive.wanted);
        put(
            state,
            worker,
            if may_be_overwritten {
                At::Intend { seen }
            } else {
                At::Already
            },
        );
    }

    /// `steps::note_landed`: only a version tells which write a value is of.
    fn note_landed(&self, state: &mut State, seen: Pointer) {
        if !self.compare_and_swap {
            state.landed(seen);
        }
    }

    /// `pointers::answer`.
    fn answer(&self, state: &mut State, write: usize, outcome: Outcome) {
        if let Some(intent) = &mut state.intents[write] {
            intent.outcome = Some(outcome);
        }
        if self.compare_and_swap && matches!(outcome, Outcome::Written(_)) {
            for earlier in state.intents[..write].iter_mut().flatten() {
                earlier.outcome.get_or_insert(Outcome::Fenced);
            }
        }
    }

    /// The question and the look of `Settle::run`.
    fn before_settling(&self, state: &mut State, worker: usize, drive: Drive) {
        match drive.at {
            At::SettleAsk { seen: None, .. } => {
                let late = Some(self.late_for(state, drive.wanted));
                put(state, worker, At::SettleLook { late });
            }
            At::SettleAsk {
                seen: Some(seen),
                landed,
            } => {
                let late = self.late_for(state, drive.wanted);
                put(state, worker, At::SettleFinish { late, seen, landed });
            }
            At::SettleLook { late } => {
                let seen = state.pointer;
                if state.is_late_write(seen) {
                    put(state, worker, At::SettleNoteLanded { late, seen });
                } else {
                    put(state, worker, looked(late, seen, false));
                }
            }
            _ => {}
        }
    }

    /// The result of `Settle::run`, and what the turn makes of it.
    fn finish(&self, state: &mut State, worker: usize, (late, right, landed): (bool, bool, bool)) {
        let Some(drive) = state.drives[worker] else { return };
        if !right && landed {
            // `plan::put_right`: flip and settle once more.
            state.jobs[drive.job].step = Step::Flip;
            state.put_right = true;
            return self.turn(state, worker);
        }
        // It would be told as drift, and nobody else has written.
        state.mistaken |= !right;
        if late {
            return job_waits(state, worker);
        }
        state.recorded = drive.wanted;
        let undone = state.jobs[drive.job].state == JobState::Unwinding;
        end(
            state,
            worker,
            if undone { JobState::Aborted } else { JobState::Succeeded },
        );
    }
}

/// What follows on the look of `settle`.
fn looked(late: Option<bool>, seen: Pointer, landed: bool) -> At {
    match late {
        Some(late) => At::SettleFinish { late, seen, landed },
        None => At::SettleAsk {
            seen: Some(seen),
            landed,
        },
    }
}

fn put(state: &mut State, worker: usize, at: At) {
    if let Some(drive) = &mut state.drives[worker] {
        drive.at = at;
    }
}

/// `Fenced::job_waits`, and the worker is free: for a timer, or after a failure that may be tried again.
fn job_waits(state: &mut State, worker: usize) {
    leave(state, worker, |_| {});
}

/// `Fenced::end_job`.
fn end(state: &mut State, worker: usize, as_what: JobState) {
    leave(state, worker, |job| job.state = as_what);
}

fn leave(state: &mut State, worker: usize, change: impl Fn(&mut Job)) {
    if let Some(Drive { job, .. }) = state.drives[worker].take() {
        state.jobs[job].leased = false;
        state.holder[job] = None;
        change(&mut state.jobs[job]);
    }
}
