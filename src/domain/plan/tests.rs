//! Plans from documents, and what a job does next with them: no database, no AWS, no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::{
    environment::EnvironmentDocument,
    job::{Inherited, JobKind, JobState, Step, StepState},
    schedule::{self, Next, Position, Signals},
};

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn environment(more: Value) -> EnvironmentDocument {
    let component =
        |name: &str| json!({"name": name, "router": {"kind": "ssm_pointer", "parameter": format!("/{name}")}});
    let mut document = json!({"aws": {"region": "us-east-1"}, "components": [component("api"), component("web")]});
    document
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(document).unwrap()
}

fn planned(environment: &EnvironmentDocument) -> Vec<PlannedStep> {
    promotion(&Promotion {
        environment,
        strategy: &environment.strategy,
        release: &version("2"),
        from: Some(&version("1")),
        before: None,
        untaken: &BTreeSet::new(),
        on_drift: OnDrift::Reject,
        owed: &[],
    })
}

/// The plan as it would be stored.
fn stored(plan: Vec<PlannedStep>) -> Vec<Step> {
    let job = Uuid::nil();
    let step = |step: PlannedStep| Step {
        token: token(job, step.position, step.direction, 1),
        position: step.position,
        round: 1,
        direction: step.direction,
        stage: step.stage,
        component: step.component,
        params: step.params,
        after: step.after,
        on_failure: step.on_failure,
        state: StepState::Pending,
        attempts: 0,
        found: BTreeMap::new(),
        wanted: BTreeMap::new(),
        record: json!({}),
        output: json!({}),
        error: None,
        waiting_for: None,
        wake_at: None,
        due: false,
        started_at: None,
        finished_at: None,
    };
    plan.into_iter().map(step).collect()
}

fn next(steps: &[Step], signals: Signals) -> Next {
    schedule::next(&Position {
        kind: JobKind::Promotion,
        state: JobState::Running,
        round: 1,
        signals,
        steps,
        in_flight: &[],
    })
}

/// Runs the plan as far as `next` lets it go, ending each step well. Returns the words of each turn.
fn walk(steps: &mut [Step], signals: Signals) -> Vec<String> {
    let mut turns = Vec::new();
    while let Next::Run(positions) = next(steps, signals) {
        let mut words = Vec::new();
        for step in steps.iter_mut().filter(|step| positions.contains(&step.position)) {
            words.push(format!("{}/{}", step.stage, step.params.kind()));
            step.state = StepState::Succeeded;
        }
        turns.push(words.join(" + "));
    }
    turns
}

fn watched() -> EnvironmentDocument {
    let url = "https://example.com/";
    environment(json!({
        "strategy": {"kind": "canary", "components": ["api"], "steps": [
            {"weight": 10, "bake_seconds": 60, "approval": true}, {"weight": 100, "bake_seconds": 30}]},
        "checks": [{"name": "smoke", "when": "before_traffic", "kind": "http", "url": url},
                   {"name": "errors", "when": "during_bake", "kind": "http", "url": url},
                   {"name": "public", "when": "after_traffic", "kind": "http", "url": url}],
        "hooks": [{"name": "expand", "when": "before_traffic", "url": url, "undo": {"url": url}},
                  {"name": "warm", "when": "before_weight", "weight": 100, "url": url, "undo": {"url": url}}],
        "approvals": {"before_traffic": true},
    }))
}

#[test]
fn a_promotion_goes_through_its_stages_in_order() {
    let turns = walk(&mut stored(planned(&watched())), Signals::default());
    assert_eq!(
        turns,
        [
            "preflight/preflight + preflight/preflight",
            "hooks/hook",
            "before_traffic/check",
            "before_traffic/approval",
            "weight-10:api/flip",
            "weight-10:api/edge_ttl",
            "weight-10/bake + weight-10/check",
            "weight-10/approval",
            "hooks/hook",
            "traffic:api/flip",
            "traffic:api/edge_ttl",
            "traffic:web/flip",
            "traffic:web/edge_ttl",
            "after_traffic/check + after_traffic/bake + after_traffic/check",
            "settle/settle",
        ]
    );
}

