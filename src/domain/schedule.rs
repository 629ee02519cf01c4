//! What a job does next, from its state and its steps alone.

use super::{
    job::{JobKind, JobState, Step, StepState},
    plan::{Direction, OnFailure},
};

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Start these steps (or take them up again), side by side.
    Run(Vec<i32>),
    /// Steps are running: wait for one of them to end.
    InFlight,
    /// Every step that could go on waits for a time.
    Wait,
    /// A step failed, or the job was aborted: undo what was touched.
    Unwind { aborting: bool },
    /// Every step has ended well, in this direction.
    Complete,
    /// Every step has ended, some of them badly, and there is no way back but this one.
    GetStuck,
}

/// Decides. `in_flight`: positions whose steps are being run by this worker right now.
pub fn next(
    kind: JobKind,
    state: JobState,
    round: i32,
    abort_requested: bool,
    steps: &[Step],
    in_flight: &[i32],
) -> Next {
    let direction = if state == JobState::Unwinding {
        Direction::Undo
    } else {
        Direction::Forward
    };
    let current: Vec<&Step> = steps
        .iter()
        .filter(|s| s.round == round && s.direction == direction)
        .collect();
    // An abort that comes when the last step has recorded the new state comes too late.
    let unfinished = current.iter().any(|step| !step.state.is_end());
    let aborting = abort_requested && kind == JobKind::Promotion && direction == Direction::Forward && unfinished;
    let failed = current
        .iter()
        .any(|s| s.state == StepState::Failed && s.on_failure == OnFailure::Unwind);
    if failed || aborting {
        return if in_flight.is_empty() {
            Next::Unwind { aborting: !failed }
        } else {
            Next::InFlight
        };
    }
    let ended = |position: &i32| steps.iter().any(|s| s.position == *position && s.state.is_end());
    let ready: Vec<i32> = current
        .iter()
        .filter(|step| !in_flight.contains(&step.position))
        .filter(|step| match step.state {
            StepState::Pending => step.after.iter().all(ended),
            // Running, but by nobody here: a worker died in the middle of it.
            StepState::Running => true,
            StepState::Waiting => step.due,
            _ => false,
        })
        .map(|step| step.position)
        .collect();
    if !ready.is_empty() {
        Next::Run(ready)
    } else if !in_flight.is_empty() {
        Next::InFlight
    } else if current.iter().any(|step| !step.state.is_end()) {
        Next::Wait
    } else if current.iter().any(|step| step.state == StepState::Failed) {
        Next::GetStuck
    } else {
        Next::Complete
    }
}
