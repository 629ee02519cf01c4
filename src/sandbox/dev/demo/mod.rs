//! The demo: a client of the public HTTP API that releases two small sites, a blue and a green one, rolls back, and
//! checks with its own eyes, in AWS and at the edge, that each step came true.
//!
//! This file tells the story; `client` speaks HTTP, `pages` makes the sites, `visitors` looks at them as visitors do,
//! `check` compares what came with what had to come, `report` puts it into words. The story can be told again on a
//! folder that was kept: `versions` picks releases that were not used yet, and an earlier run's job is waited for.

mod check;
mod client;
pub mod pages;
mod report;
#[cfg(test)]
mod tests;
mod versions;
mod visitors;

use std::{net::SocketAddr, time::Instant};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use self::{
    check::{Before, Expected},
    client::{Client, Job},
    pages::{Colour, File},
    visitors::{Seen, Visitor, Watch},
};
use super::{
    screen::{Screen, in_words},
    world::{DOCS, SITES, Site, WEB},
};

pub(super) const ENVIRONMENT_PATH: &str = "/v1/apps/storefront/environments/production";
const APP_PATH: &str = "/v1/apps/storefront";
const REGION: &str = super::cloud::REGION;
/// How long an edge may take to learn the secret of previews, which comes with the pointer's next copy.
const PREVIEW_DEADLINE_SECS: u64 = 30;

/// What the demo looks at behind the service's back.
pub trait AwsView: Send + Sync {
    /// A parameter's value and version, if it exists.
    fn pointer(&self, region: &str, name: &str) -> Option<(String, u64)>;
    /// Every invalidation of a distribution so far.
    fn invalidations(&self, distribution: &str) -> Vec<Invalidation>;
    /// What web's KeyValueStore has under a key.
    fn key_value(&self, key: &str) -> Option<String>;
    /// Uploads a file, as a build does before it registers its release.
    fn upload(&self, bucket: &str, key: &str, file: &File);
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

/// Where the demo plays.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The API's address.
    pub base_url: String,
    pub token: String,
    /// Web's points of presence, and its public URL.
    pub web: Vec<SocketAddr>,
    pub web_url: String,
    pub docs: Vec<SocketAddr>,
    pub docs_url: String,
    pub kvs_arn: String,
    pub edge_ttl_seconds: u32,
}