#[test]
fn a_pause_lets_a_flip_be_followed_by_what_belongs_to_it_and_nothing_else() {
    let mut steps = stored(planned(&environment(json!({}))));
    for step in &mut steps {
        if matches!(step.params, StepParams::Preflight { .. }) {
            step.state = StepState::Succeeded;
        }
    }
    let held = Signals {
        pause: true,
        ..Signals::default()
    };
    assert_eq!(next(&steps, held), Next::Wait, "no flip begins");
    steps[2].state = StepState::Succeeded;
    assert_eq!(
        walk(&mut steps, held),
        ["traffic:api/edge_ttl", "traffic:web/flip", "traffic:web/edge_ttl"],
        "one component is never left on another release than the next"
    );
    assert_eq!(next(&steps, held), Next::Wait, "it does not settle");
    assert_eq!(walk(&mut steps, Signals::default()), ["settle/settle"]);
}

/// Runs the plan to its end with what `promote_fully` leaves out left out, as the engine does at each turn. Returns the
/// words of each turn.
fn walk_fully(steps: &mut [Step]) -> Vec<String> {
    let mut turns = Vec::new();
    loop {
        let skipped = skipped_by_promoting_fully(steps, 1);
        for step in steps.iter_mut().filter(|step| skipped.contains(&step.position)) {
            step.state = StepState::Skipped;
        }
        let Next::Run(positions) = next(steps, Signals::default()) else {
            return turns;
        };
        let mut words = Vec::new();
        for step in steps.iter_mut().filter(|step| positions.contains(&step.position)) {
            words.push(format!("{}/{}", step.stage, step.params.kind()));
            step.state = StepState::Succeeded;
        }
        turns.push(words.join(" + "));
    }
}

#[test]
fn going_on_fully_leaves_out_bakes_and_shares_and_keeps_the_order_of_the_rest() {
    assert_eq!(
        walk_fully(&mut stored(planned(&watched()))),
        [
            "preflight/preflight + preflight/preflight",
            "hooks/hook",
            "before_traffic/check",
            "before_traffic/approval",
            "weight-10/approval",
            "hooks/hook",
            "traffic:api/flip",
            "traffic:api/edge_ttl",
            "traffic:web/flip",
            "traffic:web/edge_ttl",
            "after_traffic/check",
            "settle/settle",
        ]
    );
    let last = environment(json!({"strategy": {"kind": "all_at_once", "bake_seconds": 60}}));
    assert_eq!(
        walk_fully(&mut stored(planned(&last))),
        [
            "preflight/preflight + preflight/preflight",
            "traffic:api/flip",
            "traffic:api/edge_ttl",
            "traffic:web/flip",
            "traffic:web/edge_ttl",
            "settle/settle",
        ]
    );
}

#[test]
fn a_share_that_has_begun_is_not_left_out_and_neither_is_what_follows_it() {
    let mut steps = stored(planned(&watched()));
    for step in &mut steps {
        step.state = match step.stage.as_str() {
            "preflight" | "hooks" | "before_traffic" => StepState::Succeeded,
            "weight-10:api" if matches!(step.params, StepParams::Flip(_)) => StepState::Waiting,
            _ => StepState::Pending,
        };
    }
    let skipped = skipped_by_promoting_fully(&steps, 1);
    let kept = steps.iter().filter(|step| step.stage == "weight-10:api");
    assert!(kept.into_iter().all(|step| !skipped.contains(&step.position)));
}

#[test]
fn how_many_visitors_are_there_is_told_by_the_flips_that_are_done() {
    let mut steps = stored(planned(&watched()));
    let mut seen = vec![served(&steps, 1)];
    while let Next::Run(positions) = next(&steps, Signals::default()) {
        for step in steps.iter_mut().filter(|step| positions.contains(&step.position)) {
            step.state = StepState::Succeeded;
        }
        let now = served(&steps, 1);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, [0, 10, 100]);
}

