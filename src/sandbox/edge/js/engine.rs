//! One QuickJS runtime on one thread, with its limits: realms, modules, and how a call is seen through to its end.
//!
//! It must never be moved to another thread, and never outlive the bytecode that it runs.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use rquickjs::{
    CatchResultExt, CaughtError, Context, Ctx, Function, Module, Object, Runtime, Value,
    context::intrinsic,
    loader::{ImportAttributes, Loader, Resolver},
    module::{WriteOptions, WriteOptionsEndianness},
    promise::MaybePromise,
};
use rustix::time::{ClockId, clock_gettime};

use super::{CPU_LIMIT, FunctionError, modules};

/// What a realm has of the language. Without `Eval` there is neither `eval` nor `new Function`, as in CloudFront
/// Functions ("Restricted features"); bytecode needs neither.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

/// A module as QuickJS's own bytecode, by the name under which it is imported.
#[derive(Clone)]
pub(super) struct Compiled {
    name: String,
    bytecode: Arc<[u8]>,
}

impl Compiled {
    /// Compiles a module; it isn't run.
    ///
    /// # Errors
    /// When it is no JavaScript.
    pub(super) fn new(name: &str, source: &str) -> Result<Self, FunctionError> {
        let runtime = Runtime::new().map_err(unloadable)?;
        runtime.set_loader(AnyName, Declared);
        let context = Context::full(&runtime).map_err(unloadable)?;
        let bytecode = context.with(|ctx| {
            let written = Module::declare(ctx.clone(), name, source).and_then(|module| {
                module.write(WriteOptions {
                    endianness: WriteOptionsEndianness::Native,
                    strip_source: true,
                    ..WriteOptions::default()
                })
            });
            written
                .catch(&ctx)
                .map_err(|error| FunctionError::Unloadable(told(&error)))
        })?;
        Ok(Self {
            name: name.to_owned(),
            bytecode: bytecode.into(),
        })
    }
}

fn unloadable(error: rquickjs::Error) -> FunctionError {
    FunctionError::Unloadable(error.to_string())
}

/// A runtime and what may be imported in it.
pub(super) struct Engine {
    // Before `modules`: fields are dropped in order, and the runtime points into the bytecode.
    runtime: Runtime,
    /// Never read: it keeps the bytecode alive for as long as the runtime.
    _modules: Vec<Compiled>,
    watch: Rc<Watch>,
}

/// The processor time that is left to the call that runs.
#[derive(Default)]
struct Watch {
    until: Cell<Duration>,
    ran_out: Cell<bool>,
}

impl Engine {
    pub(super) fn new(modules: &[Compiled], memory_bytes: usize) -> Result<Self, FunctionError> {
        let runtime = Runtime::new().map_err(unloadable)?;
        runtime.set_memory_limit(memory_bytes);
        runtime.set_loader(AnyName, Provided(modules.to_vec()));
        let watch = Rc::new(Watch::default());
        let seen = Rc::clone(&watch);
        runtime.set_interrupt_handler(Some(Box::new(move || {
            let over = cpu_time() > seen.until.get();
            seen.ran_out.set(seen.ran_out.get() || over);
            over
        })));
        Ok(Self {
            runtime,
            _modules: modules.to_vec(),
            watch,
        })
    }

    /// A realm with nothing in it but the language.
    pub(super) fn realm(&self) -> Result<Context, FunctionError> {
        Context::custom::<Intrinsics>(&self.runtime).map_err(unloadable)
    }

    /// Does `work` in a realm under the time limit; an exception becomes an error.
    pub(super) fn limited<R>(
        &self,
        realm: &Context,
        work: impl FnOnce(&Ctx<'_>) -> Result<R, Failure>,
    ) -> Result<R, FunctionError> {
        self.watch.until.set(cpu_time() + CPU_LIMIT);
        self.watch.ran_out.set(false);
        let result = realm.with(|ctx| {
            work(&ctx).map_err(|failure| match failure {
                Failure::Js(error) => match Err::<(), _>(error).catch(&ctx) {
                    Err(caught) => FunctionError::Threw(told(&caught)),
                    Ok(()) => FunctionError::Threw("nothing".to_owned()),
                },
                Failure::Function(error) => error,
            })
        });
        if self.watch.ran_out.get() {
            return Err(FunctionError::TookTooLong);
        }
        result
    }

    /// Frees what an ended realm leaves behind: realms are full of cycles.
    pub(super) fn sweep(&self) {
        self.runtime.run_gc();
    }
}

/// What can go wrong while JavaScript is worked with.
pub(super) enum Failure {
    Js(rquickjs::Error),
    Function(FunctionError),
}

impl From<rquickjs::Error> for Failure {
    fn from(error: rquickjs::Error) -> Self {
        Self::Js(error)
    }
}

impl From<FunctionError> for Failure {
    fn from(error: FunctionError) -> Self {
        Self::Function(error)
    }
}

/// Loads a module by name and gives what it exports.
pub(super) fn import<'js>(ctx: &Ctx<'js>, name: &str) -> Result<Object<'js>, Failure> {
    let loaded: Result<Object<'js>, _> = Module::import(ctx, name).and_then(|promise| promise.finish());
    loaded
        .catch(ctx)
        .map_err(|error| FunctionError::Unloadable(told(&error)).into())
}

/// Calls a handler with an event and waits for its promise, if it gives one. The answer is JSON.
pub(super) fn call<'js>(ctx: &Ctx<'js>, handler: &Function<'js>, event: Value<'js>) -> Result<String, Failure> {
    let returned: MaybePromise<'js> = handler.call((event,))?;
    let value: Value<'js> = match returned.finish() {
        Err(rquickjs::Error::WouldBlock) => return Err(FunctionError::NeverSettled.into()),
        finished => finished?,
    };
    let json = ctx.json_stringify(value)?;
    match json {
        Some(json) => Ok(json.to_string()?),
        None => Err(FunctionError::Invalid("nothing".to_owned()).into()),
    }
}

/// An exception in one line.
fn told(caught: &CaughtError<'_>) -> String {
    match caught {
        CaughtError::Exception(exception) => {
            let message = exception.message().unwrap_or_default();
            match exception.stack().as_deref().and_then(|stack| stack.lines().next()) {
                Some(place) => format!("{message} ({})", place.trim()),
                None => message,
            }
        }
        CaughtError::Value(value) => match value.as_string().and_then(|text| text.to_string().ok()) {
            Some(text) => text,
            None => format!("a value of type {}", value.type_name()),
        },
        CaughtError::Error(error) => error.to_string(),
    }
}

/// The processor time of this thread: a function isn't late because the machine is busy.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Names are used as they are: there are no paths here.
struct AnyName;

impl Resolver for AnyName {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        _: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        Ok(name.to_owned())
    }
}

/// The modules of the runtime, and those that were compiled.
struct Provided(Vec<Compiled>);

impl Loader for Provided {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js>> {
        match self.0.iter().find(|compiled| compiled.name == name) {
            // SAFETY: the bytes were written by `Compiled::new`, in this process and by this engine, and `Engine` keeps
            // them until its runtime is gone.
            #[allow(unsafe_code)]
            Some(compiled) => unsafe { Module::load(ctx.clone(), &compiled.bytecode) },
            None => modules::declare(ctx, name),
        }
    }
}

/// Compiling looks for what is imported, but runs nothing.
struct Declared;

impl Loader for Declared {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js>> {
        modules::declare(ctx, name)
    }
}
