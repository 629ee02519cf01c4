//! A promotion to a share of the visitors first, told as it happens: each weight with what newcomers really get there,
//! what the checks say, and either everyone on the release or, by itself, everyone back.
//!
//! What happens is heard from the job's events; what it comes to is seen at the edge and in AWS, as after each flip.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{
    Demo, ENVIRONMENT_PATH, REASON, REGION, WEB,
    check::{Before, Expected},
    client::{Event, Job},
    newcomers::Newcomers,
    report::{self, Mark},
    shop::Shop,
    visitors::{Visitor, Watch},
};
use crate::sandbox::dev::screen::in_words;

/// Percent of the visitors, and for how many seconds that is watched.
const STEPS: [(u32, u32); 3] = [(10, 4), (50, 6), (100, 2)];
/// The check of every step.
const ERRORS: &str = "errors";
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How a canary is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Everyone,
    TakenBack,
}

/// A canary.
pub(super) struct Canary<'a> {
    pub title: String,
    pub release: &'a str,
    /// What everyone is on before.
    pub from: &'a str,
    pub ending: Ending,
}

/// What has happened so far.
struct Tale<'a> {
    demo: &'a Demo<'a>,
    shop: &'a Shop,
    canary: &'a Canary<'a>,
    created_at: Option<DateTime<Utc>>,
    /// In the order in which they were reached.
    weights: Vec<u32>,
    /// By point of presence, somebody whose open page is of the release.
    on_it: BTreeMap<SocketAddr, Visitor>,
    /// When the verdict that ends it was heard.
    failed: Option<Instant>,
    objections: Vec<String>,
}

/// The strategy of one promotion: it asks the shop how the release does while each share stands.
fn strategy(shop: &Shop) -> Value {
    let check = json!({
        "name": ERRORS,
        "kind": "http",
        "url": shop.health_url(),
        "expect_json": { "/status": "ok" },
        "interval_seconds": 1,
    });
    let step = |(weight, bake_seconds)| json!({ "weight": weight, "bake_seconds": bake_seconds, "checks": [check] });
    json!({ "kind": "canary", "components": [WEB.component], "steps": STEPS.map(step) })
}

impl Demo<'_> {
    /// Promotes with a canary, tells what happens, and checks that it is what had to happen.
    pub(super) async fn canary(&self, shop: &Shop, canary: &Canary<'_>) -> anyhow::Result<()> {
        let Canary {
            release, from, ending, ..
        } = *canary;
        self.title(&canary.title);
        let before = Before::look(self.aws);
        let (web, docs) = (Watch::start(&self.stage.web)?, Watch::start(&self.stage.docs)?);
        let started = Instant::now();
        let path = format!("{ENVIRONMENT_PATH}/promotions");
        let body = json!({ "release": release, "reason": REASON, "strategy": strategy(shop) });
        let accepted: Job = serde_json::from_value(self.client.post(&path, &body).await?)?;
        self.said(format!("POST {path}  accepted as job {}", accepted.id));
        let weights: Vec<String> = STEPS.iter().map(|(weight, _)| format!("{weight} %")).collect();
        self.said(format!(
            "canary {} of web's visitors; a check watches each share, and newcomers show how large it is",
            weights.join(" → ")
        ));
        let mut tale = Tale {
            demo: self,
            shop,
            canary,
            created_at: accepted.created_at,
            weights: Vec::new(),
            on_it: BTreeMap::new(),
            failed: None,
            objections: Vec::new(),
        };
        let mut events = self.client.follow(&accepted.id).await?;
        while let Some(event) = events.next().await? {
            tale.hear(&event).await?;
        }
        let job = self.client.finished(&accepted.id).await?;
        let wall = started.elapsed();
        report::way(self.screen, &job);
        tale.compare(&job);
        let mut objections = tale.objections;
        let (expected, everyone_on, web_served, docs_served) = match ending {
            Ending::Everyone => (Expected::promoted(release), release, [from, release], [from, release]),
            Ending::TakenBack => (Expected::taken_back(release, from), from, [from, release], [from, from]),
        };
        let found = before.compare(self.aws, &job, &expected);
        report::aws(self.screen, &found);
        objections.extend(found.objections);
        let (web, docs) = (web.end().await?, docs.end().await?);
        report::requests(self.screen, &[&web, &docs]);
        objections.extend(web.failures.iter().chain(&docs.failures).take(3).cloned());
        objections.extend(web.served_others(&web_served));
        objections.extend(docs.served_others(&docs_served));
        objections.extend(docs.strayed(everyone_on));
        report::times(self.screen, &job, wall);
        let after = self.curl("after").await?;
        if after.release.as_deref() != Some(everyone_on) {
            objections.push("curl got another release".to_owned());
        }
        if !objections.is_empty() {
            report::failure(self.screen, &job, &self.client.events(&job.id).await?);
        }
        self.objected(&canary.title, &objections)
    }
}