#[test]
fn an_undo_takes_back_only_hooks_that_were_called_and_those_amid_traffic_beside_it() {
    let document = watched();
    let mut steps = stored(planned(&document));
    for step in &mut steps {
        if matches!(step.params, StepParams::Hook(_)) {
            step.record = json!({"called": true});
        }
        if step.stage == "traffic:api" && matches!(step.params, StepParams::Flip(_)) {
            step.wanted.insert("us-east-1".into(), Some("2".into()));
            step.found.insert("us-east-1".into(), Some("1".into()));
        }
    }
    let plan = undo(&document, &steps, &Inherited::default(), &BTreeSet::new());
    let words: Vec<String> = plan
        .iter()
        .map(|step| format!("{}/{} {:?}", step.stage, step.params.kind(), step.after))
        .collect();
    let first = plan[0].position;
    assert_eq!(
        words,
        [
            "hooks/hook []".to_owned(),
            "undo:api/flip []".to_owned(),
            format!("undo:api/edge_ttl [{}]", first + 1),
            format!("settle/settle [{}]", first + 2),
            format!("hooks/hook [{}]", first + 3),
        ]
    );
    assert!(plan.iter().all(|step| step.on_failure == OnFailure::GoOn));
    // What has been taken back is owed no more.
    let mut all = steps.clone();
    all.extend(stored(plan).into_iter().map(|step| Step {
        state: StepState::Succeeded,
        ..step
    }));
    assert!(owed(&all, &[]).is_empty());
    assert_eq!(owed(&steps, &[]).len(), 2);
}

#[test]
fn components_that_are_not_ours_yet_flip_only_when_everyone_does() {
    let document = environment(json!({"strategy": {"kind": "linear", "step_weight": 50, "interval_seconds": 1}}));
    let untaken = BTreeSet::from([Name::parse("web").unwrap()]);
    let plan = promotion(&Promotion {
        environment: &document,
        strategy: &document.strategy,
        release: &version("2"),
        from: Some(&version("1")),
        before: Some(&version("0")),
        untaken: &untaken,
        on_drift: OnDrift::Reject,
        owed: &[],
    });
    let flips: Vec<(&str, &Want)> = plan
        .iter()
        .filter_map(|step| match &step.params {
            StepParams::Flip(flip) => Some((step.stage.as_str(), &flip.want)),
            _ => None,
        })
        .collect();
    let stages: Vec<&str> = flips.iter().map(|(stage, _)| *stage).collect();
    assert_eq!(stages, ["weight-50:api", "traffic:api", "traffic:web"]);
    let share = Shift {
        active: version("1"),
        previous: Some(version("0")),
        candidate: Some(version("2")),
        weight: 50,
    };
    assert_eq!(flips[0].1, &Want::Shift(share));
}

#[test]
fn a_retry_points_its_copies_at_each_other() {
    let mut steps = stored(planned(&watched()));
    for step in &mut steps {
        step.state = StepState::Undone;
    }
    let again = retry(&steps, 1, Direction::Forward, true);
    let positions: BTreeSet<i32> = again.iter().map(|step| step.position).collect();
    assert_eq!(again.len(), steps.len());
    for step in &again {
        assert!(
            step.after.iter().all(|position| positions.contains(position)),
            "{step:?}"
        );
        let named: Vec<i32> = match &step.params {
            StepParams::Check(run) => run.bake.into_iter().collect(),
            StepParams::EdgeTtl { flip, .. } => vec![*flip],
            StepParams::Settle { flips, .. } => flips.clone(),
            _ => Vec::new(),
        };
        assert!(named.iter().all(|position| positions.contains(position)), "{step:?}");
    }
}

#[test]
fn an_abort_comes_too_late_when_the_new_state_is_recorded() {
    let mut document = watched();
    document.hooks.truncate(1);
    let run = HookRun {
        hook: document.hooks[0].clone(),
        release: version("0"),
        from_release: None,
        weight: 0,
        undoes: Some("token".into()),
    };
    let plan = promotion(&Promotion {
        environment: &document,
        strategy: &document.strategy,
        release: &version("2"),
        from: Some(&version("1")),
        before: None,
        untaken: &BTreeSet::new(),
        on_drift: OnDrift::Reject,
        owed: &[run],
    });
    let mut steps = stored(plan);
    let abort = Signals {
        abort: true,
        ..Signals::default()
    };
    assert_eq!(next(&steps, abort), Next::Unwind { aborting: true });
    for step in &mut steps {
        step.state = StepState::Succeeded;
    }
    let last = steps.last_mut().unwrap();
    assert!(
        matches!(last.params, StepParams::Hook(_)),
        "what another job owed comes after the last word"
    );
    last.state = StepState::Pending;
    let position = last.position;
    assert_eq!(next(&steps, abort), Next::Run(vec![position]));
}
