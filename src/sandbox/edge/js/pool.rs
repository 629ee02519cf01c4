//! CloudFront Functions: viewer events, each handled in a realm that is made for it and thrown away.
//!
//! A few threads take events from one queue. What a function leaves in its module or in a global is gone with its realm:
//! CloudFront promises nothing to be kept either.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use rquickjs::{Ctx, Function, Object, Value};
use tokio::sync::oneshot;

use super::{
    FUNCTION_MEMORY_BYTES, FunctionError,
    engine::{Compiled, Engine, Failure, call, import},
    modules,
};
use crate::sandbox::edge::KeyValues;

/// What makes a function's `handler` reachable from outside; CloudFront knows it by its name.
const EXPORT: &str = "\nexport default typeof handler === 'function' ? handler : undefined;\n";

/// One event for one function.
pub(in crate::sandbox::edge) struct Invocation {
    /// Which function, in the order in which the pool got them.
    pub function: usize,
    /// The event, as JSON.
    pub event: String,
    /// What `event.request.rawQueryString()` returns; `None` without a question mark.
    pub raw_query: Option<String>,
    /// The key-value store as this point of presence has it.
    pub store: Option<Arc<KeyValues>>,
    /// What time it is.
    pub now_millis: i64,
}

struct Job {
    invocation: Invocation,
    reply: oneshot::Sender<Result<String, FunctionError>>,
}

/// The threads and what they can run. They end when the pool is dropped.
pub(in crate::sandbox::edge) struct FunctionPool {
    queue: Sender<Job>,
}

impl FunctionPool {
    /// Compiles the functions and starts the threads.
    ///
    /// # Errors
    /// [`FunctionError::Unloadable`] when one is no JavaScript, as CreateFunction would refuse it.
    pub(in crate::sandbox::edge) fn start(sources: &[&str], threads: usize) -> Result<Self, FunctionError> {
        let modules: Vec<Compiled> = sources
            .iter()
            .enumerate()
            .map(|(index, source)| Compiled::new(&name(index), &format!("{source}{EXPORT}")))
            .collect::<Result<_, _>>()?;
        let (queue, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads.max(1) {
            let (modules, jobs) = (modules.clone(), Arc::clone(&jobs));
            thread::Builder::new()
                .name(format!("edge-function-{number}"))
                .spawn(move || work(&modules, &jobs))
                .map_err(|error| FunctionError::Unloadable(error.to_string()))?;
        }
        Ok(Self { queue })
    }

    /// Runs a function on an event; what it returned, as JSON.
    pub(in crate::sandbox::edge) async fn invoke(&self, invocation: Invocation) -> Result<String, FunctionError> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(Job { invocation, reply })
            .map_err(|_| FunctionError::Stopped)?;
        answer.await.unwrap_or(Err(FunctionError::Stopped))
    }
}

fn name(index: usize) -> String {
    format!("function-{index}")
}

/// One thread's life: jobs until the pool is gone.
fn work(modules: &[Compiled], jobs: &Mutex<Receiver<Job>>) {
    let mut engine = None;
    loop {
        // Only the thread that waits for a job holds the lock; it is free again before the job is done.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { invocation, reply }) = next else { return };
        let answer = match engine
            .take()
            .map_or_else(|| Engine::new(modules, FUNCTION_MEMORY_BYTES), Ok)
        {
            Ok(ready) => {
                let answer = handle(&ready, &invocation);
                // After a failure nobody knows what is left in it; a new one costs little.
                if answer.is_ok() {
                    engine = Some(ready);
                }
                answer
            }
            Err(error) => Err(error),
        };
        // Nobody waits any more when the viewer has gone.
        let _ = reply.send(answer);
    }
}

fn handle(engine: &Engine, invocation: &Invocation) -> Result<String, FunctionError> {
    modules::enter(invocation.store.clone(), invocation.now_millis);
    let realm = engine.realm()?;
    let answer = engine.limited(&realm, |ctx| {
        modules::furnish(ctx)?;
        let exports = import(ctx, &name(invocation.function))?;
        let handler: Option<Function<'_>> = exports.get("default")?;
        let handler = handler.ok_or(FunctionError::NoHandler)?;
        let event = event(ctx, invocation)?;
        call(ctx, &handler, event)
    });
    drop(realm);
    engine.sweep();
    answer
}

