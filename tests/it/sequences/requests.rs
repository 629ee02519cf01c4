//! How each step is done that is a request, and what it must be answered with.

use axum::http::Method;
use serde_json::{Value, json};

use super::{
    expectation::{self, Answered},
    facts::Facts,
    reference::Known,
    stage::strategy,
    steps::{OnConflict, Promote, RELEASES, Signal, Step, What, Who, Whose},
    system::World,
};
use crate::support::ENVIRONMENT;

impl World {
    pub async fn do_step(&mut self, known: &Known, step: &Step) {
        match &step.what {
            What::Promote(promote) => self.promote(known, promote, step.at_once).await,
            What::Rollback { to, block } => {
                self.roll_back(known, to.map(|to| to.version()), *block, step.at_once)
                    .await
            }
            What::Signal(signal, whose) => self.signal(known, *signal, *whose, step.at_once).await,
            What::Lock => self.put(&format!("{ENVIRONMENT}/lock"), "environment.lock").await,
            What::LockEverything => self.put("/v1/lock", "everything.lock").await,
            What::Unlock => {
                let was = self.book.before.as_ref().is_some_and(|before| before.locked);
                self.delete(&format!("{ENVIRONMENT}/lock"), "environment.unlock", was)
                    .await;
            }
            What::UnlockEverything => {
                let was = self.book.before.as_ref().is_some_and(|before| before.everything_locked);
                self.delete("/v1/lock", "everything.unlock", was).await;
            }
            What::Block(release) | What::Unblock(release) => {
                let path = format!("/v1/apps/storefront/releases/{}/block", release.version());
                let put = matches!(step.what, What::Block(_));
                if !known.exists(*release) {
                    let method = if put { Method::PUT } else { Method::DELETE };
                    let body = if put {
                        json!({"reason": "sequence"})
                    } else {
                        Value::Null
                    };
                    self.send(method, &path, &body, Who::Starter)
                        .await
                        .expect_problem(404, "not_found");
                } else if put {
                    self.put(&path, "release.block").await;
                } else {
                    let was = self.is_blocked(release.version()).await;
                    self.delete(&path, "release.unblock", was).await;
                }
            }
            What::Register => self.app.register(RELEASES[RELEASES.len() - 1]).await,
            What::Purge => {
                let path = format!("{ENVIRONMENT}/invalidations");
                self.send(Method::POST, &path, &json!({"paths": ["/*"]}), Who::Starter)
                    .await
                    .expect(202);
            }
            What::Drift(at, foreign) => self.drift(*at, *foreign).await,
            What::Die(death) => self.die(*death).await,
            What::Worker => {
                let at = self.app.start_worker();
                self.workers.insert(at);
            }
            What::Fault {
                call,
                trouble,
                skip,
                times,
            } => self.fault(*call, *trouble, *skip, *times),
            What::Answer { pass } => self.site.answer("/check", if *pass { 200 } else { 500 }, ""),
            What::Timer => {
                // A gate's next timer is its expiry.
                if !self.look().await.waits_for_a_person() {
                    self.timer().await;
                }
            }
            What::Run => self.run().await,
            What::Hour => self.hour().await,
        }
    }

    async fn promote(&mut self, known: &Known, promote: &Promote, at_once: bool) {
        let (strategy, weights) = strategy(&self.site, &promote.way);
        let release = promote.release.version();
        let mut body = json!({"release": release, "strategy": strategy, "reason": "sequence"});
        body["on_conflict"] = match promote.on_conflict {
            OnConflict::Reject => json!("reject"),
            OnConflict::Queue => json!("queue"),
            OnConflict::Supersede => json!("supersede"),
        };
        if promote.overwrite_drift {
            body["on_drift"] = json!("overwrite");
        }
        if promote.break_glass {
            body["break_glass"] = json!({"reason": "sequence"});
        }
        let blocked = self.is_blocked(release).await;
        let look = self.look().await;
        let expected = expectation::promotion(known, &look, promote, blocked);
        // Before the answer: a worker may be faster.
        self.book.names.insert(release.to_owned());
        let asked = self.book.weights.entry(release.to_owned()).or_default();
        asked.extend(weights.iter().map(|weight| i64::from(*weight)));
        let answer = self
            .send(Method::POST, &format!("{ENVIRONMENT}/promotions"), &body, Who::Starter)
            .await;
        if answer.status == 202 {
            self.audit("promotion.start", true);
        }
        let said = Answered::of(&answer);
        if expected.is_certain() || !at_once {
            expected.assert(&said, &look);
        } else {
            expectation::assert_one_of(&said, expectation::PROMOTION, &look);
        }
    }

