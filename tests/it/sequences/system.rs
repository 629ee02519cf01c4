//! A whole Greenlight that steps are done to: how time goes on in it, and what is remembered of what was done.
//! What is asked of it is in `requests`, what befalls it in `troubles`.
//!
//! Everything runs on one thread, and only while a step is done: between steps nothing moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::http::{Method, header};
use greenlight::{domain::role::Role, sandbox::double::FaultHandle};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::runtime::Runtime;

use super::{
    expectation::Look,
    facts::Facts,
    invariants,
    reference::Known,
    stage::document,
    steps::{RELEASES, Stage, Step, Who},
    tally::TALLY,
    troubles::{Doom, Late},
};
use crate::{
    support::{API_PARAMETER, Answer, KEY, REGION, TestApp, TestAppOptions},
    validation::site::Site,
};

/// How long it may take, in real time, until the workers have done what they can.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A shorter wait than this (in seconds) could be over between a look and the request after it: time goes past it.
const SHORT: f64 = 1.5;
/// Timers that a step which lets things run goes through at most: a watch for late writes is 60 of them.
const TIMERS: usize = 150;

/// The system under test. Ends with its database when it is dropped.
pub struct System {
    runtime: Option<Runtime>,
    world: Option<World>,
}

/// What a step is done to.
pub struct World {
    pub app: TestApp,
    pub site: Site,
    pub book: Book,
    pub faults: Vec<FaultHandle>,
    pub dooms: Vec<Doom>,
    pub late: Vec<Late>,
    /// Those that live.
    pub workers: BTreeSet<usize>,
    other: String,
    small: String,
}

/// The pointer of `api`, that of `web` in a store, that of `web` in a parameter.
pub type Said = [Option<String>; 3];

/// What was done so far, as far as what must be true depends on it.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Releases that a pointer may name.
    pub names: BTreeSet<String>,
    /// By candidate: the weights that somebody asked for.
    pub weights: BTreeMap<String, BTreeSet<i64>>,
    /// Pointers that somebody else wrote since, with the `settle` steps that had begun by then: nobody has looked yet.
    pub foreign: BTreeMap<String, BTreeSet<(String, i64)>>,
    /// Mutations that had an effect for sure, and those that may have had: by the audit's word.
    pub audited: BTreeMap<&'static str, (u64, u64)>,
    /// What was known before the step.
    pub before: Option<Known>,
    pub rounds: BTreeSet<(String, i64)>,
    /// Before the step, when the workers had done what they could.
    pub held: Option<Held>,
}

/// What may begin nothing new, and what it has begun.
#[derive(Debug, Clone)]
pub struct Held {
    pub everything: bool,
    /// Jobs.
    pub paused: BTreeSet<String>,
    pub begun: BTreeSet<(String, i64)>,
}

impl System {
    pub fn start(known: &Known) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let world = runtime.block_on(World::start(&known.stage));
        TALLY.lock().unwrap().sequences += 1;
        Self {
            runtime: Some(runtime),
            world: Some(world),
        }
    }

    pub fn run<T>(&mut self, what: impl AsyncFnOnce(&mut World) -> T) -> T {
        let (runtime, world) = (self.runtime.as_ref().unwrap(), self.world.as_mut().unwrap());
        runtime.block_on(what(world))
    }

    pub fn apply(&mut self, known: &Known, step: &Step) {
        *TALLY.lock().unwrap().kinds.entry(step.what.kind()).or_default() += 1;
        self.run(async |world| {
            if !step.at_once {
                world.still().await;
            }
            world.book.held = world.held(known, step).await;
            world.do_step(known, step).await;
            invariants::check(world, known, &format!("after {step:?}")).await;
            world.book.before = Some(known.clone());
        });
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let (runtime, world) = (self.runtime.take().unwrap(), self.world.take().unwrap());
        runtime.block_on(async {
            let options = world.app.store.pool().connect_options();
            let name = options.get_database().unwrap().to_owned();
            drop(world);
            // Hundreds of sequences would fill a disk.
            if let Ok(mut connection) = (*options).clone().database("postgres").connect().await {
                let sql = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
                let _ = connection.execute(sqlx::raw_sql(sql)).await;
            }
        });
        runtime.shutdown_background();
    }
}

