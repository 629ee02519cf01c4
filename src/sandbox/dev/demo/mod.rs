//! The demo: a client of the public HTTP API that releases two small sites, a blue and a green one, rolls back, gives
//! two more releases to a share of the visitors first, of which one is taken back by itself, and checks with its own
//! eyes, in AWS and at the edge, that each step came true.
//!
//! This file tells the story; `flip` moves everyone, `canary` a share first, with the `newcomers` who count it and the
//! `shop` whose health is asked. `client` speaks HTTP, `environment` has the document, `pages` makes the sites,
//! `visitors` looks at them as visitors do, `check` compares what came with what had to come, `report` puts it into
//! words. The story can be told again on a folder that was kept: `versions` picks releases that were not used yet, and
//! an earlier run's job is waited for.

mod canary;
mod check;
mod client;
mod environment;
mod flip;
mod newcomers;
pub mod pages;
mod report;
mod shop;
#[cfg(test)]
mod tests;
mod versions;
mod visitors;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use serde_json::json;

use self::{
    canary::{Canary, Ending},
    check::Expected,
    client::Client,
    environment::{environment, with_smoke_test},
    flip::Flip,
    pages::{Colour, File},
    shop::Shop,
    visitors::{Seen, Visitor},
};
use super::{
    screen::{Screen, in_words},
    world::{DOCS, SITES, Site, WEB},
};

pub(super) const ENVIRONMENT_PATH: &str = "/v1/apps/storefront/environments/production";
const APP_PATH: &str = "/v1/apps/storefront";
const REGION: &str = super::cloud::REGION;
/// Why the demo's jobs are started.
const REASON: &str = "greenlight dev --demo";
/// How long an edge may take to learn the secret of previews, which comes with the pointer's next copy.
const PREVIEW_DEADLINE_SECS: u64 = 30;
/// Visitors who come at each weight of a canary.
const NEWCOMERS: usize = 300;
const FREED_WITHIN: Duration = Duration::from_secs(30);

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
    /// The one before it, to be promoted again too.
    pub first: String,
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
    /// How long an edge may take to let a visitor go who is on a release that was taken back.
    freed_within: Duration,
    /// How many come at each weight of a canary.
    newcomers: usize,
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
            freed_within: FREED_WITHIN,
            newcomers: NEWCOMERS,
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
        let known = self.client.releases(APP_PATH).await?;
        let [first, second, frail, sound] = versions::unused(known.iter().map(String::as_str));
        self.title("2  Upload and register two releases");
        self.release(&first, Colour::Blue).await?;
        self.release(&second, Colour::Green).await?;
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
            body: json!({ "reason": REASON }),
            expected: Expected::rolled_back(&first),
        })
        .await?;
        self.saw(
            "The visitor, pinned until now, loads",
            &visitor.load("/release.json").await?,
            &first,
        )?;
        self.saw("  the next navigation", &visitor.navigate("/").await?, &first)?;
        self.canaries(&first, &frail, &sound).await?;
        self.screen.line("");
        let took = in_words(started.elapsed());
        self.screen.line(self.screen.good(format!(
            "Two promotions, a preview, a rollback and two canaries, one of them taken back by itself, in {took}; each \
             was checked in the AWS double and at the edge."
        )));
        Ok(Told { left: second, first })
    }

    /// Two more releases, each to a share of the visitors first: one that goes wrong there, and one that doesn't.
    async fn canaries(&self, active: &str, frail: &str, sound: &str) -> anyhow::Result<()> {
        self.title("7  Two more releases, and a test of each before it has traffic");
        self.release(frail, Colour::Red).await?;
        self.release(sound, Colour::Violet).await?;
        self.client.put(ENVIRONMENT_PATH, &with_smoke_test(&self.stage)).await?;
        self.said(format!(
            "PUT {ENVIRONMENT_PATH}  with the check smoke: it asks the edge, with a preview cookie"
        ));
        self.said(
            "docs takes no part in a share: it is routed behind one cache for all. It flips with the last step.".into(),
        );
        let shop = Shop::open().await?;
        shop.has_frail(frail);
        self.canary(
            &shop,
            &Canary {
                title: format!("8  Promote {frail} to 10 % first; it fails when it has more visitors"),
                release: frail,
                from: active,
                ending: Ending::TakenBack,
            },
        )
        .await?;
        self.canary(
            &shop,
            &Canary {
                title: format!("9  Promote {sound} the same way; it does well"),
                release: sound,
                from: active,
                ending: Ending::Everyone,
            },
        )
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

    /// Uploads a release of both sites, and registers it.
    async fn release(&self, version: &str, colour: Colour) -> anyhow::Result<()> {
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
        Ok(())
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
            tokio::time::sleep(Duration::from_millis(100)).await;
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
