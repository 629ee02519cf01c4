//! The demo: a client of the public HTTP API that promotes two releases, rolls back, and checks with
//! its own eyes, in AWS, that each step came true.
//!
//! This file tells the story; `client` speaks HTTP, `check` compares what came with what had to
//! come, `report` puts a job into words. The story can be told again on a folder that was kept:
//! `versions` picks releases that were not used yet, and an earlier run's job is waited for.

mod check;
mod client;
mod report;
#[cfg(test)]
mod tests;
mod versions;

use std::time::Instant;

use anyhow::bail;
use serde_json::{Value, json};

use self::{
    check::{Before, Expected},
    client::{Client, Job},
};
use super::screen::{Screen, in_words};

/// The distribution whose cache the demo's component has.
pub const DISTRIBUTION: &str = "E2EXAMPLE";
/// The parameter that is the demo's pointer.
pub const PARAMETER: &str = "/storefront/production/release";
pub(super) const ENVIRONMENT_PATH: &str = "/v1/apps/storefront/environments/production";
const APP_PATH: &str = "/v1/apps/storefront";
const REGION: &str = super::cloud::REGION;

/// What the demo looks at behind the service's back.
pub trait AwsView: Send + Sync {
    /// A parameter's value and version, if it exists.
    fn pointer(&self, region: &str, name: &str) -> Option<(String, u64)>;
    /// Every invalidation of a distribution so far.
    fn invalidations(&self, distribution: &str) -> Vec<Invalidation>;
}

/// An invalidation as AWS would show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidation {
    pub id: String,
    pub caller_reference: String,
    pub paths: Vec<String>,
    pub status: String,
}

/// What is worth knowing after the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The release that the rollback left, ready to be promoted again.
    pub left: String,
}

/// The demo, ready to be told.
pub struct Demo<'a> {
    client: Client,
    aws: &'a dyn AwsView,
    screen: &'a Screen,
    edge_ttl_seconds: u32,
}

/// A call that moves traffic.
struct Flip<'a> {
    title: String,
    /// Below the environment: `promotions` or `rollbacks`.
    call: &'static str,
    body: Value,
    expected: Expected<'a>,
}

impl<'a> Demo<'a> {
    /// A demo against the API at `base_url`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        base_url: &str,
        token: &str,
        aws: &'a dyn AwsView,
        screen: &'a Screen,
        edge_ttl_seconds: u32,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(base_url, token)?,
            aws,
            screen,
            edge_ttl_seconds,
        })
    }

    /// Tells the story to its end.
    ///
    /// # Errors
    /// The API's own words when it refuses a call; what was not as it should be otherwise.
    pub async fn play(&self) -> anyhow::Result<Told> {
        let started = Instant::now();
        self.let_earlier_job_end().await?;
        self.set_up().await?;
        let [first, second] = self.register_releases().await?;
        for (step, release) in [(3, &first), (4, &second)] {
            self.flip(Flip {
                title: format!("{step}  Promote {release}"),
                call: "promotions",
                body: json!({ "release": release, "reason": "greenlight dev --demo" }),
                expected: Expected {
                    release,
                    raises_epoch: false,
                },
            })
            .await?;
        }
        self.flip(Flip {
            title: "5  Roll back".into(),
            call: "rollbacks",
            body: json!({ "reason": "greenlight dev --demo" }),
            expected: Expected {
                release: &first,
                raises_epoch: true,
            },
        })
        .await?;
        self.screen.line("");
        let took = in_words(started.elapsed());
        self.screen.line(self.screen.good(format!(
            "Two promotions and a rollback in {took}; each pointer and each invalidation was checked in the AWS double."
        )));
        Ok(Told { left: second })
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        self.title("1  Register the application and its environment");
        self.client.put(APP_PATH, &json!({})).await?;
        self.said(format!("PUT {APP_PATH}"));
        self.client
            .put(ENVIRONMENT_PATH, &environment(self.edge_ttl_seconds))
            .await?;
        self.said(format!("PUT {ENVIRONMENT_PATH}"));
        self.said(format!(
            "component web: pointer {PARAMETER}, edge TTL {} s, then invalidate /* on {DISTRIBUTION}",
            self.edge_ttl_seconds
        ));
        Ok(())
    }

    /// A job that an earlier run left holds the environment; it goes on by itself.
    async fn let_earlier_job_end(&self) -> anyhow::Result<()> {
        let environment = self.client.find(ENVIRONMENT_PATH).await?;
        let Some(id) = environment.as_ref().and_then(client::current_job) else {
            return Ok(());
        };
        self.title("0  Wait for what an earlier run left");
        self.said(format!("job {id} is not finished yet"));
        let job = self.client.finished(&id).await?;
        if job.state == "stuck" {
            bail!("job {id} of an earlier run is stuck; `--fresh` forgets earlier runs");
        }
        self.said(format!("job {id} has ended: {}", job.state));
        Ok(())
    }

    async fn register_releases(&self) -> anyhow::Result<[String; 2]> {
        let known = self.client.releases(APP_PATH).await?;
        let releases = versions::unused(known.iter().map(String::as_str));
        self.title("2  Register two releases");
        for version in &releases {
            let body = json!({ "version": version, "artifacts": { "web": {} } });
            self.client.post(&format!("{APP_PATH}/releases"), &body).await?;
            self.said(format!("POST {APP_PATH}/releases  {version}"));
        }
        Ok(releases)
    }

    /// Moves traffic, shows what happened, and checks that it is true.
    async fn flip(&self, flip: Flip<'_>) -> anyhow::Result<()> {
        self.title(&flip.title);
        let before = Before::look(self.aws);
        let started = Instant::now();
        let path = format!("{ENVIRONMENT_PATH}/{}", flip.call);
        let accepted: Job = serde_json::from_value(self.client.post(&path, &flip.body).await?)?;
        self.said(format!("POST {path}  accepted as job {}", accepted.id));
        let job = self.client.finished(&accepted.id).await?;
        let wall = started.elapsed();
        report::way(self.screen, &job);
        report::steps(self.screen, &job);
        if job.state != "succeeded" {
            report::failure(self.screen, &job, &self.client.events(&job.id).await?);
            bail!("job {} ended {}, not succeeded", job.id, job.state);
        }
        let found = before.compare(self.aws, &job, &flip.expected);
        report::aws(self.screen, &found);
        report::times(self.screen, &job, wall);
        if found.objections.is_empty() {
            return Ok(());
        }
        for objection in &found.objections {
            self.screen.line(format!("   {} {objection}", self.screen.bad("✗")));
        }
        bail!(
            "{} did not go as it should: {}",
            flip.title.trim_start_matches(|c: char| !c.is_alphabetic()),
            found.objections.join("; ")
        )
    }

    fn title(&self, title: &str) {
        self.screen.line("");
        self.screen.line(self.screen.bold(title));
    }

    fn said(&self, text: String) {
        self.screen.line(format!("   {text}"));
    }
}

/// The environment's document.
fn environment(edge_ttl_seconds: u32) -> Value {
    json!({
        "aws": { "region": REGION },
        "components": [{
            "name": "web",
            "router": {
                "kind": "ssm_pointer",
                "parameter": PARAMETER,
                "format": "json",
                "edge_ttl_seconds": edge_ttl_seconds,
                "create_parameter": true,
            },
            "edge": { "mode": "origin" },
            "cdn": {
                "distribution_id": DISTRIBUTION,
                "invalidate": { "mode": "paths", "paths": [check::PATHS] },
            },
        }],
    })
}
