//! A whole Greenlight, and how each step of a sequence is done to it.
//!
//! Everything runs on one thread, and only while a step is done: between steps nothing moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::http::{Method, header};
use chrono::{DateTime, Utc};
use greenlight::{
    domain::role::Role,
    sandbox::double::{Fault, FaultAction, FaultHandle},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::runtime::Runtime;

use super::{
    expectation::{self, Answered, Look},
    facts::Facts,
    invariants,
    reference::{
        Call, Death, Foreign, Known, OnConflict, Promote, RELEASES, Roads, Signal, Stage, Step, Trouble, Way, What,
        Who, Whose,
    },
    tally::TALLY,
};
use crate::{
    support::{
        API_PARAMETER, Answer, ENVIRONMENT, KEY, PARAMETER, REGION, TestApp, TestAppOptions, api_and_web, web_in_kvs,
        web_projected,
    },
    validation::site::Site,
};

/// How long it may take, in real time, until the workers have done what they can.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A shorter wait than this (in seconds) could be over between a look and the request after it: time goes past it.
const SHORT: f64 = 1.5;
/// Timers that a step which lets things run goes through at most: a watch for late writes is 60 of them.
const TIMERS: usize = 150;
/// AWS takes a signed request for five minutes.
const SIGNED: Duration = Duration::from_secs(295);
const LEASE: Duration = Duration::from_secs(31);

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
    other: String,
    small: String,
    faults: Vec<FaultHandle>,
    dooms: Vec<Doom>,
    late: Vec<Late>,
    workers: BTreeSet<usize>,
}

/// The pointer of `api`, that of `web` in a store, that of `web` in a parameter.
pub type Said = [Option<String>; 3];

/// A call in the middle of which every worker dies.
struct Doom {
    handles: Vec<FaultHandle>,
    /// Its write lands so many timers later.
    late: Option<u32>,
}

/// A write whose worker has died: AWS still has it.
struct Late {
    handle: FaultHandle,
    signed: DateTime<Utc>,
    timers: u32,
}

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
    /// Steps that had begun when nothing could begin any more: only while everything is locked or the job paused.
    pub begun: Option<BTreeSet<(String, i64)>>,
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
            world.book.begun = world.held(known, step).await;
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

/// The environment's document.
fn document(app: &TestApp, site: &Site, stage: &Stage) -> Value {
    let mut document = api_and_web();
    let web = match stage.roads {
        Roads::Parameters => None,
        Roads::Keys => Some(web_in_kvs(&app.store_arn())),
        Roads::Projected => Some(web_projected(&app.store_arn())),
    };
    if let Some(web) = web {
        document["components"][1] = web["components"][0].clone();
    }
    document["components"][1]["edge"] = json!({"mode": "viewer_rewrite"});
    for at in 0..2 {
        document["components"][at]["router"]["edge_ttl_seconds"] = json!(5);
    }
    document["approvals"] = json!({"before_traffic": stage.gate, "expires_after_seconds": 3600});
    if stage.check {
        let check = |name: &str| {
            json!({"name": name, "when": name.replace('-', "_"), "kind": "http", "url": format!("{}/check", site.url),
                   "attempts": 2, "interval_seconds": 5})
        };
        document["checks"] = json!([check("before-traffic"), check("after-traffic")]);
    }
    if stage.hooks {
        let hook = |name: &str, when: &str| {
            json!({"name": name, "when": when, "url": format!("{}/{name}", site.url),
                   "undo": {"url": format!("{}/{name}-undo", site.url)}})
        };
        document["hooks"] = json!([hook("expand", "before_traffic"), hook("warm", "before_weight")]);
        document["hooks"][1]["weight"] = json!(100);
    }
    document
}

/// A strategy as it is sent, and its weights below 100.
fn strategy(site: &Site, way: &Way) -> (Value, Vec<u32>) {
    match way {
        Way::AllAtOnce { bake_seconds } => (json!({"kind": "all_at_once", "bake_seconds": bake_seconds}), Vec::new()),
        Way::Canary {
            weights,
            gate,
            check,
            only_web,
        } => {
            let step = |weight: &u32| {
                let mut step = json!({"weight": weight, "bake_seconds": 60, "approval": gate});
                if *check {
                    step["checks"] = json!([{"name": format!("share-{weight}"), "kind": "http",
                        "url": format!("{}/check", site.url), "attempts": 2, "interval_seconds": 20}]);
                }
                step
            };
            let steps: Vec<Value> = weights.iter().map(step).collect();
            let mut strategy = json!({"kind": "canary", "steps": steps});
            if *only_web {
                strategy["components"] = json!(["web"]);
            }
            (strategy, weights.clone())
        }
    }
}

/// The operations of a call.
fn fault(call: Call, action: &FaultAction, skip: u64, times: u64) -> Vec<Fault> {
    let operations: &[Option<&str>] = match call {
        Call::Any => &[None],
        Call::Read => &[Some("GetParameter"), Some("GetKey")],
        Call::Write => &[Some("PutParameter"), Some("UpdateKeys")],
        Call::Invalidate => &[Some("CreateInvalidation")],
    };
    let of = |operation: &Option<&str>| match operation {
        Some(operation) => Fault::on(operation, action.clone()),
        None => Fault::on_any(action.clone()),
    };
    operations
        .iter()
        .map(of)
        .map(|fault| fault.skip(skip).times(times))
        .collect()
}

