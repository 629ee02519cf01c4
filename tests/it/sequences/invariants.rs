//! What must be true after each step.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use greenlight::domain::pointer;
use serde_json::Value;

use super::{
    facts::{Facts, text, told},
    reference::Known,
    steps::RELEASES,
    system::{Said, World},
};

const UNFINISHED: [&str; 4] = ["queued", "running", "waiting", "unwinding"];

pub fn epoch(value: &str) -> i64 {
    pointer::epoch_of(Some(value))
}

/// Looks at everything.
pub async fn check(world: &mut World, known: &Known, about: &str) {
    let environment = world.app.environment().await;
    let turns = Facts::turns(&world.app).await;
    let said = world.all_pointers();
    let facts = Facts::read(&world.app).await;

    one_holder(&facts, about);
    for job in &facts.jobs {
        let about = format!("{about}: {}", told(&facts, job));
        ends_are_consistent(&facts, job, &about);
        rollbacks_get_through(&facts, job, &about);
        promotions_end_in_order(job, &about);
    }
    events_have_no_gaps(&facts, about);
    nobody_approves_their_own(&facts, about);
    epochs_grow(&facts, about);
    pointers_name_what_was_promoted(world, &facts, about);
    invalidations_are_sent_once(world, &facts, about);
    audit_has_every_mutation(world, &facts, about);
    locks_are_as_known(known, &environment, about);
    blocks_are_as_known(known, &facts, about);
    nothing_locked_or_blocked_starts(world, known, &facts, about);
    nothing_begins_in_what_is_held(world, &facts, about);
    somebody_else_was_seen(world, &facts);
    let idle = turns.iter().all(|(_, _, holds)| !holds) && facts.holder().is_none();
    if idle && turns == Facts::turns(&world.app).await {
        pointers_are_as_recorded(world, &facts, &said, about);
        assert_eq!(environment["active"], facts.active(), "{about}");
    }
    world.book.rounds = facts.rounds();
}

fn one_holder(facts: &Facts, about: &str) {
    let holders: Vec<&Value> = facts.jobs.iter().filter(|job| job["holds"] == true).collect();
    assert!(holders.len() <= 1, "{about}: {holders:#?}");
}

fn ends_are_consistent(facts: &Facts, job: &Value, about: &str) {
    let state = text(job, "state");
    let ended = !UNFINISHED.contains(&state);
    assert_eq!(!job["finished_at"].is_null(), ended, "finished: {about}");
    let holds = job["kind"] != "invalidation" && matches!(state, "running" | "waiting" | "unwinding" | "stuck");
    assert_eq!(job["holds"], holds, "holds: {about}");
    if ended {
        assert!(
            job["lease_owner"].is_null() && job["claimable_at"].is_null(),
            "nobody works on it: {about}"
        );
        for step in facts.steps_of(job) {
            assert!(
                !matches!(text(step, "state"), "pending" | "running" | "waiting"),
                "an open step: {about}"
            );
        }
    }
    let (error, cause) = (&job["error"], job["error"]["code"].as_str());
    let said_no = matches!(cause, Some("aborted" | "approval_rejected" | "approval_expired"));
    match state {
        "succeeded" => assert!(error.is_null() && !job["settled_at"].is_null(), "{about}"),
        "failed" | "stuck" => assert!(cause.is_some() && !said_no, "{about}"),
        "aborted" => {
            let clean = job["activated_at"].is_null() && error.is_null();
            assert!(clean || said_no || !job["superseded_by"].is_null(), "{about}");
        }
        _ => {}
    }
    if state == "succeeded" {
        let current = facts.steps_of(job).filter(|step| step["round"] == job["round"]);
        for step in current.filter(|step| step["direction"] == "forward") {
            assert!(
                matches!(text(step, "state"), "succeeded" | "skipped"),
                "a step that has not ended well: {about}"
            );
        }
    }
    assert!(state != "failed" || job["settled_at"].is_null(), "{about}");
}

fn promotions_end_in_order(job: &Value, about: &str) {
    if job["kind"] == "invalidation" {
        assert!(job["traffic_shifted_at"].is_null(), "{about}");
        return;
    }
    let at = |field: &str| {
        job[field]
            .as_str()
            .map(|text| DateTime::parse_from_rfc3339(text).unwrap())
    };
    if let Some(settled) = at("settled_at") {
        let shifted = at("traffic_shifted_at");
        assert!(
            shifted.is_some_and(|shifted| shifted <= settled),
            "shifted {shifted:?}, settled {settled}: {about}"
        );
    }
    let path = [at("created_at"), at("activated_at"), at("finished_at")];
    let path: Vec<_> = path.into_iter().flatten().collect();
    assert!(path.is_sorted(), "created, activated, finished: {about}");
}

