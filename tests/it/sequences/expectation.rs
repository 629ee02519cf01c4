//! What a request has to be answered with: from what is known by contract, and from what the API says of the system
//! right before it.

use std::fmt;

use serde_json::{Value, json};

use super::{
    facts::Facts,
    reference::Known,
    steps::{OnConflict, Promote, RELEASES, Signal, Way, Who, Whose},
};
use crate::support::{Answer, ENVIRONMENT, TestApp};

/// What the API says of the system.
pub struct Look {
    pub environment: Value,
    /// Newest first.
    pub jobs: Vec<Value>,
    pub deployments: Vec<Value>,
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |job: &Value| {
            format!(
                "{} {} of {}: {} {}",
                job["kind"], job["id"], job["release"], job["state"], job["waiting_for"]
            )
        };
        let jobs: Vec<String> = self.jobs.iter().map(words).collect();
        let short = |field: &str| &self.environment[field];
        write!(
            f,
            "active {}, held by {}, lock {}, drift {}; {jobs:#?}",
            short("active"),
            short("current_job"),
            short("lock"),
            short("drift")
        )
    }
}

impl Look {
    pub async fn at(app: &TestApp) -> Self {
        let items = async |path: &str| {
            app.get(path).await.expect(200).json()["items"]
                .as_array()
                .unwrap()
                .clone()
        };
        Self {
            environment: app.environment().await,
            jobs: items("/v1/jobs?limit=100").await,
            deployments: items(&format!("{ENVIRONMENT}/deployments?limit=100")).await,
        }
    }

    pub fn holder(&self) -> Option<&Value> {
        let id = &self.environment["current_job"];
        self.jobs.iter().find(|job| job["id"] == *id)
    }

    pub fn whose(&self, whose: Whose) -> Option<&Value> {
        match whose {
            Whose::Holder => self.holder().or(self.jobs.first()),
            Whose::Newest => self.jobs.first(),
        }
    }

    pub fn waits_for(&self) -> Option<&str> {
        self.holder()?["waiting_for"].as_str()
    }

    /// Somebody has to say something before it goes on.
    pub fn waits_for_a_person(&self) -> bool {
        matches!(self.waits_for(), Some("approval" | "pause"))
    }

    /// Something of the environment is queued or runs.
    fn any_unfinished(&self) -> bool {
        self.jobs.iter().any(|job| job["finished_at"].is_null()) || self.holder().is_some()
    }

    fn has_served(&self, release: &str) -> bool {
        self.deployments
            .iter()
            .any(|deployment| deployment["release"] == release)
    }
}

/// An answer: its status, and the code of a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    pub code: String,
}

impl Answered {
    pub fn of(answer: &Answer) -> Self {
        let status = answer.status.as_u16();
        let code = if status < 400 {
            String::new()
        } else {
            answer.json()["code"].as_str().unwrap().to_owned()
        };
        let mut tally = super::tally::TALLY.lock().unwrap();
        let counted = if code.is_empty() {
            status.to_string()
        } else {
            format!("{status} {code}")
        };
        *tally.answers.entry(counted).or_default() += 1;
        Self { status, code }
    }
}

/// What the answer must be, and whether it depends on nothing that workers do.
#[derive(Debug)]
pub struct Expected {
    status: u16,
    code: &'static str,
    certain: bool,
}

impl Expected {
    fn now(status: u16, code: &'static str) -> Self {
        Self {
            status,
            code,
            certain: false,
        }
    }

    fn always(status: u16, code: &'static str) -> Self {
        Self {
            status,
            code,
            certain: true,
        }
    }

    pub fn is_certain(&self) -> bool {
        self.certain
    }

    #[track_caller]
    pub fn assert(&self, said: &Answered, look: &Look) {
        assert_eq!((said.status, said.code.as_str()), (self.status, self.code), "{look:?}");
    }
}

/// What may be said to a promotion at all.
pub const PROMOTION: &[(u16, &str)] = &[
    (202, ""),
    (409, "job_in_progress"),
    (409, "already_active"),
    (422, "strategy_impossible"),
];
/// A rollback is never refused because of a lock, a block, or another job.
pub const ROLLBACK: &[(u16, &str)] = &[
    (202, ""),
    (404, "not_found"),
    (409, "already_active"),
    (409, "nothing_to_roll_back_to"),
    (422, "not_a_rollback_target"),
];
pub const SIGNAL: &[(u16, &str)] = &[
    (202, ""),
    (403, "forbidden"),
    (403, "own_approval"),
    (409, "job_in_progress"),
    (409, "job_superseded"),
    (409, "not_abortable"),
    (409, "not_pausable"),
    (409, "not_promotable"),
    (409, "not_retryable"),
    (409, "nothing_to_approve"),
    (409, "release_blocked"),
    (423, "environment_locked"),
];

#[track_caller]
pub fn assert_one_of(said: &Answered, may: &[(u16, &str)], look: &Look) {
    let known = may
        .iter()
        .any(|(status, code)| said.status == *status && said.code == *code);
    assert!(known, "{said:?} is no answer to that: {look:?}");
}