impl Doom {
    fn is_met(&self) -> bool {
        self.handles.iter().any(|handle| handle.hits() > 0)
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

    async fn hour(&mut self) {
        self.still().await;
        self.app.advance(Duration::from_secs(3601)).await;
    }

    /// What has begun, if nothing more may begin until somebody says so.
    async fn held(&self, known: &Known, step: &Step) -> Option<BTreeSet<(String, i64)>> {
        let before = self.book.before.as_ref()?;
        let held = before.everything_locked && known.everything_locked && !step.at_once;
        if held {
            Some(Facts::read(&self.app).await.begun())
        } else {
            None
        }
    }

    /// Notes what the audit has to say. `sure`: it had an effect.
    pub fn audit(&mut self, action: &'static str, sure: bool) {
        let (least, most) = self.book.audited.entry(action).or_default();
        *least += u64::from(sure);
        *most += 1;
    }

    async fn do_step(&mut self, known: &Known, step: &Step) {
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

    async fn drift(&mut self, at: usize, foreign: Foreign) {
        let pointers = Facts::read(&self.app).await.pointers;
        let pointer = &pointers[at % pointers.len()];
        let document = || {
            let epoch = Self::says(&self.all_pointers(), pointer).map_or(0, invariants::epoch);
            json!({"v": 1, "active": "9.9.9", "previous": null, "candidate": null, "weight": 0, "epoch": epoch + 1,
                   "pin_seconds": 1800})
            .to_string()
        };
        let value = match foreign {
            Foreign::Text => Some("somebody else's".to_owned()),
            Foreign::Document => Some(document()),
            Foreign::Nothing => None,
        };
        if foreign == Foreign::Document {
            self.book.names.insert("9.9.9".to_owned());
        }
        let double = &self.app.double;
        let name = match pointer["component"].as_str().unwrap() {
            "api" => API_PARAMETER,
            _ => PARAMETER,
        };
        match (value, pointer["target"] == "kvs") {
            (Some(value), false) => {
                double.put_parameter(REGION, name, &value).unwrap();
            }
            (None, false) => {
                double.delete_parameter(REGION, name);
            }
            (Some(value), true) => double.set_kvs_value(&self.app.store_arn(), KEY, &value).unwrap(),
            (None, true) => {
                let _ = double.delete_kvs_value(&self.app.store_arn(), KEY);
            }
        }
        let facts = Facts::read(&self.app).await;
        let begun = facts.begun();
        self.book
            .foreign
            .insert(pointer["key"].as_str().unwrap().to_owned(), begun);
    }

    fn fault(&mut self, call: Call, trouble: Trouble, skip: u64, times: u64) {
        let (action, times) = match trouble {
            Trouble::LostAnswer => (FaultAction::LoseAnswer, times),
            Trouble::LostRequest => (FaultAction::LoseRequest, times),
            Trouble::Unavailable => (FaultAction::Unavailable, times),
            Trouble::InternalError => (FaultAction::InternalError, times),
            Trouble::Throttled => (FaultAction::Throttle, times),
            Trouble::AccessDenied => (FaultAction::AccessDenied, 1),
        };
        for fault in fault(call, &action, skip, times) {
            self.faults.push(self.app.double.faults().add(fault));
        }
    }

    /// From now on every worker dies as soon as one of them comes to that call; or right now.
    async fn die(&mut self, death: Death) {
        let (action, call, skip, late) = match death {
            Death::Idle => {
                return self
                    .workers_die(Doom {
                        handles: Vec::new(),
                        late: None,
                    })
                    .await;
            }
            Death::AfterEffect(call, skip) => (FaultAction::HangAfterEffect, call, skip, None),
            Death::BeforeEffect(call, skip) => (FaultAction::HangBeforeEffect, call, skip, None),
            Death::LateWrite { skip, timers } => (FaultAction::HoldEffect, Call::Write, skip, Some(timers + 1)),
        };
        let add = |fault| self.app.double.faults().add(fault);
        let handles = fault(call, &action, skip, 1).into_iter().map(add).collect();
        self.dooms.push(Doom { handles, late });
    }

    /// The workers end as with `kill -9`, their leases run out, and another one starts.
    async fn workers_die(&mut self, doom: Doom) {
        let signed = self.app.double.clock().now();
        for worker in std::mem::take(&mut self.workers) {
            self.app.kill_worker(worker).await;
        }
        for handle in doom.handles {
            self.app.double.faults().remove(handle.id());
            if handle.hits() > 0 {
                TALLY.lock().unwrap().deaths_in_a_call += 1;
                if let Some(timers) = doom.late {
                    self.late.push(Late { handle, signed, timers });
                }
            }
        }
        // On the database's clock: nobody waits for it.
        self.app.advance(LEASE).await;
        let again = self.app.start_worker();
        self.workers.insert(again);
    }

    /// These late writes land, as far as AWS still takes them.
    fn land(&mut self, which: impl Fn(&Late) -> bool) {
        let now = self.app.double.clock().now();
        for late in self.late.extract_if(.., |late| which(late)) {
            let taken = (now - late.signed).to_std().unwrap_or_default() < SIGNED;
            if taken && late.handle.release() > 0 {
                TALLY.lock().unwrap().late_writes_landed += 1;
            }
        }
    }

    /// AWS works again, nobody dies or writes any more, and what could still land has landed.
    pub async fn end_faults(&mut self) {
        self.still().await;
        self.land(|_| true);
        self.dooms.clear();
        let met = self.faults.drain(..).filter(|handle| handle.hits() > 0).count();
        TALLY.lock().unwrap().faults_met += u64::try_from(met).unwrap();
        self.app.double.faults().clear();
        self.site.answer("/check", 200, "");
    }
}
