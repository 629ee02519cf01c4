//! What a job does next, from its state, its steps and what people have said.

use super::{
    job::{JobKind, JobState, Step, StepState},
    plan::{self, Direction, OnFailure},
};

/// What people have said to a job, as far as it has not happened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    pub abort: bool,
    pub pause: bool,
    /// Everything is locked: the same as a pause, until it is lifted.
    pub lock: bool,
    pub promote_fully: bool,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Start these steps (or take them up again), side by side.
    Run(Vec<i32>),
    /// Steps are running: wait for one of them to end.
    InFlight,
    /// Every step that could go on waits for a time, or for somebody.
    Wait,
    /// A step failed, or the job was aborted: undo what was touched. What runs has to end, or be stopped, first.
    Unwind { aborting: bool },
    /// Every step has ended well, in this direction.
    Complete,
    /// Every step has ended, some of them badly, and there is no way back but this one.
    GetStuck,
}

/// A job as [`next`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct Position<'a> {
    pub kind: JobKind,
    pub state: JobState,
    pub round: i32,
    pub signals: Signals,
    pub steps: &'a [Step],
    /// Positions whose steps are being run by this worker right now.
    pub in_flight: &'a [i32],
}

impl<'a> Position<'a> {
    fn direction(&self) -> Direction {
        if self.state == JobState::Unwinding {
            Direction::Undo
        } else {
            Direction::Forward
        }
    }

    /// The steps of the round and direction it is in.
    fn current(&self) -> impl Iterator<Item = &'a Step> {
        let (round, direction) = (self.round, self.direction());
        let steps = self.steps.iter();
        steps.filter(move |step| step.round == round && step.direction == direction)
    }

    /// True while nothing new may begin. Only a promotion on its way can be held.
    pub fn is_held(&self) -> bool {
        (self.signals.pause || self.signals.lock)
            && self.kind == JobKind::Promotion
            && self.direction() == Direction::Forward
    }

    /// True when the new state is recorded: from here there is no undo, only a rollback.
    fn is_settled(&self) -> bool {
        self.direction() == Direction::Forward && plan::is_settled(self.steps)
    }

    /// True for a step that has to follow at once on one before it: traffic is never left half-moved by a pause.
    fn continues(&self, step: &Step) -> bool {
        let moves = |position: &i32| {
            let mut others = self.steps.iter();
            others.any(|other| other.position == *position && other.params.moves_traffic())
        };
        step.params.moves_traffic() && !step.after.is_empty() && step.after.iter().all(moves)
    }
}

/// Decides.
pub fn next(job: &Position<'_>) -> Next {
    let current: Vec<&Step> = job.current().collect();
    let unfinished = current.iter().any(|step| !step.state.is_end());
    // An abort that comes when the last step has recorded the new state comes too late.
    let aborting = job.signals.abort
        && job.kind != JobKind::Rollback
        && job.direction() == Direction::Forward
        && unfinished
        && !job.is_settled();
    let failed = current
        .iter()
        .any(|s| s.state == StepState::Failed && s.on_failure == OnFailure::Unwind);
    if failed || aborting {
        return Next::Unwind { aborting: !failed };
    }
    let held = job.is_held();
    let ended = |position: &i32| job.steps.iter().any(|s| s.position == *position && s.state.is_end());
    let ready: Vec<i32> = current
        .iter()
        .filter(|step| !job.in_flight.contains(&step.position))
        .filter(|step| match step.state {
            StepState::Pending => step.after.iter().all(ended) && (!held || job.continues(step)),
            // Running, but by nobody here: a worker died in the middle of it.
            StepState::Running => true,
            StepState::Waiting => step.due,
            _ => false,
        })
        .map(|step| step.position)
        .collect();
    if !ready.is_empty() {
        Next::Run(ready)
    } else if !job.in_flight.is_empty() {
        Next::InFlight
    } else if unfinished {
        Next::Wait
    } else if current.iter().any(|step| step.state == StepState::Failed) {
        match job.kind {
            // It holds nothing and has nothing to take back.
            JobKind::Invalidation => Next::Unwind { aborting: false },
            JobKind::Promotion | JobKind::Rollback => Next::GetStuck,
        }
    } else {
        Next::Complete
    }
}