/// The event with its one method ("General helper methods": `rawQueryString`).
fn event<'js>(ctx: &Ctx<'js>, invocation: &Invocation) -> Result<Value<'js>, Failure> {
    let event = ctx.json_parse(invocation.event.as_str())?;
    if let Some(object) = event.as_object() {
        let request: Option<Object<'js>> = object.get("request")?;
        let raw_query = invocation.raw_query.clone();
        if let Some(request) = request {
            request.set("rawQueryString", Function::new(ctx.clone(), move || raw_query.clone())?)?;
        }
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Runs `handler` of `source` on an event with the store's `key` set to `value`.
    async fn run(source: &str) -> Result<Value, FunctionError> {
        run_in(&FunctionPool::start(&[source], 1)?).await
    }

    async fn run_in(pool: &FunctionPool) -> Result<Value, FunctionError> {
        let store = KeyValues::from([("key".to_owned(), r#"{"a":1}"#.to_owned())]);
        let answer = pool
            .invoke(Invocation {
                function: 0,
                event: json!({"request": {"uri": "/x"}}).to_string(),
                raw_query: Some("a=1&b".to_owned()),
                store: Some(Arc::new(store)),
                now_millis: 1_700_000_000_123,
            })
            .await?;
        Ok(serde_json::from_str(&answer).unwrap())
    }

    #[tokio::test]
    async fn a_function_reads_its_store() {
        let source = "import cf from 'cloudfront';
            async function handler(event) {
                const store = cf.kvs();
                let missing = null;
                try { await store.get('missing'); } catch (error) { missing = error.message; }
                return { uri: event.request.uri, query: event.request.rawQueryString(), missing: missing,
                    text: await store.get('key'), string: await store.get('key', {format: 'string'}),
                    json: await store.get('key', {format: 'json'}),
                    exists: [await store.exists('key'), await store.exists('missing')], count: await store.count() };
            }";
        let seen = run(source).await.unwrap();
        assert_eq!(
            seen,
            json!({
                "uri": "/x", "query": "a=1&b", "missing": "KeyNotFound: missing", "text": "{\"a\":1}",
                "string": "{\"a\":1}", "json": {"a": 1}, "exists": [true, false], "count": 1
            })
        );
    }

    #[tokio::test]
    async fn a_store_that_can_not_be_read_rejects() {
        let source = "import cf from 'cloudfront';
            async function handler() {
                const told = [];
                for (const ask of [s => s.get('key'), s => s.exists('key'), s => s.count()]) {
                    try { await ask(cf.kvs()); } catch (error) { told.push(error.message); }
                }
                return told;
            }";
        let pool = FunctionPool::start(&[source], 1).unwrap();
        let invocation = Invocation {
            function: 0,
            event: "{}".to_owned(),
            raw_query: None,
            store: None,
            now_millis: 0,
        };
        let told = pool.invoke(invocation).await.unwrap();
        let expected = "the key value store can't be read";
        assert_eq!(
            serde_json::from_str::<Value>(&told).unwrap(),
            json!([expected, expected, expected])
        );
    }

    #[tokio::test]
    async fn digests_are_those_of_node() {
        // What Node.js gives for the same calls.
        let source = "import crypto, { createHash } from 'crypto';
            function handler() {
                const hash = () => crypto.createHash('sha256').update('green').update('light \\u00fc');
                return [hash().digest('hex'), hash().digest('base64'), hash().digest('base64url'),
                    createHash('sha256').digest('hex'),
                    crypto.createHmac('sha256', 'key').update('greenlight').digest('hex')];
            }";
        assert_eq!(
            run(source).await.unwrap(),
            json!([
                "3e13527d7859c5d6d6cbe71e1c03f1c5efae2908e2f75d838f0095ccce0038fb",
                "PhNSfXhZxdbWy+ceHAPxxe+uKQji912DjwCVzM4AOPs=",
                "PhNSfXhZxdbWy-ceHAPxxe-uKQji912DjwCVzM4AOPs",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "e66eee710b60222a937ff01d799b4abb0b7799debabeebcb971a088f4814ef22"
            ])
        );
    }

    #[tokio::test]
    async fn nothing_is_kept_from_one_event_to_the_next() {
        let source = "let calls = 0;
            function handler() {
                calls += 1;
                globalThis.seen = (globalThis.seen || 0) + 1;
                Array.prototype.mark = (Array.prototype.mark || 0) + 1;
                return [calls, globalThis.seen, Array.prototype.mark];
            }";
        let pool = FunctionPool::start(&[source], 1).unwrap();
        for _ in 0..3 {
            assert_eq!(run_in(&pool).await.unwrap(), json!([1, 1, 1]));
        }
    }

    #[tokio::test]
    async fn the_clock_is_given_and_stands_still() {
        let source = "function handler() {
            const first = Date.now();
            for (let i = 0; i < 100000; i++) {}
            return [first, Date.now()];
        }";
        let time = 1_700_000_000_123_i64;
        assert_eq!(run(source).await.unwrap(), json!([time, time]));
    }

    #[tokio::test]
    async fn there_is_no_outside_world() {
        let source = "function handler() {
            const tried = ['eval', 'setTimeout', 'fetch', 'require', 'process'].map(name => typeof globalThis[name]);
            for (const make of [() => new Function('return 1'), () => (0, eval)('1')]) {
                try { make(); tried.push('ran'); } catch (error) { tried.push(error.name); }
            }
            console.log('a', 1, {});
            return tried;
        }";
        let seen = run(source).await.unwrap();
        let absent = seen.as_array().unwrap().iter().filter(|one| **one == "ran").count();
        assert_eq!(absent, 0, "{seen}");
        for outside in 1..5 {
            assert_eq!(seen[outside], "undefined", "{seen}");
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told() {
        let threw =
            |error: &FunctionError, text: &str| matches!(error, FunctionError::Threw(told) if told.contains(text));
        let error = |source: &'static str| async move { run(source).await.unwrap_err() };
        assert!(threw(
            &error("function handler() { throw new Error('own') }").await,
            "own"
        ));
        assert!(threw(
            &error("async function handler() { throw new TypeError('own') }").await,
            "own"
        ));
        assert!(threw(&error("function handler() { throw 'text' }").await, "text"));
        assert!(threw(
            &error("function handler(event) { return event.no.thing }").await,
            "thing"
        ));
        assert!(threw(
            &error("function handler(e) { e.e = e; return e }").await,
            "circular"
        ));
        assert_eq!(error("const other = 1;").await, FunctionError::NoHandler);
        assert_eq!(error("const handler = 1;").await, FunctionError::NoHandler);
        assert_eq!(
            error("function handler() { return new Promise(() => {}) }").await,
            FunctionError::NeverSettled
        );
        assert!(matches!(
            error("function handler() {}").await,
            FunctionError::Invalid(_)
        ));
        assert!(matches!(
            error("function handler( {").await,
            FunctionError::Unloadable(_)
        ));
        assert!(matches!(
            error("import fs from 'fs'; function handler() {}").await,
            FunctionError::Unloadable(_)
        ));
        assert!(matches!(
            error("throw new Error('early'); function handler() {}").await,
            FunctionError::Unloadable(_)
        ));
        let unknown = "import c from 'crypto'; function handler() { c.createHash('md5') }";
        assert!(threw(&error(unknown).await, "md5"));
        let twice = "import c from 'crypto'; function handler() { const h = c.createHash('sha256');
            h.digest('hex'); h.digest('hex') }";
        assert!(threw(&error(twice).await, "already"));
    }

    #[tokio::test]
    async fn time_and_memory_are_limited_and_the_next_event_is_fine() {
        let source = "async function handler(event) {
            if (event.request.uri === '/x') return 'fine';
        }";
        let endless = "function handler() { for (;;) {} }";
        let catching = "function handler() { for (;;) { try { for (;;) {} } catch (error) {} } }";
        let waiting = "async function handler() { for (;;) { await null; } }";
        let hungry = "function handler() { const all = []; for (;;) { all.push(new Array(1000).fill(7)); } }";
        let deep = "function handler() { return handler() + 1 }";
        let pool = FunctionPool::start(&[source, endless, catching, waiting, hungry, deep], 1).unwrap();
        let invoke = |function| {
            let event = json!({"request": {"uri": "/x"}}).to_string();
            pool.invoke(Invocation {
                function,
                event,
                raw_query: None,
                store: None,
                now_millis: 0,
            })
        };
        for round in 0..3 {
            for loops in [1, 2, 3] {
                assert_eq!(invoke(loops).await, Err(FunctionError::TookTooLong), "{loops} {round}");
                assert_eq!(invoke(0).await.as_deref(), Ok("\"fine\""));
            }
            for large in [4, 5] {
                let error = invoke(large).await.unwrap_err();
                assert!(
                    matches!(error, FunctionError::Threw(_) | FunctionError::TookTooLong),
                    "{error}"
                );
                assert_eq!(invoke(0).await.as_deref(), Ok("\"fine\""));
            }
        }
    }

    #[tokio::test]
    async fn many_events_leave_nothing_behind() {
        // Each event builds half a megabyte of cycles; the limit is two.
        let source = "function handler() {
            const all = [];
            for (let i = 0; i < 2000; i++) { const one = { all: all, text: 'x'.repeat(20) + i }; all.push(one); }
            return all.length;
        }";
        let pool = FunctionPool::start(&[source], 2).unwrap();
        for _ in 0..100 {
            assert_eq!(run_in(&pool).await.unwrap(), json!(2000));
        }
    }
}
