//! Tells a path of the model in words, and what its shape is.

use stateright::Path;

use super::{
    state::{At, Drive, State, Value},
    world::Action,
};

/// The turning points of a path: what a reader has to see to believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Aborts,
    RollsBack,
    Claims(usize),
    Intends(usize, Value),
    Signs(usize),
    Asks,
    Looks,
    /// A job ends.
    Ends,
    Lands(Value),
    TimePasses,
}

/// A path, by what happened and what it happened to.
pub struct Tale {
    steps: Vec<(State, Action, State)>,
}

impl Tale {
    pub fn new(path: Path<State, Action>) -> Self {
        let path = path.into_vec();
        let after = path.iter().skip(1).map(|(state, _)| *state);
        let steps = path
            .iter()
            .zip(after)
            .filter_map(|((before, action), after)| Some((*before, (*action)?, after)));
        Self { steps: steps.collect() }
    }

    pub fn last(&self) -> &State {
        &self.steps.last().expect("a path to something wrong has steps").2
    }

    /// True when these points come in this order, whatever is between them.
    pub fn has(&self, points: &[Point]) -> bool {
        let mut wanted = points.iter().peekable();
        for step in &self.steps {
            let points = points_of(step);
            while wanted.next_if(|point| points.contains(point)).is_some() {}
        }
        wanted.peek().is_none()
    }

    pub fn words(&self) -> String {
        let lines = self
            .steps
            .iter()
            .map(|(before, action, after)| format!("  {}\n", line(before, *action, after)));
        lines.collect()
    }
}

fn points_of((before, action, after): &(State, Action, State)) -> Vec<Point> {
    let mut points = match *action {
        Action::Abort => vec![Point::Aborts],
        Action::RollBack => vec![Point::RollsBack],
        Action::Claim { worker, .. } => vec![Point::Claims(worker)],
        Action::Deliver { intent, .. } => vec![Point::Lands(value(before, intent))],
        Action::Tick => vec![Point::TimePasses],
        Action::Does { worker, what } => match what {
            At::Intend { .. } => vec![Point::Intends(worker, wanted(before, worker))],
            At::Sign { .. } => vec![Point::Signs(worker)],
            At::SettleAsk { .. } => vec![Point::Asks],
            At::SettleLook { .. } => vec![Point::Looks],
            _ => Vec::new(),
        },
        Action::Die { .. } => Vec::new(),
    };
    let ends = |job: usize| before.jobs[job].unfinished() && !after.jobs[job].unfinished();
    if !matches!(action, Action::RollBack) && (0..before.jobs.len()).any(ends) {
        points.push(Point::Ends);
    }
    points
}

fn value(state: &State, intent: usize) -> Value {
    state.intents[intent].expect("a request is of an intent").value
}

fn wanted(state: &State, worker: usize) -> Value {
    state.drives[worker]
        .map(|Drive { wanted, .. }| wanted)
        .expect("a worker that does something is there")
}

fn line(before: &State, action: Action, after: &State) -> String {
    let job = |number: usize| ["the promotion", "the rollback"][number];
    match action {
        Action::Abort => "somebody aborts the promotion".to_owned(),
        Action::RollBack => "somebody starts a rollback".to_owned(),
        Action::Claim { job: number, worker } => format!("worker {worker} claims {}", job(number)),
        Action::Die { worker } => format!("worker {worker} dies"),
        Action::Deliver { intent, heard } => {
            let heard = if heard {
                "and its answer is heard"
            } else {
                "and nobody hears its answer"
            };
            format!("the request to write {:?} arrives, {heard}", value(before, intent))
        }
        Action::Tick => "time passes".to_owned(),
        Action::Does { worker, what } => {
            let number = before.drives[worker].map_or(0, |drive| drive.job);
            let ended = before.jobs[number].unfinished() && !after.jobs[number].unfinished();
            let ended = if ended {
                format!("; {} has ended", job(number))
            } else {
                String::new()
            };
            format!(
                "worker {worker} on {} {}{ended}",
                job(number),
                does(what, wanted(before, worker))
            )
        }
    }
}

fn does(what: At, wanted: Value) -> String {
    match what {
        At::Observe => "looks at the pointer".to_owned(),
        At::NoteLanded { .. } | At::SettleNoteLanded { .. } => "notes a write that has landed".to_owned(),
        At::Intend { seen } => format!("stores its intent to write {wanted:?} over {:?}", seen.value),
        At::Sign { .. } => format!("signs and sends the request to write {wanted:?}, unless it is too late for that"),
        At::Await { .. } => "gives up waiting for an answer".to_owned(),
        At::Refused { .. } => "stores that its write was refused".to_owned(),
        At::Verify { .. } => "reads its write back".to_owned(),
        At::Answered { verified: true, .. } => "stores the answer: the flip is done".to_owned(),
        At::Answered { verified: false, .. } => "stores the answer, but the pointer says something else".to_owned(),
        At::Already => "has nothing to write: the flip is done".to_owned(),
        At::SettleAsk { .. } => "asks whether an unanswered write may still land".to_owned(),
        At::SettleLook { .. } => "looks at the pointer, to settle".to_owned(),
        At::SettleFinish { late, seen, .. } => {
            let late = if late {
                "something may still land"
            } else {
                "nothing can land any more"
            };
            format!("has seen {:?} where {wanted:?} shall be; {late}", seen.value)
        }
    }
}
