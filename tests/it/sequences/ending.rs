//! The end of a sequence: nothing fails any more, nobody else writes, locks are lifted, gates decided, and time goes on
//! until nothing is left to do. Then a rollback has to get everybody back, whatever has happened before.

use axum::http::Method;
use serde_json::{Value, json};

use super::{
    facts::{Facts, text, told},
    invariants,
    reference::Known,
    steps::{RELEASES, Who},
    system::{System, World},
    tally::TALLY,
};
use crate::support::ENVIRONMENT;

/// Turns of looking and acting until everything has to be over.
const TURNS: usize = 600;

impl System {
    pub fn come_to_rest(&mut self, known: &Known) {
        let mut known = known.clone();
        self.run(async |world| {
            world.end_faults().await;
            world.unlock_and_unblock_all(&known).await;
            (known.locked, known.everything_locked) = (false, false);
            known.blocked = [Some(false); RELEASES.len()];
            world.book.held = None;
            world.book.before = None;
            world.run_to_the_end().await;
            invariants::check(world, &known, "at the end").await;
            world.hooks_are_taken_back().await;
            world.back().await;
            invariants::check(world, &known, "after the last rollback").await;
            world.count_ends().await;
        });
    }
}

impl World {
    /// Says whatever has to be said, until nothing is left to do.
    async fn run_to_the_end(&mut self) {
        for turn in 0..TURNS {
            self.still().await;
            let look = self.look().await;
            let holder = look.holder().cloned();
            let Some(job) = holder else {
                if self.timer().await {
                    continue;
                }
                let open = |job: &Value| job["finished_at"].is_null();
                assert!(!look.jobs.iter().any(open), "nobody works on what is left: {look:?}");
                return;
            };
            let (id, state) = (text(&job, "id"), text(&job, "state"));
            let word = match (state, job["waiting_for"].as_str()) {
                ("stuck", _) => Some("retry"),
                (_, Some("pause")) => Some("resume"),
                // Each other gate expires.
                (_, Some("approval")) if turn % 2 == 0 => Some("approve"),
                _ => None,
            };
            if let Some(word) = word {
                let stuck_again = word == "retry" && job["round"].as_i64().unwrap() > 30;
                assert!(!stuck_again, "nothing stands in its way: {job:#}");
                self.send(Method::POST, &format!("/v1/jobs/{id}/{word}"), &json!({}), Who::Other)
                    .await
                    .expect(202);
                self.audit(
                    match word {
                        "retry" => "job.retry",
                        "resume" => "job.resume",
                        _ => "job.approve",
                    },
                    true,
                );
                if word == "retry" {
                    self.still().await;
                }
            } else {
                let moved = self.timer().await;
                assert!(
                    moved || self.look().await.environment["current_job"] != job["id"],
                    "it waits for nothing: {job:#}"
                );
            }
        }
        panic!("there is no end: {:?}", self.look().await);
    }

    /// The hooks of promotions that did not come to their end are taken back, and of no others.
    async fn hooks_are_taken_back(&self) {
        let facts = Facts::read(&self.app).await;
        let hooks = || facts.steps.iter().filter(|step| step["kind"] == "hook");
        for call in hooks().filter(|step| step["params"]["undoes"].is_null() && step["record"]["called"] == true) {
            let job = facts.job(text(call, "job_id"));
            let back = hooks().any(|step| step["params"]["undoes"] == call["token"] && step["state"] == "succeeded");
            let in_last_round = call["round"] == job["round"];
            let stands = job["state"] == "succeeded" && in_last_round;
            assert_eq!(back, !stands, "{call:#} of {}", told(&facts, job));
        }
    }

    /// One call puts everybody back: on each pointer, and with nothing said of drift.
    async fn back(&mut self) {
        let look = self.look().await;
        if look.environment["rollback_ready"] == false {
            return;
        }
        let path = format!("{ENVIRONMENT}/rollbacks");
        let id = self
            .send(Method::POST, &path, &json!({}), Who::Starter)
            .await
            .expect(202)
            .id();
        self.audit("rollback.start", true);
        while self.app.job(&id).await["finished_at"].is_null() {
            assert!(
                self.timer().await || !self.app.job(&id).await["finished_at"].is_null(),
                "it waits for nothing"
            );
        }
        let job = self.app.job(&id).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        let environment = self.app.environment().await;
        assert_eq!(
            (&environment["active"], &environment["drift"]),
            (&look.environment["previous"], &Value::Null)
        );
        let facts = Facts::read(&self.app).await;
        for pointer in &facts.pointers {
            let said = self.all_pointers();
            let says = Self::says(&said, pointer);
            assert_eq!(pointer["value"].as_str(), says, "{pointer:#}: {job:#}");
            if let Some(active) = environment["active"].as_str() {
                let document: Value = serde_json::from_str(says.unwrap()).unwrap();
                assert_eq!(
                    (&document["active"], &document["weight"]),
                    (&json!(active), &json!(0)),
                    "{job:#}"
                );
            }
        }
    }

    async fn count_ends(&self) {
        let facts = Facts::read(&self.app).await;
        let mut tally = TALLY.lock().unwrap();
        for job in &facts.jobs {
            let superseded = if job["superseded_by"].is_null() {
                ""
            } else {
                " (superseded)"
            };
            let end = format!("{} {}{superseded}", text(job, "kind"), text(job, "state"));
            *tally.ends.entry(end).or_default() += 1;
            if facts.events.iter().any(|events| {
                events["job_id"] == job["id"] && events["kinds"].as_array().unwrap().contains(&json!("job.stuck"))
            }) {
                *tally
                    .ends
                    .entry(format!("{} stuck on its way", text(job, "kind")))
                    .or_default() += 1;
            }
        }
    }
}
