//! The worker: claims what may go on, drives it, keeps its leases, and sleeps when there is nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument;
use uuid::Uuid;

use super::{Engine, Hub, drive::drive};
use crate::store::{
    Result, StoreError,
    leases::{self, Claimed, Lease},
};

/// How long a job that no code of this version can go on with is left alone.
const CORRUPT_RETRY_SECS: f64 = 60.0;

/// Timers that fire within so long of each other are claimed together, and so are places that come free: a claim is a
/// commit, and a look at the database is not free either.
const GATHER: Duration = Duration::from_millis(10);

/// With all places taken, it waits so long for a quarter of them to come free.
const GATHER_WHEN_FULL: Duration = Duration::from_millis(50);

/// Where the worker says that it is alive.
#[derive(Debug, Clone)]
pub struct Pulse {
    started: Instant,
    last_millis: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            last_millis: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }
}

impl Pulse {
    fn beat(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    /// How long ago the worker last looked for work and got an answer. `None`: never yet.
    pub fn age(&self) -> Option<Duration> {
        match self.last_millis.load(Ordering::Relaxed) {
            u64::MAX => None,
            millis => Some(self.started.elapsed().saturating_sub(Duration::from_millis(millis))),
        }
    }
}

type Held = Arc<Mutex<HashMap<Uuid, (Lease, CancellationToken)>>>;

/// One worker of a process.
pub struct Worker {
    engine: Engine,
    hub: Hub,
    id: Uuid,
    pulse: Pulse,
    held: Held,
}

impl Worker {
    pub fn new(engine: Engine, hub: Hub) -> Self {
        Self {
            engine,
            hub,
            id: Uuid::now_v7(),
            pulse: Pulse::default(),
            held: Held::default(),
        }
    }

    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Works until `stop`; then ends the writes in flight and hands its jobs over.
    pub async fn run(self, stop: CancellationToken) {
        let beating = CancellationToken::new();
        // Ends with this future, however that ends: nobody may keep the leases of a worker that is gone.
        let heart = AbortOnDropHandle::new(tokio::spawn(heartbeat(
            self.engine.clone(),
            self.id,
            self.held.clone(),
            beating.clone(),
        )));
        let mut jobs = JoinSet::new();
        while !stop.is_cancelled() {
            while jobs.try_join_next().is_some() {}
            let pause = match self.pass(&mut jobs, &stop).await {
                Ok(pause) => {
                    self.pulse.beat();
                    pause
                }
                Err(error) => {
                    tracing::warn!(error = %describe(&error), "could not look for work; trying again");
                    Duration::from_secs(1)
                }
            };
            self.rest(&mut jobs, pause, &stop).await;
        }
        while jobs.join_next().await.is_some() {}
        beating.cancel();
        if heart.await.is_err() {
            tracing::error!("the heartbeat task panicked");
        }
    }

    /// Sleeps until it is worth looking for work again: `pause` at most, less if a job has ended (it may have left a
    /// nearer timer, and its place is free), and no longer than until somebody says that there is work.
    async fn rest(&self, jobs: &mut JoinSet<()>, pause: Duration, stop: &CancellationToken) {
        let places = self.engine.config.concurrency;
        let full = jobs.len() >= places;
        let gather = if full { GATHER_WHEN_FULL } else { GATHER };
        let mut wake = Instant::now() + pause;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.hub.work(), if jobs.len() < places => return,
                Some(_) = jobs.join_next() => {
                    wake = wake.min(Instant::now() + gather);
                    if full && jobs.len() <= places - places.div_ceil(4) {
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => return,
            }
        }
    }

    /// Claims what there is room for. Returns how long to sleep if nothing happens.
    async fn pass(&self, jobs: &mut JoinSet<()>, stop: &CancellationToken) -> Result<Duration> {
        let config = &self.engine.config;
        let room = config.concurrency.saturating_sub(jobs.len());
        if room == 0 {
            return Ok(config.poll);
        }
        let mut connection = self.engine.store.pool().acquire().await?;
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let claimed = leases::claim(&mut connection, self.id, config.lease.as_secs_f64(), limit).await?;
        let more = claimed.len() == room;
        for claimed in claimed {
            self.spawn(jobs, claimed, stop.clone());
        }
        if more {
            // There may be more, but no place for it.
            return Ok(config.poll);
        }
        let next = leases::seconds_to_next(&mut connection).await?;
        let pause = next.map_or(config.poll, |secs| Duration::from_secs_f64(secs.max(0.0)));
        // Never quite zero: a row that is due but locked by somebody else must not make us spin.
        Ok(pause.max(GATHER).min(config.poll))
    }

    fn spawn(&self, jobs: &mut JoinSet<()>, claimed: Claimed, stop: CancellationToken) {
        let lost = CancellationToken::new();
        let lease = claimed.lease;
        lock(&self.held).insert(lease.job, (lease, lost.clone()));
        let (engine, hub, held) = (self.engine.clone(), self.hub.clone(), self.held.clone());
        let span = tracing::info_span!("job", job.id = %lease.job, lease.epoch = lease.epoch);
        let work = async move {
            if let Err(error) = drive(&engine, &hub, claimed, &stop, &lost).await {
                tracing::warn!(error = %describe(&error), "a job is given back: its state could not be read or written");
                let corrupt = matches!(error, StoreError::Corrupt { .. });
                give_back(&engine, lease, if corrupt { CORRUPT_RETRY_SECS } else { 0.0 }, &stop).await;
            }
            let mut held = lock(&held);
            if held.get(&lease.job).is_some_and(|(current, _)| *current == lease) {
                held.remove(&lease.job);
            }
        };
        jobs.spawn(work.instrument(span));
    }
}

/// Gives a lease back after a database error, with a few tries: else it runs out by itself.
async fn give_back(engine: &Engine, lease: Lease, retry_secs: f64, stop: &CancellationToken) {
    for _ in 0..5 {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if leases::hand_over(&engine.store, lease, retry_secs).await.is_ok() || stop.is_cancelled() {
            return;
        }
    }
}

/// Extends all leases three times within their length; tells the drivers of those that are lost.
async fn heartbeat(engine: Engine, owner: Uuid, held: Held, stop: CancellationToken) {
    let lease = engine.config.lease;
    let mut last_answer = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(lease / 3) => {}
        }
        // Leases, not jobs: one that is taken anew meanwhile is not asked for, and so not missed.
        let asked: Vec<Lease> = lock(&held).values().map(|(lease, _)| *lease).collect();
        if asked.is_empty() {
            last_answer = Instant::now();
            continue;
        }
        let jobs: Vec<Uuid> = asked.iter().map(|lease| lease.job).collect();
        let beat = leases::heartbeat(&engine.store, owner, &jobs, lease.as_secs_f64());
        match tokio::time::timeout(lease / 3, beat).await {
            Ok(Ok(kept)) => {
                last_answer = Instant::now();
                for (lease, lost) in lock(&held).values() {
                    if asked.contains(lease) && !kept.contains(lease) {
                        lost.cancel();
                    }
                }
            }
            failed => {
                let why = match &failed {
                    Ok(Err(error)) => describe(error),
                    _ => "no answer in time".to_owned(),
                };
                tracing::warn!(error = why, "could not extend the leases");
                if last_answer.elapsed() >= lease {
                    for (_, lost) in lock(&held).values() {
                        lost.cancel();
                    }
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while it was held cannot leave a map half-changed.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
