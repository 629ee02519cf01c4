//! Lambda@Edge at origin-request: one environment that stays warm, with the pointer that its module keeps.
//!
//! Each point of presence has one, on a thread of its own. The module is Node.js code: it finds `process.env`, timers
//! that never ring (nothing here takes time) and, as `@aws-sdk/client-ssm`, a reader of parameters. After a failure the
//! environment is made anew, as Lambda does, and what it kept is gone.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use rquickjs::{Context, Ctx, Function, Object};
use tokio::sync::oneshot;

use super::{
    FunctionError, WARM_MEMORY_BYTES,
    engine::{Compiled, Engine, call, import},
    modules,
};

/// Reads a parameter: its value, `None` if there is none, or why it can't be read.
pub(in crate::sandbox::edge) type ParameterReader = Arc<dyn Fn(&str) -> Result<Option<String>, String> + Send + Sync>;

const FUNCTION: &str = "origin-request";
const SDK: &str = "@aws-sdk/client-ssm";
/// What of the SDK's module a function uses.
const SDK_SOURCE: &str = "
import { read } from 'greenlight:parameters';
export class GetParameterCommand {
  constructor(input) { this.input = input; }
}
export class SSMClient {
  async send(command) {
    const value = read(command.input.Name);
    if (value === null) {
      const error = new Error('Parameter ' + command.input.Name + ' not found.');
      error.name = 'ParameterNotFound';
      throw error;
    }
    return { Parameter: { Name: command.input.Name, Value: value } };
  }
}
";

struct Job {
    event: String,
    now_millis: i64,
    reply: oneshot::Sender<Result<String, FunctionError>>,
}

/// A warm environment. Its thread ends when it is dropped.
pub(in crate::sandbox::edge) struct WarmFunction {
    queue: Sender<Job>,
}

impl WarmFunction {
    /// Compiles the function and starts its thread.
    ///
    /// # Errors
    /// [`FunctionError::Unloadable`] when it is no JavaScript.
    pub(in crate::sandbox::edge) fn start(source: &str, reader: ParameterReader) -> Result<Self, FunctionError> {
        let modules = [Compiled::new(FUNCTION, source)?, Compiled::new(SDK, SDK_SOURCE)?];
        let (queue, jobs) = mpsc::channel();
        thread::Builder::new()
            .name("edge-origin-request".to_owned())
            .spawn(move || work(&modules, &jobs, &reader))
            .map_err(|error| FunctionError::Unloadable(error.to_string()))?;
        Ok(Self { queue })
    }

    /// Runs the function on an event; what it returned, as JSON.
    pub(in crate::sandbox::edge) async fn invoke(
        &self,
        event: String,
        now_millis: i64,
    ) -> Result<String, FunctionError> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            event,
            now_millis,
            reply,
        };
        self.queue.send(job).map_err(|_| FunctionError::Stopped)?;
        answer.await.unwrap_or(Err(FunctionError::Stopped))
    }
}

fn work(modules: &[Compiled], jobs: &Receiver<Job>, reader: &ParameterReader) {
    modules::read_parameters_with(Arc::clone(reader));
    let mut environment: Option<Environment> = None;
    for job in jobs {
        let ready = environment.take().map_or_else(|| Environment::new(modules), Ok);
        let answer = ready.and_then(|ready| {
            let answer = ready.handle(&job)?;
            environment = Some(ready);
            Ok(answer)
        });
        // Nobody waits any more when the viewer has gone.
        let _ = job.reply.send(answer);
    }
}

/// One realm and its engine. The realm goes first: it lives in the engine.
struct Environment {
    realm: Context,
    engine: Engine,
}

impl Environment {
    fn new(modules: &[Compiled]) -> Result<Self, FunctionError> {
        let engine = Engine::new(modules, WARM_MEMORY_BYTES)?;
        let realm = engine.realm()?;
        engine.limited(&realm, |ctx| Ok(furnish(ctx)?))?;
        Ok(Self { realm, engine })
    }

    fn handle(&self, job: &Job) -> Result<String, FunctionError> {
        modules::enter(None, job.now_millis);
        let answer = self.engine.limited(&self.realm, |ctx| {
            // Loaded the first time, the same module from then on.
            let exports = import(ctx, FUNCTION)?;
            let handler: Option<Function<'_>> = exports.get("handler")?;
            let handler = handler.ok_or(FunctionError::NoHandler)?;
            let event = ctx.json_parse(job.event.as_str())?;
            call(ctx, &handler, event)
        });
        self.engine.sweep();
        answer
    }
}

/// What Node.js has and the function may use.
fn furnish(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    modules::furnish(ctx)?;
    let environment = Object::new(ctx.clone())?;
    environment.set("AWS_REGION", "us-east-1")?;
    let process = Object::new(ctx.clone())?;
    process.set("env", environment)?;
    ctx.globals().set("process", process)?;
    ctx.globals().set("setTimeout", Function::new(ctx.clone(), || 0)?)?;
    ctx.globals().set("clearTimeout", Function::new(ctx.clone(), || ())?)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what it read for ten seconds, as the routing function does.
    const SOURCE: &str = "
        let kept = null;
        let readAt = 0;
        export async function handler(event) {
            if (event.fail) { throw new Error('asked to'); }
            if (event.loop) { for (;;) {} }
            if (kept === null || Date.now() - readAt >= 10000) {
                const sdk = await import('@aws-sdk/client-ssm');
                const client = new sdk.SSMClient({ region: process.env.AWS_REGION });
                const timer = setTimeout(() => { kept = 'too late'; }, 1);
                try {
                    const found = await client.send(new sdk.GetParameterCommand({ Name: '/release' }));
                    kept = found.Parameter.Value;
                } catch (error) {
                    kept = error.name;
                }
                clearTimeout(timer);
                readAt = Date.now();
            }
            return kept;
        }";

    fn reader(value: &Arc<Mutex<Result<Option<String>, String>>>) -> ParameterReader {
        let value = Arc::clone(value);
        Arc::new(move |name| {
            assert_eq!(name, "/release");
            value.lock().unwrap().clone()
        })
    }

    #[tokio::test]
    async fn what_the_module_keeps_it_keeps_until_it_fails() {
        let value = Arc::new(Mutex::new(Ok(Some("1".to_owned()))));
        let function = WarmFunction::start(SOURCE, reader(&value)).unwrap();
        let at = |millis| function.invoke("{}".to_owned(), millis);
        assert_eq!(at(0).await.as_deref(), Ok("\"1\""));
        *value.lock().unwrap() = Ok(Some("2".to_owned()));
        assert_eq!(at(9_999).await.as_deref(), Ok("\"1\""));
        assert_eq!(at(10_000).await.as_deref(), Ok("\"2\""));
        *value.lock().unwrap() = Ok(None);
        assert_eq!(at(11_000).await.as_deref(), Ok("\"2\""));
        for (event, now) in [(r#"{"fail":1}"#, 11_000), (r#"{"loop":1}"#, 12_000)] {
            function.invoke(event.to_owned(), now).await.unwrap_err();
            assert_eq!(at(now).await.as_deref(), Ok("\"ParameterNotFound\""));
        }
        *value.lock().unwrap() = Err("no permission".to_owned());
        assert_eq!(at(30_000).await.as_deref(), Ok("\"Error\""));
    }
}