impl Tale<'_> {
    async fn hear(&mut self, event: &Event) -> anyhow::Result<()> {
        let data = &event.data;
        match event.kind.as_str() {
            "step.started" if data["step"] == "bake" => {
                let stage = data["stage"].as_str().unwrap_or_default();
                let share = stage.strip_prefix("weight-").and_then(|weight| weight.parse().ok());
                self.at_weight(event, share.unwrap_or(100)).await
            }
            "check.verdict" => {
                let (mark, words) = match data["verdict"].as_str() {
                    Some("pass") => (Mark::Good, data["message"].as_str().unwrap_or_default()),
                    // It ends the job: told with its evidence.
                    Some("fail") => return Ok(()),
                    _ => (Mark::Open, data["message"].as_str().unwrap_or_default()),
                };
                self.tell(event, data["check"].as_str().unwrap_or_default(), mark, words);
                Ok(())
            }
            "step.failed" => {
                self.failed.get_or_insert_with(Instant::now);
                let error = &data["error"];
                let check = error["evidence"]["check"].as_str().unwrap_or_default();
                let evidence = report::evidence(error);
                self.tell(event, check, Mark::Bad, evidence.first().map_or("", String::as_str));
                for more in evidence.iter().skip(1) {
                    self.tell_more(more);
                }
                Ok(())
            }
            "job.unwinding" => self.everyone_back(event).await,
            _ => Ok(()),
        }
    }

    /// A share stands, and every point of presence knows it: newcomers come, and the shop hears of them.
    async fn at_weight(&mut self, event: &Event, weight: u32) -> anyhow::Result<()> {
        let Canary { release, from, .. } = *self.canary;
        let points = &self.demo.stage.web;
        let stands = STEPS
            .iter()
            .find(|(step, _)| *step == weight)
            .map_or(0, |(_, seconds)| *seconds);
        // The rest is for the check: it has to ask once more after them.
        let within = Duration::from_secs(stands.into()) / 2;
        let newcomers = Newcomers::come(points, self.demo.newcomers, within, (release, from)).await?;
        self.shop.visited(release, weight);
        self.weights.push(weight);
        let words = report::newcomers(&newcomers, release);
        self.tell(event, &format!("{weight} %"), Mark::None, &words);
        self.objections.extend(newcomers.objections(weight, release));
        let pointer = self.demo.aws.pointer(REGION, WEB.parameter);
        self.tell_more(&pointer.map_or_else(|| "no pointer".to_owned(), |(value, _)| value));
        self.on_it = newcomers.on_it;
        Ok(())
    }

    /// It is taken back by itself: whoever has a page of the release open is let go at his next request, and no
    /// newcomer gets it.
    async fn everyone_back(&mut self, event: &Event) -> anyhow::Result<()> {
        let Canary { release, from, .. } = *self.canary;
        let since = *self.failed.get_or_insert_with(Instant::now);
        self.tell(
            event,
            "back",
            Mark::None,
            "at once, and by itself: what is left of the bake is not waited for",
        );
        let points = &self.demo.stage.web;
        for point in points.iter().filter(|point| !self.on_it.contains_key(point)) {
            self.objections.push(format!("nobody at {point} was on {release}"));
        }
        let within = self.demo.freed_within;
        let freed = std::mem::take(&mut self.on_it)
            .into_iter()
            .map(|(point, visitor)| async move {
                let mut visitor = visitor;
                while since.elapsed() < within {
                    if visitor.load("/release.json").await?.release.as_deref() == Some(from) {
                        return anyhow::Ok(Ok(since.elapsed()));
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(Err(format!(
                    "a visitor at {point} was not freed within {} s",
                    within.as_secs()
                )))
            });
        let mut after = Vec::new();
        for freed in try_join_all(freed).await? {
            match freed {
                Ok(took) => after.push(took),
                Err(objection) => self.objections.push(objection),
            }
        }
        after.sort();
        let each: Vec<String> = after.iter().map(|took| in_words(*took)).collect();
        self.tell_more(&format!(
            "whoever had {release} open got {from} at his next request: {} of {} points of presence, {} after the \
             verdict",
            each.len(),
            points.len(),
            each.join(", ")
        ));
        let newcomers = Newcomers::come(points, self.demo.newcomers, Duration::MAX, (release, from)).await?;
        self.tell_more(&report::newcomers(&newcomers, release));
        self.objections.extend(newcomers.objections(0, release));
        Ok(())
    }

    /// Whether it went the way it had to go.
    fn compare(&mut self, job: &Job) {
        let all: Vec<u32> = STEPS.iter().map(|(weight, _)| *weight).collect();
        let (state, weights) = match self.canary.ending {
            Ending::Everyone => ("succeeded", &all[..]),
            Ending::TakenBack => ("failed", &all[..all.len() - 1]),
        };
        if job.state != state {
            self.objections
                .push(format!("the job ended {}, not {state}", job.state));
        }
        if self.weights != weights {
            self.objections
                .push(format!("the shares were {:?}, not {weights:?} percent", self.weights));
        }
        let code = job.error.as_ref().map_or("none", |error| error.code.as_str());
        if self.canary.ending == Ending::TakenBack && code != "check_failed" {
            self.objections
                .push(format!("the job's error is {code}, not check_failed"));
        }
    }

    fn tell(&self, event: &Event, what: &str, mark: Mark, words: &str) {
        report::happened(self.demo.screen, (self.created_at, event.at), what, mark, words);
    }

    fn tell_more(&self, words: &str) {
        report::more(self.demo.screen, words);
    }
}