    async fn roll_back(&mut self, known: &Known, to: Option<&str>, block: bool, at_once: bool) {
        let mut body = json!({"block": block});
        if let Some(to) = to {
            body["to"] = json!(to);
        }
        let look = self.look().await;
        let expected = expectation::rollback(known, &look, to);
        let answer = self
            .send(Method::POST, &format!("{ENVIRONMENT}/rollbacks"), &body, Who::Starter)
            .await;
        let said = Answered::of(&answer);
        if at_once {
            expectation::assert_one_of(&said, expectation::ROLLBACK, &look);
        } else {
            expected.assert(&said, &look);
        }
        if answer.status == 202 {
            let job = answer.json();
            let again = look.jobs.iter().any(|known| known["id"] == job["id"]);
            self.audit("rollback.start", !again);
            let left = job["from_release"].as_str().filter(|left| job["release"] != **left);
            if let (true, Some(left)) = (block, left) {
                assert!(
                    self.is_blocked(left).await,
                    "the release that is left is blocked: {job:#}"
                );
                self.audit("release.block", true);
            }
        }
    }

    async fn signal(&mut self, known: &Known, signal: Signal, whose: Whose, at_once: bool) {
        let look = self.look().await;
        let Some(job) = look.whose(whose) else {
            return;
        };
        let id = job["id"].as_str().unwrap().to_owned();
        let reason = json!({"reason": "sequence"});
        let (word, action, body, who) = match signal {
            Signal::Approve(who) => ("approve", "job.approve", json!({}), who),
            Signal::Reject(who) => ("reject", "job.reject", json!({}), who),
            Signal::Pause => ("pause", "job.pause", reason, Who::Starter),
            Signal::Resume => ("resume", "job.resume", reason, Who::Starter),
            Signal::PromoteFully => ("promote_fully", "job.promote_fully", reason, Who::Starter),
            Signal::Abort => ("abort", "job.abort", json!({}), Who::Starter),
            Signal::Retry => ("retry", "job.retry", json!({}), Who::Starter),
        };
        let blocked = match job["release"].as_str() {
            Some(release) => self.is_blocked(release).await,
            None => false,
        };
        let facts = Facts::read(&self.app).await;
        let expected = expectation::signal(known, &facts, job, signal, blocked);
        let answer = self
            .send(Method::POST, &format!("/v1/jobs/{id}/{word}"), &body, who)
            .await;
        if answer.status == 202 {
            self.audit(action, signal == Signal::Retry);
        }
        let said = Answered::of(&answer);
        if at_once {
            expectation::assert_one_of(&said, expectation::SIGNAL, &look);
        } else {
            expected.assert(&said, &look);
        }
    }

    async fn put(&mut self, path: &str, action: &'static str) {
        let answer = self
            .send(Method::PUT, path, &json!({"reason": "sequence"}), Who::Starter)
            .await;
        assert!(matches!(answer.status.as_u16(), 200 | 201), "{answer:?}");
        self.audit(action, answer.status == 201);
    }

    async fn delete(&mut self, path: &str, action: &'static str, was: bool) {
        self.send(Method::DELETE, path, &Value::Null, Who::Starter)
            .await
            .expect(204);
        self.audit(action, was);
    }

    pub async fn unlock_and_unblock_all(&mut self, known: &Known) {
        self.delete(&format!("{ENVIRONMENT}/lock"), "environment.unlock", false)
            .await;
        self.delete("/v1/lock", "everything.unlock", false).await;
        for release in &RELEASES[..known.registered] {
            let path = format!("/v1/apps/storefront/releases/{release}/block");
            self.delete(&path, "release.unblock", false).await;
        }
    }
}