/// The demo, ready to be told.
pub struct Demo<'a> {
    client: Client,
    aws: &'a dyn AwsView,
    screen: &'a Screen,
    stage: Stage,
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
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(stage: Stage, aws: &'a dyn AwsView, screen: &'a Screen) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(&stage.base_url, &stage.token)?,
            aws,
            screen,
            stage,
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
        let [first, second] = self.release_sites().await?;
        self.promote("3", &first).await?;
        self.preview(&first, &second).await?;

        let mut visitor = Visitor::new(self.stage.web[0])?;
        let opened = visitor.navigate("/").await?;
        self.promote("5", &second).await?;
        self.saw("A visitor who opened the page before", &opened, &first)?;
        self.saw(
            "  what that page loads now",
            &visitor.load("/release.json").await?,
            &first,
        )?;
        self.saw("  the next navigation", &visitor.navigate("/").await?, &second)?;
        self.saw("  what that one loads", &visitor.load("/release.json").await?, &second)?;

        self.flip(Flip {
            title: "6  Roll back".into(),
            call: "rollbacks",
            body: json!({ "reason": "greenlight dev --demo" }),
            expected: Expected {
                release: &first,
                raises_epoch: true,
            },
        })
        .await?;
        self.saw(
            "The visitor, pinned until now, loads",
            &visitor.load("/release.json").await?,
            &first,
        )?;
        self.saw("  the next navigation", &visitor.navigate("/").await?, &first)?;
        self.screen.line("");
        let took = in_words(started.elapsed());
        self.screen.line(self.screen.good(format!(
            "Two promotions, a preview and a rollback in {took}; each was checked in the AWS double and at the edge."
        )));
        Ok(Told { left: second })
    }

    async fn promote(&self, step: &str, release: &str) -> anyhow::Result<()> {
        self.flip(Flip {
            title: format!("{step}  Promote {release}"),
            call: "promotions",
            body: json!({ "release": release, "reason": "greenlight dev --demo" }),
            expected: Expected {
                release,
                raises_epoch: false,
            },
        })
        .await
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        let ttl = self.stage.edge_ttl_seconds;
        self.title("1  Register the application and its environment");
        self.client.put(APP_PATH, &json!({})).await?;
        self.said(format!("PUT {APP_PATH}"));
        self.client.put(ENVIRONMENT_PATH, &environment(&self.stage)).await?;
        self.said(format!("PUT {ENVIRONMENT_PATH}"));
        self.said(format!(
            "web:  {} and its KeyValueStore, edge TTL {ttl} s; routed at viewer-request: nothing to invalidate",
            WEB.parameter
        ));
        self.said(format!(
            "docs: {}, edge TTL {ttl} s; routed behind the cache: then invalidate /* on {}",
            DOCS.parameter, DOCS.distribution
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

    /// Uploads two releases of both sites, and registers them.
    async fn release_sites(&self) -> anyhow::Result<[String; 2]> {
        let known = self.client.releases(APP_PATH).await?;
        let releases = versions::unused(known.iter().map(String::as_str));
        self.title("2  Upload and register two releases");
        for (version, colour) in releases.iter().zip([Colour::Blue, Colour::Green]) {
            let mut artifacts = json!({});
            for site in SITES {
                let prefix = format!("{}{version}/", site.prefix);
                for file in pages::files(&site, version, colour) {
                    self.aws.upload(site.bucket, &format!("{prefix}{}", file.path), &file);
                }
                artifacts[site.component] = json!({ "uri": format!("s3://{}/{prefix}", site.bucket) });
            }
            let body = json!({ "version": version, "artifacts": artifacts });
            self.client.post(&format!("{APP_PATH}/releases"), &body).await?;
            self.said(format!("POST {APP_PATH}/releases  {version} ({})", colour.name()));
        }
        Ok(releases)
    }

    /// Shows the second release to one browser, while everybody else has the first.
    async fn preview(&self, active: &str, candidate: &str) -> anyhow::Result<()> {
        self.title(&format!("4  Preview {candidate} in production"));
        let path = format!("{ENVIRONMENT_PATH}/previews");
        let body = json!({ "release": candidate, "expires_in_seconds": 600 });
        let preview = self.client.post(&path, &body).await?;
        let previews = preview["components"].as_array().map_or(&[][..], Vec::as_slice);
        let web = previews.iter().find(|preview| preview["component"] == WEB.component);
        let Some(url) = web.and_then(|preview| preview["url"].as_str()) else {
            bail!("the preview has no link for web: {preview}");
        };
        self.said(format!("POST {path}"));
        self.said(url.to_owned());
        let link = url.find("/?").map_or(url, |at| &url[at..]);
        let mut tester = Visitor::new(self.stage.web[0])?;
        let began = Instant::now();
        // A secret that was just made is known at the edge when its copy of the KeyValueStore has come.
        let mut seen = tester.navigate(link).await?;
        while seen.status == 403 && began.elapsed().as_secs() < PREVIEW_DEADLINE_SECS {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            seen = tester.navigate(link).await?;
        }
        self.saw("The browser that opened the link", &seen, candidate)?;
        self.saw(
            "  what that page loads",
            &tester.load("/release.json").await?,
            candidate,
        )?;
        let somebody = Visitor::new(self.stage.web[0])?.navigate("/").await?;
        self.saw("Everybody else", &somebody, active)
    }

    /// Moves traffic, shows what happened, and checks that it is true.
    async fn flip(&self, flip: Flip<'_>) -> anyhow::Result<()> {
        self.title(&flip.title);
        let before = Before::look(self.aws);
        self.curl("before").await?;
        // Without a release there is nothing to serve: the edge says 503 until the first one is there.
        let watches = if before.has_pointers() {
            vec![
                (WEB, Watch::start(&self.stage.web)?),
                (DOCS, Watch::start(&self.stage.docs)?),
            ]
        } else {
            Vec::new()
        };
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
        let mut found = before.compare(self.aws, &job, &flip.expected);
        report::aws(self.screen, &found);
        for (site, watch) in watches {
            let watched = watch.end().await?;
            report::edge(self.screen, &site, flip.expected.release, &watched);
            found.objections.extend(watched.failures.iter().take(3).cloned());
            found.objections.extend(watched.strayed(flip.expected.release));
        }
        report::times(self.screen, &job, wall);
        let after = self.curl("after").await?;
        if after.release.as_deref() != Some(flip.expected.release) {
            found.objections.push("curl got another release".to_owned());
        }
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

    /// What a client gets that says nothing about itself.
    async fn curl(&self, when: &str) -> anyhow::Result<Seen> {
        let seen = Visitor::new(self.stage.web[0])?.ask_plainly("/").await?;
        let got = seen.release.as_deref().unwrap_or("(no release)");
        self.said(format!("curl {} {when}: {} {got}", self.stage.web_url, seen.status));
        Ok(seen)
    }

    /// Shows what a visitor got; anything else than `release` is an error.
    fn saw(&self, who: &str, seen: &Seen, release: &str) -> anyhow::Result<()> {
        let got = seen.release.as_deref().unwrap_or("nothing that is marked");
        self.said(format!("{who:<38} {} {got}", seen.status));
        ensure!(
            seen.status == 200 && got == release,
            "{}: {} and {got}, not {release}",
            who.trim(),
            seen.status
        );
        Ok(())
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
pub(super) fn environment(stage: &Stage) -> Value {
    let converge = |points: &[SocketAddr]| {
        let addresses: Vec<String> = points.iter().map(SocketAddr::to_string).collect();
        json!({ "consecutive": 2, "interval_ms": 100, "timeout_seconds": 30, "addresses": addresses })
    };
    json!({
        "aws": { "region": REGION },
        "components": [
            {
                "name": WEB.component,
                "router": {
                    "kind": "ssm_pointer",
                    "parameter": WEB.parameter,
                    "format": "json",
                    "edge_ttl_seconds": stage.edge_ttl_seconds,
                    "create_parameter": true,
                    "kvs_arn": stage.kvs_arn,
                },
                "edge": {
                    "mode": "viewer_rewrite",
                    "fallback": "spa",
                    "public_url": stage.web_url,
                    "converge": converge(&stage.web),
                },
                "cdn": { "distribution_id": WEB.distribution, "invalidate": { "mode": "none" } },
                "artifact": { "kind": "s3", "bucket": WEB.bucket, "prefix": format!("{}{{release}}/", WEB.prefix) },
            },
            {
                "name": DOCS.component,
                "router": {
                    "kind": "ssm_pointer",
                    "parameter": DOCS.parameter,
                    "format": "json",
                    "edge_ttl_seconds": stage.edge_ttl_seconds,
                    "create_parameter": true,
                },
                "edge": { "mode": "origin", "public_url": stage.docs_url, "converge": converge(&stage.docs) },
                "cdn": {
                    "distribution_id": DOCS.distribution,
                    "invalidate": { "mode": "paths", "paths": [check::PATHS] },
                },
                "artifact": { "kind": "s3", "bucket": DOCS.bucket, "prefix": format!("{}{{release}}/", DOCS.prefix) },
            },
        ],
    })
}
