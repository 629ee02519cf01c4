//! What happens around the workers: callers of the API, the network, AWS, and time. And what must always be true.

use stateright::{Model, Property};

use super::{
    ControlPlane,
    state::{At, Drive, JobState, PROMOTION, Pointer, ROLLBACK, State, Value, WRITES},
    worker::SIGN_TICKS,
};

/// Ticks for which AWS accepts a signed request: the tick in which it was signed, and the one after it. In the real
/// world five minutes.
pub const VALIDITY: u8 = 1;

pub const RIGHT: &str = "no settled state with a wrong pointer";
pub const FENCED: &str = "a worker without the lease changes no row";
pub const OURS: &str = "nothing of ours is taken for somebody else's";
pub const PROMOTED: &str = "settled with the promotion's release";
pub const ROLLED_BACK: &str = "settled with the rollback's release";
pub const UNDONE: &str = "settled with what was there before, after an abort";
pub const PUT_RIGHT: &str = "a late write landed and was put right";

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `signals::abort`, or a step that fails for good: the promotion turns round at its next turn.
    Abort,
    /// `rollbacks::start`, with `takeover::supersede` if the promotion holds the environment.
    RollBack,
    /// `leases::claim`: of a job that nobody has, or whose lease has run out while its worker stalls.
    Claim { job: usize, worker: usize },
    /// A process ends, or a drive is dropped because its heartbeat failed.
    Die { worker: usize },
    /// The worker does what is next: see [`ControlPlane::go_on`].
    Does { worker: usize, what: At },
    /// A request reaches AWS and takes effect (or is refused by the compare-and-swap), and its sender hears so.
    Deliver { intent: usize, heard: bool },
    /// Time passes: signatures and intents grow older, requests whose signature is too old are gone.
    Tick,
}

impl Model for ControlPlane {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::accepted()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let [promotion, rollback] = &state.jobs;
        if promotion.state == JobState::Running && !promotion.abort_requested {
            actions.push(Action::Abort);
        }
        // After an undo it would be refused: `already_active`.
        if rollback.state == JobState::Absent && (promotion.unfinished() || promotion.state == JobState::Succeeded) {
            actions.push(Action::RollBack);
        }
        for job in (0..state.jobs.len()).filter(|job| state.jobs[*job].unfinished()) {
            if let Some(worker) = self.claimer(state, job) {
                actions.push(Action::Claim { job, worker });
            }
        }
        for (worker, drive) in state.drives.iter().enumerate() {
            let Some(drive) = drive else { continue };
            if self.keep_the_lost {
                actions.push(Action::Die { worker });
            }
            let full = state.intents[..self.writes].iter().all(Option::is_some);
            if !(full && matches!(drive.at, At::Intend { .. })) {
                actions.push(Action::Does { worker, what: drive.at });
            }
        }
        for intent in (0..WRITES).filter(|intent| state.network[*intent].is_some()) {
            actions.push(Action::Deliver { intent, heard: false });
            if self.sender(state, intent).is_some() {
                actions.push(Action::Deliver { intent, heard: true });
            }
        }
        // With a compare-and-swap nothing goes by time: its requests stay valid for ever.
        if !self.compare_and_swap {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Abort => state.jobs[PROMOTION].abort_requested = true,
            Action::RollBack => roll_back(&mut state),
            Action::Claim { job, worker } => self.claim(&mut state, job, worker),
            Action::Die { worker } => state.drives[worker] = None,
            Action::Does { worker, .. } => self.go_on(&mut state, worker),
            Action::Deliver { intent, heard } => self.deliver(&mut state, intent, heard),
            Action::Tick => self.tick(&mut state),
        }
        self.make_small(&mut state);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn settled(state: &State, job: usize, as_what: JobState, value: Value) -> bool {
            state.settled() && state.jobs[job].state == as_what && state.pointer.value == value
        }
        vec![
            Property::always(RIGHT, |_, state: &State| {
                !state.settled() || state.pointer.value == state.recorded
            }),
            Property::always(FENCED, |_, state: &State| !state.trespassed),
            Property::always(OURS, |_, state: &State| !state.mistaken),
            Property::sometimes(PROMOTED, |_, state: &State| {
                settled(state, PROMOTION, JobState::Succeeded, Value::Promoted)
            }),
            Property::sometimes(ROLLED_BACK, |model: &Self, state: &State| {
                let value = if model.plain { Value::Before } else { Value::RolledBack };
                settled(state, ROLLBACK, JobState::Succeeded, value)
            }),
            Property::sometimes(UNDONE, |model: &Self, state: &State| {
                let value = if model.plain { Value::Before } else { Value::PutBack };
                state.jobs[PROMOTION].touched && settled(state, PROMOTION, JobState::Aborted, value)
            }),
            Property::sometimes(PUT_RIGHT, |_, state: &State| state.put_right && state.settled()),
        ]
    }
}

impl ControlPlane {
    /// Who claims a job. Idle workers are all the same: the first one goes. One that has lost its lease and can do no
    /// harm is gone when the next one comes. (If every worker is about to sign, nobody claims before one has: a request
    /// in the network does all that one could do that is signed later.)
    fn claimer(&self, state: &State, job: usize) -> Option<usize> {
        state.drives.iter().position(|drive| match drive {
            None => true,
            Some(drive) => !self.keep_the_lost && drive.job == job && !matches!(drive.at, At::Sign { .. }),
        })
    }

    /// Who waits for the answer to a request.
    fn sender(&self, state: &State, intent: usize) -> Option<usize> {
        let waits = |drive: &Option<_>| drive.is_some_and(|drive: Drive| drive.at == At::Await { intent });
        state.drives.iter().position(waits)
    }

    /// AWS. SSM takes every request; a KeyValueStore only one that names its ETag.
    fn deliver(&self, state: &mut State, intent: usize, heard: bool) {
        let Some(row) = state.intents[intent] else { return };
        let sender = self.sender(state, intent).filter(|_| heard);
        state.network[intent] = None;
        let moved = self.compare_and_swap && row.replaces != state.pointer.version;
        if !moved {
            state.pointer = Pointer {
                value: row.value,
                version: state.pointer.version + 1,
            };
        }
        let version = state.pointer.version;
        if let Some(drive) = sender.and_then(|sender| state.drives[sender].as_mut()) {
            drive.at = if moved {
                At::Refused { intent }
            } else {
                At::Verify { intent, version }
            };
        }
    }

    fn tick(&self, state: &mut State) {
        for request in &mut state.network {
            *request = request.map(|age| age + 1).filter(|age| *age <= VALIDITY);
        }
        for intent in state.intents.iter_mut().flatten() {
            intent.age = (intent.age + 1).min(self.oldest());
        }
    }

    /// The age from which on nothing about an intent goes by its age.
    pub fn oldest(&self) -> u8 {
        if self.compare_and_swap {
            return 0;
        }
        SIGN_TICKS + self.late_write_watch.unwrap_or_default()
    }
}

/// `rollbacks::start`: one transaction.
fn roll_back(state: &mut State) {
    let holder = &mut state.jobs[PROMOTION];
    if holder.unfinished() {
        // `jobs::supersede`.
        holder.state = JobState::Superseded;
        holder.lease_epoch += 1;
        holder.leased = false;
        state.holder[PROMOTION] = None;
    }
    state.jobs[ROLLBACK].state = JobState::Running;
}
