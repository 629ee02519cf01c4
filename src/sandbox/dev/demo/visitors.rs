//! What visitors of the demo's sites see: a browser with its cookies, and a watch on every point of presence.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use reqwest::{
    Client,
    header::{COOKIE, HeaderMap, SET_COOKIE},
};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two rounds of the watch.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const RELEASE_HEADER: &str = "x-greenlight-release";

/// What one request got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub status: u16,
    /// What the edge says it served; `None` for an answer without a mark.
    pub release: Option<String>,
    pub location: Option<String>,
}

/// A browser at one point of presence: it sends what Chromium sends, and keeps cookies.
#[derive(Debug)]
pub struct Visitor {
    client: Client,
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self::with(client()?, address))
    }

    /// One of many, who share a client's connections and nothing else.
    pub(super) fn with(client: Client, address: SocketAddr) -> Self {
        Self {
            client,
            address,
            cookies: BTreeMap::new(),
        }
    }

    /// Types an address or follows a link; a redirect is followed.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn navigate(&mut self, path: &str) -> anyhow::Result<Seen> {
        let seen = self.ask(path, "navigate", "document").await?;
        match (&seen.location, seen.status) {
            (Some(location), 300..400) => {
                let location = location.clone();
                self.ask(&location, "navigate", "document").await
            }
            _ => Ok(seen),
        }
    }

    /// Loads something for the page that is open.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn load(&mut self, path: &str) -> anyhow::Result<Seen> {
        self.ask(path, "cors", "empty").await
    }

    /// Asks without a word about itself, as curl does.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask_plainly(&self, path: &str) -> anyhow::Result<Seen> {
        let url = format!("http://{}{path}", self.address);
        let answer = self.client.get(&url).send().await;
        let answer = answer.with_context(|| format!("no answer from {url}"))?;
        Ok(seen(answer.status().as_u16(), answer.headers()))
    }

    async fn ask(&mut self, path: &str, mode: &str, dest: &str) -> anyhow::Result<Seen> {
        let url = format!("http://{}{path}", self.address);
        let mut request = self
            .client
            .get(&url)
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-dest", dest);
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        let answer = request.send().await.with_context(|| format!("no answer from {url}"))?;
        self.keep_cookies(answer.headers());
        Ok(seen(answer.status().as_u16(), answer.headers()))
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for line in headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
        {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            if attributes
                .to_ascii_lowercase()
                .split(';')
                .any(|attribute| attribute.trim() == "max-age=0")
            {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

fn seen(status: u16, headers: &HeaderMap) -> Seen {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    Seen {
        status,
        release: text(RELEASE_HEADER),
        location: text("location"),
    }
}

pub(super) fn client() -> anyhow::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
        .build()
        .context("could not make an HTTP client")
}

/// Asks every point of presence again and again while traffic is moved.
#[derive(Debug)]
pub struct Watch {
    task: JoinHandle<Watched>,
    stop: CancellationToken,
    _drop: DropGuard,
}

/// What the watch saw.
#[derive(Debug, Default)]
pub struct Watched {
    pub requests: u64,
    /// Answers of a status of 500 or more, and questions without an answer.
    pub failures: Vec<String>,
    /// By address: each release and when it was first and last seen, in the order of its first time.
    pub points: BTreeMap<SocketAddr, Vec<Sighting>>,
}

/// One release at one point of presence.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub release: String,
    pub first: Duration,
    pub last: Duration,
}

impl Watch {
    /// Begins to look.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn start(points: &[SocketAddr]) -> anyhow::Result<Self> {
        let (client, points, stop) = (client()?, points.to_vec(), CancellationToken::new());
        let token = stop.clone();
        let task = tokio::spawn(async move { look(&client, &points, &token).await });
        Ok(Self {
            task,
            stop: stop.clone(),
            _drop: stop.drop_guard(),
        })
    }

    /// Ends it after the round it is in.
    ///
    /// # Errors
    /// When its task was lost.
    pub async fn end(self) -> anyhow::Result<Watched> {
        self.stop.cancel();
        self.task.await.context("the watch was lost")
    }
}

async fn look(client: &Client, points: &[SocketAddr], stop: &CancellationToken) -> Watched {
    let began = Instant::now();
    let mut watched = Watched::default();
    while !stop.is_cancelled() {
        for point in points {
            let asked = client.get(format!("http://{point}/")).header("accept", "text/html");
            let answer = asked.send().await;
            watched.requests += 1;
            match answer {
                Ok(answer) if answer.status().as_u16() < 500 => {
                    let seen = seen(answer.status().as_u16(), answer.headers());
                    let word = seen.release.unwrap_or_else(|| format!("nothing ({})", seen.status));
                    watched.note(*point, word, began.elapsed());
                }
                Ok(answer) => watched.failures.push(format!("{point} answered {}", answer.status())),
                Err(error) => watched.failures.push(format!("{point}: {error}")),
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    watched
}

impl Watched {
    fn note(&mut self, point: SocketAddr, release: String, at: Duration) {
        let sightings = self.points.entry(point).or_default();
        match sightings.last_mut() {
            Some(last) if last.release == release => last.last = at,
            _ => sightings.push(Sighting {
                release,
                first: at,
                last: at,
            }),
        }
    }

    /// Points of presence that served anything but these.
    pub fn served_others(&self, releases: &[&str]) -> Vec<String> {
        let others = |(point, sightings): (&SocketAddr, &Vec<Sighting>)| {
            let mut sightings = sightings.iter();
            let other = sightings.find(|seen| !releases.contains(&seen.release.as_str()))?;
            Some(format!("{point} served {}", other.release))
        };
        self.points.iter().filter_map(others).collect()
    }

    /// Points of presence that did not go from whatever they served to `release`, once and for good.
    pub fn strayed(&self, release: &str) -> Vec<String> {
        let path = |sightings: &[Sighting]| {
            let words: Vec<&str> = sightings.iter().map(|sighting| sighting.release.as_str()).collect();
            words.join(" → ")
        };
        let wrong = |sightings: &&Vec<Sighting>| {
            sightings.len() > 2 || sightings.last().is_none_or(|last| last.release != release)
        };
        let points = self.points.iter().filter(|(_, sightings)| wrong(sightings));
        points
            .map(|(point, sightings)| format!("{point} served {}", path(sightings)))
            .collect()
    }
}
