//! Where the jobs of a proof run, one after the other: each on a new release, each from where the last one ended.

use std::time::Duration;

use greenlight::sandbox::double::{FaultAction, FaultHandle};
use serde_json::{Value, json};

use super::{Kind, Roads, has_flipped};
use crate::support::{TestApp, TestAppOptions};

const AFTER_THE_LEASE: Duration = Duration::from_secs(31);

/// An environment with two components, where one release is active and another has served. For one kind of job:
/// moving time takes the longer the more jobs there have been.
pub struct Stage {
    pub app: TestApp,
    roads: Roads,
    releases: usize,
    active: String,
}

/// A job that is to come: on this release, from that one.
pub struct Ready {
    kind: Kind,
    release: String,
    /// What is active before.
    pub from: String,
    /// What is active when all has gone well.
    pub target: String,
    /// How many invalidations had been sent before.
    sent: usize,
}

impl Stage {
    pub async fn with(roads: Roads, options: TestAppOptions) -> Self {
        let app = TestApp::with(options).await;
        app.set_up(roads.two_components(&app), &[]).await;
        let mut stage = Self {
            app,
            roads,
            releases: 0,
            active: String::new(),
        };
        stage.promote().await;
        stage.promote().await;
        stage
    }

    /// A release with files.
    async fn release(&mut self) -> String {
        let release = format!("1.{}.0", self.releases);
        self.releases += 1;
        self.app.register(&release).await;
        let key = format!("{release}/app.js");
        self.app
            .double
            .put_object("storefront-web", &key, Some("text/javascript"), release.as_str());
        release
    }

    /// Promotes a new release to the end.
    async fn promote(&mut self) {
        let release = self.release().await;
        self.app.promote_to_the_end(&release).await;
        self.active = release;
    }

    /// Sees to all that has to be there before the job.
    pub async fn ready(&mut self, kind: Kind) -> Ready {
        let before = self.active.clone();
        let release = match kind {
            Kind::Rollback => {
                self.promote().await;
                before.clone()
            }
            Kind::Promotion | Kind::Canary | Kind::Undo => self.release().await,
        };
        let target = match kind {
            Kind::Undo => before,
            _ => release.clone(),
        };
        Ready {
            kind,
            release,
            from: self.active.clone(),
            target,
            sent: self.app.invalidations().len(),
        }
    }

    /// Starts the job. For an undo: up to the request to abort, made while the last flip's TTL runs.
    pub async fn begin(&self, ready: &Ready) -> String {
        let app = &self.app;
        match ready.kind {
            Kind::Promotion => app.promote(&ready.release).await,
            // The other component is routed behind its cache, and has no shares.
            Kind::Canary => {
                let steps = json!([{"weight": 10, "bake_seconds": 7}, {"weight": 50, "bake_seconds": 0}]);
                let strategy = json!({"kind": "canary", "components": ["api"], "steps": steps});
                app.promote_with(json!({"release": ready.release, "strategy": strategy}))
                    .await
            }
            Kind::Rollback => app.roll_back().await,
            Kind::Undo => {
                let id = app.promote(&ready.release).await;
                app.timers_until(&id, |job| has_flipped(job, "web")).await;
                app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
                id
            }
        }
    }

    /// The call that the roads are about, after `skip` others, gets this. Once.
    pub fn fault(&self, action: FaultAction, skip: u64) -> FaultHandle {
        self.app.double.faults().add(self.roads.fault(action).skip(skip).once())
    }

    /// The worker that runs dies, and another one takes over when its lease has ended: on the database's clock, nobody
    /// waits for it.
    pub async fn another_worker(&mut self) {
        let last = self.app.workers.len() - 1;
        self.app.kill_worker(last).await;
        self.app.advance(AFTER_THE_LEASE).await;
        self.app.start_worker();
    }

    /// The job has ended as it should: traffic is there, the files are recorded, and each step has invalidated once.
    pub async fn assert_done(&mut self, ready: &Ready, job: &Value, about: &str) {
        assert_eq!(job["state"], ready.kind.end(), "{about}: {job:#}");
        self.assert_everywhere(&ready.target, about);
        self.assert_recorded(ready, about).await;
        self.assert_one_invalidation_each(job, ready.sent, about);
        assert_eq!(self.app.environment().await["drift"], Value::Null, "{about}");
        self.active.clone_from(&ready.target);
    }

    /// The release's files are recorded, once and as they are.
    async fn assert_recorded(&self, ready: &Ready, about: &str) {
        if self.roads != Roads::Parameters {
            return;
        }
        let path = format!("/v1/apps/storefront/releases/{}", ready.release);
        let release = self.app.get(&path).await.expect(200).json();
        let [manifest] = &release["manifests"].as_array().unwrap()[..] else {
            panic!("{about}: {release}");
        };
        let recorded = (&manifest["objects"], &manifest["bytes"]);
        assert_eq!(recorded, (&json!(1), &json!(ready.release.len())), "{about}");
    }

    #[track_caller]
    pub fn assert_everywhere(&self, release: &str, about: &str) {
        let releases = self.roads.releases(&self.app);
        let all = releases.iter().all(|it| it.as_deref() == Some(release));
        assert!(all, "{about}: {releases:?}, not {release}");
    }

    /// Since `before`, every invalidation step that was done has sent exactly one, and nobody else any.
    #[track_caller]
    fn assert_one_invalidation_each(&self, job: &Value, before: usize, about: &str) {
        self.app.assert_one_invalidation_per_step();
        let sent: Vec<String> = self
            .app
            .invalidations()
            .into_iter()
            .skip(before)
            .map(|sent| sent.caller_reference)
            .collect();
        let steps = job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["kind"] == "invalidate");
        let tokens: Vec<(&str, &str)> = steps
            .map(|step| (step["token"].as_str().unwrap(), step["state"].as_str().unwrap()))
            .collect();
        assert!(!sent.is_empty(), "{about}: {tokens:?}");
        for reference in &sent {
            assert!(
                tokens.iter().any(|(token, _)| token == reference),
                "{about}: {reference} is of no step"
            );
        }
        for (token, state) in &tokens {
            assert!(
                *state != "succeeded" || sent.iter().any(|reference| reference == token),
                "{about}: {token} sent none"
            );
        }
    }
}