/// A rollback runs at once, never turns round, and only another rollback takes its place.
fn rollbacks_get_through(facts: &Facts, job: &Value, about: &str) {
    if job["kind"] != "rollback" {
        return;
    }
    match text(job, "state") {
        "running" | "waiting" | "succeeded" | "stuck" => {}
        "aborted" => {
            let by = job["superseded_by"]
                .as_str()
                .unwrap_or_else(|| panic!("a rollback is aborted: {about}"));
            assert_eq!(
                facts.job(by)["kind"],
                "rollback",
                "a rollback's place is taken: {about}"
            );
        }
        other => panic!("a rollback is {other}: {about}"),
    }
}

fn events_have_no_gaps(facts: &Facts, about: &str) {
    assert_eq!(facts.events.len(), facts.jobs.len(), "{about}: every job has events");
    for events in &facts.events {
        assert_eq!(
            (&events["first"], &events["last"]),
            (&Value::from(1), &events["events"]),
            "{about}: {events:#}"
        );
        let kinds: Vec<&str> = events["kinds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| kind.as_str().unwrap())
            .collect();
        assert_eq!(kinds[0], "job.created", "{about}: {events:#}");
        let job = facts.job(text(events, "job_id"));
        let ends = ["job.succeeded", "job.failed", "job.aborted", "job.stuck", "job.retried"];
        let last = kinds.iter().rfind(|kind| ends.contains(kind));
        if let Some(state) = job["finished_at"].as_str().map(|_| text(job, "state")) {
            assert_eq!(
                last,
                Some(&format!("job.{state}").as_str()),
                "{about}: {}",
                told(facts, job)
            );
        } else {
            assert!(
                matches!(last, None | Some(&"job.retried")),
                "{about}: {}: {kinds:?}",
                told(facts, job)
            );
        }
    }
}

fn nobody_approves_their_own(facts: &Facts, about: &str) {
    for approval in facts.approvals.iter().filter(|approval| approval["approved"] == true) {
        let job = facts.job(text(approval, "job_id"));
        assert_ne!(approval["name"], job["created_by"], "{about}: {approval:#}");
    }
}

/// Our documents never go back in their epoch, and each way back frees every pinned visitor.
fn epochs_grow(facts: &Facts, about: &str) {
    let mut greatest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut seen: BTreeSet<(&str, &str, i64)> = BTreeSet::new();
    for write in &facts.writes {
        let (key, job) = (text(write, "pointer_key"), text(write, "job_id"));
        let position = write["position"].as_i64().unwrap();
        let Some(document) = write["value"].as_str().and_then(pointer::parse) else {
            continue;
        };
        let step = facts
            .steps
            .iter()
            .find(|step| step["job_id"] == job && step["position"] == position)
            .unwrap();
        let exactly = !step["params"]["want"]["exactly"].is_null();
        let last = greatest.get(key).copied().unwrap_or(0);
        assert!(
            exactly || document.epoch >= last,
            "{about}: the epoch of {key} falls from {last}: {write:#}"
        );
        let first = seen.insert((key, job, position));
        if first && step["params"]["raise_epoch"] == true && !exactly {
            assert!(
                document.epoch > last,
                "{about}: a way back frees nobody: {last}, {write:#}"
            );
        }
        greatest.insert(key, last.max(document.epoch));
    }
}

fn pointers_name_what_was_promoted(world: &World, facts: &Facts, about: &str) {
    let book = &world.book;
    for write in &facts.writes {
        let Some(document) = write["value"].as_str().and_then(pointer::parse) else {
            continue;
        };
        for named in [Some(&document.active), document.candidate.as_ref()]
            .into_iter()
            .flatten()
        {
            assert!(
                book.names.contains(named.as_str()),
                "{about}: nobody promoted {named}: {write:#}"
            );
        }
        match &document.candidate {
            None => assert_eq!(document.weight, 0, "{about}: {write:#}"),
            Some(candidate) => {
                let asked = book.weights.get(candidate.as_str());
                let known = asked.is_some_and(|asked| asked.contains(&i64::from(document.weight)));
                assert!(known, "{about}: nobody asked for that weight: {write:#}");
            }
        }
    }
}

fn invalidations_are_sent_once(world: &World, facts: &Facts, about: &str) {
    world.app.assert_one_invalidation_per_step();
    let sent: BTreeSet<String> = world
        .app
        .invalidations()
        .into_iter()
        .map(|sent| sent.caller_reference)
        .collect();
    let steps: Vec<&Value> = facts.steps.iter().filter(|step| step["kind"] == "invalidate").collect();
    for reference in &sent {
        assert!(
            steps.iter().any(|step| step["token"] == **reference),
            "{about}: {reference} is of no step"
        );
    }
    for step in steps
        .iter()
        .filter(|step| step["state"] == "succeeded" && step["output"]["late"].is_null())
    {
        assert!(sent.contains(text(step, "token")), "{about}: it sent none: {step:#}");
    }
}

/// Each mutation that had an effect is there, and nothing that nobody did.
fn audit_has_every_mutation(world: &World, facts: &Facts, about: &str) {
    let ours = [
        "promotion.",
        "rollback.",
        "job.",
        "environment.lock",
        "environment.unlock",
        "everything.",
        "release.block",
        "release.unblock",
    ];
    let times = |action: &str| {
        let row = facts.audit.iter().find(|row| row["action"] == action);
        row.map_or(0, |row| row["times"].as_u64().unwrap())
    };
    for (action, (least, most)) in &world.book.audited {
        let times = times(action);
        assert!(
            (*least..=*most).contains(&times),
            "{about}: {action} {times} times, not {least} to {most}"
        );
    }
    for row in &facts.audit {
        let action = text(row, "action");
        if ours.iter().any(|ours| action.starts_with(ours)) {
            assert!(world.book.audited.contains_key(action), "{about}: nobody did {row}");
        }
    }
}

fn locks_are_as_known(known: &Known, environment: &Value, about: &str) {
    let scope = match (known.locked, known.everything_locked) {
        (true, _) => Some("environment"),
        (false, true) => Some("everything"),
        (false, false) => None,
    };
    assert_eq!(
        environment["lock"]["scope"].as_str(),
        scope,
        "{about}: {}",
        environment["lock"]
    );
}

fn blocks_are_as_known(known: &Known, facts: &Facts, about: &str) {
    for (at, blocked) in known.blocked.iter().enumerate().take(known.registered) {
        if let Some(blocked) = blocked {
            assert_eq!(facts.blocks(RELEASES[at]), *blocked, "{about}: {}", RELEASES[at]);
        }
    }
}

/// No promotion gets its environment, or a second chance, through a lock or a block; unless an admin broke the glass.
fn nothing_locked_or_blocked_starts(world: &World, known: &Known, facts: &Facts, about: &str) {
    let Some(before) = &world.book.before else { return };
    let both = |is: &dyn Fn(&Known) -> bool| is(before) && is(known);
    let locked = both(&|known| known.locked) || both(&|known| known.everything_locked);
    for (id, round) in facts.rounds().difference(&world.book.rounds) {
        let job = facts.job(id);
        let forward = facts
            .steps_of(job)
            .any(|step| step["round"] == *round && step["kind"] == "preflight");
        if job["kind"] != "promotion" || !forward || !job["request"]["break_glass"].is_null() {
            continue;
        }
        let at = RELEASES.iter().position(|release| job["release"] == *release).unwrap();
        let blocked = both(&|known| known.blocked[at] == Some(true));
        assert!(
            !locked && !blocked,
            "{about}: it begins (locked: {locked}, blocked: {blocked}): {}",
            told(facts, job)
        );
    }
}

/// While it is paused, or everything is locked, a promotion goes on with what it has begun and with what has to follow a
/// flip at once, and with nothing else.
fn nothing_begins_in_what_is_held(world: &World, facts: &Facts, about: &str) {
    let Some(held) = &world.book.held else { return };
    let paused = facts.paused();
    let moves = |step: &Value| matches!(text(step, "kind"), "flip" | "edge_ttl" | "invalidate" | "converge");
    for step in &facts.steps {
        let job = facts.job(text(step, "job_id"));
        let forward = step["direction"] == "forward" && job["kind"] == "promotion";
        let key = (text(step, "job_id").to_owned(), step["position"].as_i64().unwrap());
        let new = !step["started_at"].is_null() && !held.begun.contains(&key);
        let is_paused = held.paused.contains(&key.0) && paused.contains(&key.0);
        let is_locked = held.everything && job["request"]["break_glass"].is_null();
        if !new || !forward || !(is_paused || is_locked) {
            continue;
        }
        let after = step["after"].as_array().unwrap();
        let follows = |position: &Value| {
            facts
                .steps_of(job)
                .any(|other| other["position"] == *position && moves(other))
        };
        let continues = moves(step) && !after.is_empty() && after.iter().all(follows);
        assert!(
            continues,
            "{about}: {step:#} begins although it is held: {}",
            told(facts, job)
        );
    }
}

/// Once a job that began later has settled a pointer, somebody else's write is no excuse any more.
fn somebody_else_was_seen(world: &mut World, facts: &Facts) {
    world.book.foreign.retain(|key, begun| {
        let saw = |step: &&Value| {
            let position = (text(step, "job_id").to_owned(), step["position"].as_i64().unwrap());
            step["kind"] == "settle"
                && step["state"] == "succeeded"
                && !step["output"]["pointers"][key.as_str()].is_null()
                && !begun.contains(&position)
        };
        !facts.steps.iter().any(|step| saw(&step))
    });
}

/// When nothing holds the environment, AWS says what is recorded, or the environment says drift.
fn pointers_are_as_recorded(world: &World, facts: &Facts, said: &Said, about: &str) {
    for pointer in &facts.pointers {
        let says = World::says(said, pointer);
        let excused = world.book.foreign.contains_key(text(pointer, "key"));
        let taken = pointer["taken"] == true;
        if !pointer["drift"].is_null() || excused || !taken {
            continue;
        }
        let jobs: Vec<String> = facts.jobs.iter().map(|job| told(facts, job)).collect();
        assert_eq!(
            pointer["value"].as_str(),
            says,
            "{about}: {pointer:#}\n{}",
            jobs.join("\n")
        );
    }
}