pub fn promotion(known: &Known, look: &Look, promote: &Promote, blocked: bool) -> Expected {
    if !known.exists(promote.release) {
        return Expected::always(404, "not_found");
    }
    if !promote.break_glass {
        if known.locked || known.everything_locked {
            return Expected::always(423, "environment_locked");
        }
        if blocked {
            return Expected::always(409, "release_blocked");
        }
    }
    let holder = look.holder();
    match (holder, promote.on_conflict) {
        (Some(_), OnConflict::Queue) => return Expected::now(202, ""),
        (None, OnConflict::Queue) if look.any_unfinished() => return Expected::now(202, ""),
        (Some(holder), OnConflict::Supersede) if holder["kind"] == "promotion" => {}
        (Some(_), _) => return Expected::now(409, "job_in_progress"),
        (None, _) if look.environment["active"] == promote.release.version() => {
            return Expected::now(409, "already_active");
        }
        (None, _) => {}
    }
    // Nobody could stay on what was there before.
    if look.environment["active"].is_null() && matches!(promote.way, Way::Canary { .. }) {
        return Expected::now(422, "strategy_impossible");
    }
    Expected::now(202, "")
}

pub fn rollback(known: &Known, look: &Look, to: Option<&str>) -> Expected {
    let target = match to {
        Some(to) => {
            let exists = RELEASES[..known.registered].contains(&to);
            if !exists {
                return Expected::always(404, "not_found");
            }
            if !look.has_served(to) {
                return Expected::now(422, "not_a_rollback_target");
            }
            json!(to)
        }
        None if look.environment["rollback_ready"] == false => return Expected::now(409, "nothing_to_roll_back_to"),
        None => look.environment["previous"].clone(),
    };
    let drifted = !look.environment["drift"].is_null();
    let idle = look.holder().is_none() && !look.deployments.is_empty() && !drifted;
    if idle && target == look.environment["active"] {
        return Expected::now(409, "already_active");
    }
    Expected::now(202, "")
}

pub fn signal(known: &Known, facts: &Facts, job: &Value, signal: Signal, blocked: bool) -> Expected {
    let (kind, state) = (job["kind"].as_str().unwrap(), job["state"].as_str().unwrap());
    let superseded = !job["superseded_by"].is_null();
    let ended = matches!(state, "succeeded" | "failed" | "aborted" | "stuck");
    let on_its_way = kind == "promotion" && matches!(state, "running" | "waiting");
    match signal {
        Signal::Approve(who) | Signal::Reject(who) => {
            let steps = job["steps"].as_array().unwrap();
            let open = |step: &Value| {
                step["kind"] == "approval" && matches!(step["state"].as_str(), Some("running" | "waiting"))
            };
            match who {
                _ if ended || !steps.iter().any(open) => Expected::now(409, "nothing_to_approve"),
                Who::Small => Expected::now(403, "forbidden"),
                Who::Starter if matches!(signal, Signal::Approve(_)) => Expected::now(403, "own_approval"),
                Who::Starter | Who::Other => Expected::now(202, ""),
            }
        }
        Signal::Pause | Signal::Resume if !on_its_way => Expected::now(409, "not_pausable"),
        Signal::PromoteFully if !on_its_way => Expected::now(409, "not_promotable"),
        Signal::Pause | Signal::Resume | Signal::PromoteFully => Expected::now(202, ""),
        Signal::Abort => match (kind, state) {
            ("rollback", _) if !ended => Expected::now(409, "not_abortable"),
            (_, "aborted") if !superseded => Expected::now(202, ""),
            _ if ended => Expected::now(409, "not_abortable"),
            _ => Expected::now(202, ""),
        },
        Signal::Retry => {
            let stored = facts.job(job["id"].as_str().unwrap());
            let began = |row: &Value| row["activated_at"].as_str().map(str::to_owned);
            let since = began(stored).or_else(|| stored["created_at"].as_str().map(str::to_owned));
            let follows =
                |other: &&Value| other["id"] != stored["id"] && other["kind"] != "invalidation" && began(other) > since;
            let glass = !job["break_glass"].is_null();
            match (kind, state) {
                _ if superseded => Expected::now(409, "job_superseded"),
                _ if !matches!(state, "stuck" | "failed") => Expected::now(409, "not_retryable"),
                _ if stored["snapshot"].is_null() => Expected::now(409, "not_retryable"),
                ("invalidation", _) => Expected::now(202, ""),
                _ if facts.jobs.iter().find(follows).is_some() => Expected::now(409, "job_superseded"),
                (_, "stuck") => Expected::now(202, ""),
                _ if !glass && (known.locked || known.everything_locked) => Expected::now(423, "environment_locked"),
                _ if !glass && blocked => Expected::now(409, "release_blocked"),
                _ => Expected::now(202, ""),
            }
        }
    }
}