impl World {
    async fn start(stage: &Stage) -> Self {
        let app = TestApp::with(TestAppOptions::default()).await;
        let site = Site::start().await;
        app.set_up(document(&app, &site, stage), &RELEASES[..RELEASES.len() - 1])
            .await;
        let (other, small) = (app.token(Role::Releaser).await, app.token(Role::Deployer).await);
        let mut world = Self {
            app,
            site,
            book: Book::default(),
            other,
            small,
            faults: Vec::new(),
            dooms: Vec::new(),
            late: Vec::new(),
            workers: BTreeSet::from([0]),
        };
        for release in &RELEASES[..stage.served] {
            let id = world.app.promote(release).await;
            world.book.names.insert((*release).to_owned());
            world.audit("promotion.start", true);
            world.still().await;
            while !world.app.job(&id).await["finished_at"].is_string() {
                if stage.gate && world.look().await.waits_for() == Some("approval") {
                    let path = format!("/v1/jobs/{id}/approve");
                    world
                        .send(Method::POST, &path, &json!({}), Who::Other)
                        .await
                        .expect(202);
                    world.audit("job.approve", true);
                }
                world.timer().await;
            }
        }
        let facts = Facts::read(&world.app).await;
        world.book.rounds = facts.rounds();
        world
    }

    /// Sends a request. The API never fails by itself.
    pub async fn send(&self, method: Method, path: &str, body: &Value, who: Who) -> Answer {
        let mut request = self.app.request(method, path, (!body.is_null()).then_some(body));
        let token = match who {
            Who::Starter => None,
            Who::Other => Some(&self.other),
            Who::Small => Some(&self.small),
        };
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let answer = self.app.send(request).await;
        assert!(
            answer.status.as_u16() < 500,
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        answer
    }

    pub async fn look(&self) -> Look {
        Look::at(&self.app).await
    }

    /// Waits until the workers have done all they can do without time going on.
    pub async fn still(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.dooms.iter().position(Doom::is_met) {
                let doom = self.dooms.swap_remove(at);
                self.workers_die(doom).await;
            }
            let (busy, wait) = self.next_timer().await;
            match wait {
                _ if busy => tokio::time::sleep(LOOK_EVERY).await,
                Some(wait) if wait < SHORT => self.app.advance(Duration::from_secs_f64(wait.max(0.0) + 0.001)).await,
                _ => return,
            }
            assert!(
                Instant::now() < deadline,
                "the workers do not come to rest: {:#?}",
                self.look().await
            );
        }
    }

    /// Whether somebody works, and the seconds to the next timer.
    async fn next_timer(&self) -> (bool, Option<f64>) {
        sqlx::query_as(
            "SELECT coalesce(bool_or(lease_owner IS NOT NULL OR claimable_at <= now()), false),
                    extract(epoch FROM min(claimable_at) - now())::float8
             FROM jobs WHERE claimable_at IS NOT NULL",
        )
        .fetch_one(self.app.store.pool())
        .await
        .unwrap()
    }

    /// Lets time go on to the next timer, and what is due then run. False: there is none.
    pub async fn timer(&mut self) -> bool {
        self.still().await;
        for late in &mut self.late {
            late.timers = late.timers.saturating_sub(1);
        }
        self.land(|late| late.timers == 0);
        let (_, Some(wait)) = self.next_timer().await else {
            return false;
        };
        self.app.advance(Duration::from_secs_f64(wait.max(0.0) + 0.001)).await;
        self.still().await;
        true
    }

    /// Lets time go on until a person has to say something, or nothing is left to do.
    pub async fn run(&mut self) {
        for _ in 0..TIMERS {
            self.still().await;
            if self.look().await.waits_for_a_person() || !self.timer().await {
                return;
            }
        }
    }

    pub async fn hour(&mut self) {
        self.still().await;
        self.app.advance(Duration::from_secs(3601)).await;
    }

    /// What has begun, and which promotions may begin nothing more until somebody says so.
    async fn held(&self, known: &Known, step: &Step) -> Option<Held> {
        let before = self.book.before.as_ref().filter(|_| !step.at_once)?;
        let facts = Facts::read(&self.app).await;
        Some(Held {
            everything: before.everything_locked && known.everything_locked,
            paused: facts.paused(),
            begun: facts.begun(),
        })
    }

    /// Notes what the audit has to say. `sure`: it had an effect.
    pub fn audit(&mut self, action: &'static str, sure: bool) {
        let (least, most) = self.book.audited.entry(action).or_default();
        *least += u64::from(sure);
        *most += 1;
    }

    pub async fn is_blocked(&self, release: &str) -> bool {
        let answer = self.app.get(&format!("/v1/apps/storefront/releases/{release}")).await;
        answer.status == 200 && !answer.json()["block"].is_null()
    }

    /// What everything that may be a pointer says in AWS.
    pub fn all_pointers(&self) -> Said {
        [
            self.app.double.parameter(REGION, API_PARAMETER).map(|found| found.0),
            self.app.key(KEY),
            self.app.pointer(),
        ]
    }

    /// What one of them says.
    pub fn says<'s>(said: &'s Said, pointer: &Value) -> Option<&'s str> {
        let [api, key, web] = said;
        match (
            pointer["component"].as_str().unwrap(),
            pointer["target"].as_str().unwrap(),
        ) {
            ("api", _) => api.as_deref(),
            (_, "kvs") => key.as_deref(),
            _ => web.as_deref(),
        }
    }
}
