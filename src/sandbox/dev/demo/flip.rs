//! A flip of everyone at once, from the call to what every visitor gets: shown, and checked in AWS and at the edge.
//!
//! A share of the visitors first: `canary`.

use std::time::Instant;

use anyhow::bail;
use serde_json::{Value, json};

use super::{
    DOCS, Demo, ENVIRONMENT_PATH, REASON, WEB,
    check::{Before, Expected},
    client::Job,
    report,
    visitors::{Seen, Visitor, Watch},
};

/// A call that moves traffic.
pub(super) struct Flip<'a> {
    pub title: String,
    /// Below the environment: `promotions` or `rollbacks`.
    pub call: &'static str,
    pub body: Value,
    pub expected: Expected<'a>,
}

impl Demo<'_> {
    pub(super) async fn promote(&self, step: &str, release: &str) -> anyhow::Result<()> {
        self.flip(Flip {
            title: format!("{step}  Promote {release}"),
            call: "promotions",
            body: json!({ "release": release, "reason": REASON }),
            expected: Expected::promoted(release),
        })
        .await
    }

    /// Moves traffic, shows what happened, and checks that it is true.
    pub(super) async fn flip(&self, flip: Flip<'_>) -> anyhow::Result<()> {
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
        self.objected(&flip.title, &found.objections)
    }

    /// Shows what is not as it should be, all of it in the error too; nothing: all is well.
    pub(super) fn objected(&self, title: &str, objections: &[String]) -> anyhow::Result<()> {
        if objections.is_empty() {
            return Ok(());
        }
        for objection in objections {
            self.screen.line(format!("   {} {objection}", self.screen.bad("✗")));
        }
        bail!(
            "{} did not go as it should: {}",
            title.trim_start_matches(|c: char| !c.is_alphabetic()),
            objections.join("; ")
        )
    }

    /// What a client gets that says nothing about itself.
    pub(super) async fn curl(&self, when: &str) -> anyhow::Result<Seen> {
        let seen = Visitor::new(self.stage.web[0])?.ask_plainly("/").await?;
        let got = seen.release.as_deref().unwrap_or("(no release)");
        self.said(format!("curl {} {when}: {} {got}", self.stage.web_url, seen.status));
        Ok(seen)
    }
}
