//! What the model knows: the rows of the database, the pointer in AWS, the network, and the workers.
//!
//! Only what decides is kept. Everything is small and `Copy`: the checker makes millions of these.

/// The most rows of `pointer_writes`.
pub const WRITES: usize = 4;
/// Drives (`engine::drive`) that can be alive at the same time: one that holds the lease, and one that has lost it
/// and does not know. More may have gone before; their requests are in the network.
pub const WORKERS: usize = 2;
/// The job that flips `Before` to `Promoted`.
pub const PROMOTION: usize = 0;
/// The job that takes its place, or comes after it.
pub const ROLLBACK: usize = 1;

/// What a pointer can say. In the `plain` format all ways back write `Before`; a `json` document has a greater
/// epoch each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    Before,
    Promoted,
    PutBack,
    RolledBack,
}

/// `jobs.state`, as far as it matters here. A job that waits is `Running` or `Unwinding` and held by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    Absent,
    Running,
    Unwinding,
    Succeeded,
    /// Undone: the old state is recorded. (Or never begun.)
    Aborted,
    /// `aborted` with `superseded_by`.
    Superseded,
}

/// The step that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Flip,
    Settle,
}

/// A row of `jobs`, with its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    pub state: JobState,
    /// `lease_owner` is not null. All workers here are drives of one process, so the owner never tells them apart.
    pub leased: bool,
    pub lease_epoch: u8,
    pub abort_requested: bool,
    /// A flip has stored what it wants: an undo is owed.
    pub touched: bool,
    pub step: Step,
}

impl Job {
    pub const fn new(state: JobState) -> Self {
        Self {
            state,
            leased: false,
            lease_epoch: 0,
            abort_requested: false,
            touched: false,
            step: Step::Flip,
        }
    }

    pub fn unfinished(&self) -> bool {
        matches!(self.state, JobState::Running | JobState::Unwinding)
    }
}

/// `pointer_writes.outcome`, with its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Written(u8),
    Refused,
    Landed(u8),
    Fenced,
}

/// A row of `pointer_writes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intent {
    pub job: usize,
    pub value: Value,
    /// `replaces_version`; the ETag of a store that compares.
    pub replaces: u8,
    /// Ticks since it was stored, as far as that can matter.
    pub age: u8,
    pub outcome: Option<Outcome>,
}

/// The pointer in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    pub value: Value,
    pub version: u8,
}

/// Where a drive is: what it does next, with what it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    Observe,
    NoteLanded { seen: Pointer },
    Intend { seen: Pointer },
    Sign { intent: usize },
    Await { intent: usize },
    Refused { intent: usize },
    Verify { intent: usize, version: u8 },
    Answered { intent: usize, version: u8, verified: bool },
    Already,
    SettleAsk { seen: Option<Pointer>, landed: bool },
    SettleLook { late: Option<bool> },
    SettleNoteLanded { late: Option<bool>, seen: Pointer },
    SettleFinish { late: bool, seen: Pointer, landed: bool },
}

/// A worker on a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Drive {
    pub job: usize,
    /// The epoch of its lease.
    pub epoch: u8,
    pub wanted: Value,
    pub at: At,
}

impl Drive {
    /// The intent that it is busy with.
    pub fn write_mut(&mut self) -> Option<&mut usize> {
        match &mut self.at {
            At::Sign { intent }
            | At::Await { intent }
            | At::Refused { intent }
            | At::Verify { intent, .. }
            | At::Answered { intent, .. } => Some(intent),
            _ => None,
        }
    }

    pub fn write(mut self) -> Option<usize> {
        self.write_mut().copied()
    }
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    // The database.
    pub jobs: [Job; 2],
    /// `pointers.value`: what AWS must say once the last job has settled.
    pub recorded: Value,
    pub intents: [Option<Intent>; WRITES],
    // AWS, and what is on its way to it: for each intent its request, by ticks since its signature.
    pub pointer: Pointer,
    pub network: [Option<u8>; WRITES],
    // The workers.
    pub drives: [Option<Drive>; WORKERS],
    // What no part of the system can see: who was given each job last and has not lost it, and what went wrong.
    pub holder: [Option<usize>; 2],
    pub trespassed: bool,
    pub mistaken: bool,
    pub put_right: bool,
}

impl State {
    /// The promotion was accepted and holds the environment; nobody has claimed it yet.
    pub fn accepted() -> Self {
        Self {
            jobs: [Job::new(JobState::Running), Job::new(JobState::Absent)],
            recorded: Value::Before,
            intents: [None; WRITES],
            pointer: Pointer {
                value: Value::Before,
                version: 1,
            },
            network: [None; WRITES],
            drives: [None; WORKERS],
            holder: [None; 2],
            trespassed: false,
            mistaken: false,
            put_right: false,
        }
    }

    /// No job is unfinished: nobody watches any more, and what AWS says must be what is recorded.
    pub fn settled(&self) -> bool {
        !self.jobs.iter().any(Job::unfinished)
    }

    /// True when the worker has the lease of its job: known to nobody in the system.
    pub fn holds(&self, worker: usize) -> bool {
        self.drives[worker].is_some_and(|drive| self.holder[drive.job] == Some(worker))
    }

    pub fn unanswered(&self) -> impl Iterator<Item = &Intent> {
        self.intents.iter().flatten().filter(|intent| intent.outcome.is_none())
    }

    /// `pointers::is_late_write`. Where versions are not counted, nothing is ever `Landed`.
    pub fn is_late_write(&self, seen: Pointer) -> bool {
        self.intents.iter().flatten().any(|intent| {
            intent.value == seen.value
                && matches!(intent.outcome, None | Some(Outcome::Landed(_)))
                && intent
                    .outcome
                    .is_none_or(|outcome| outcome == Outcome::Landed(seen.version))
        })
    }

    /// `pointers::landed`.
    pub fn landed(&mut self, seen: Pointer) {
        let of_value = |intent: &Intent| intent.value == seen.value;
        if self.unanswered().filter(|intent| of_value(intent)).count() != 1 {
            return;
        }
        let answered = |intent: &Intent| matches!(intent.outcome, Some(Outcome::Written(version) | Outcome::Landed(version)) if version == seen.version);
        if self
            .intents
            .iter()
            .flatten()
            .any(|intent| of_value(intent) && answered(intent))
        {
            return;
        }
        for intent in self.intents.iter_mut().flatten() {
            if intent.outcome.is_none() && of_value(intent) && intent.replaces < seen.version {
                intent.outcome = Some(Outcome::Landed(seen.version));
            }
        }
    }

    /// `pointers::ours`, and what `flip::decide` accepts beside it: a pointer that is taken says what is recorded.
    pub fn accepts(&self, job: usize, value: Value) -> bool {
        // A rollback inherits the jobs that it supersedes.
        let of_job = |intent: &Intent| {
            intent.job == job || (job == ROLLBACK && self.jobs[PROMOTION].state == JobState::Superseded)
        };
        let ours = |intent: &Intent| {
            intent.value == value && (of_job(intent) || matches!(intent.outcome, None | Some(Outcome::Landed(_))))
        };
        value == self.recorded || self.intents.iter().flatten().any(ours)
    }
}
