//! What a function finds in its realm beside the language: the modules `cloudfront` and `crypto`, `console`, and a clock.
//!
//! From the Developer Guide: *Helper methods for key value stores*, *JavaScript runtime 2.0 features*. Only what the
//! routing function may use is here; what isn't, throws. It must never give a function anything of the machine that it
//! runs on.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose};
use hmac::{Hmac, KeyInit, Mac};
use rquickjs::{
    Coerced, Ctx, Exception, Function, Module, Object, Promise, Result, Value,
    function::{Opt, Rest, This},
    module::{Declarations, Exports, ModuleDef},
};
use sha2::{Digest, Sha256};

use super::ParameterReader;
use crate::sandbox::edge::KeyValues;

thread_local! {
    /// The key-value store of the event that is being handled; an engine's thread handles one at a time.
    static STORE: RefCell<Option<Arc<KeyValues>>> = const { RefCell::new(None) };
    /// What time it is for the function, in milliseconds since 1970.
    static NOW: Cell<f64> = const { Cell::new(0.0) };
    /// Where a Lambda@Edge function's parameters come from.
    static PARAMETERS: RefCell<Option<ParameterReader>> = const { RefCell::new(None) };
}

/// Sets what the functions of this thread see until it is set again. `None`: there is no store that could be read.
pub(super) fn enter(store: Option<Arc<KeyValues>>, now_millis: i64) {
    STORE.with_borrow_mut(|current| *current = store);
    #[allow(
        clippy::cast_precision_loss,
        reason = "JavaScript's time is a double, exact for 285,000 years"
    )]
    NOW.set(now_millis as f64);
}

/// Sets where the functions of this thread read parameters.
pub(super) fn read_parameters_with(reader: ParameterReader) {
    PARAMETERS.with_borrow_mut(|current| *current = Some(reader));
}

/// The module of that name.
pub(super) fn declare<'js>(ctx: &Ctx<'js>, name: &str) -> Result<Module<'js>> {
    match name {
        "cloudfront" => Module::declare_def::<CloudFront, _>(ctx.clone(), name),
        "crypto" => Module::declare_def::<Crypto, _>(ctx.clone(), name),
        "greenlight:parameters" => Module::declare_def::<Parameters, _>(ctx.clone(), name),
        _ => Err(Exception::throw_reference(
            ctx,
            &format!("there is no module {name} at the edge"),
        )),
    }
}

/// Puts `console` into a realm, and stops its clock: "the same value during the lifetime of a single function run".
pub(super) fn furnish(ctx: &Ctx<'_>) -> Result<()> {
    let console = Object::new(ctx.clone())?;
    for level in ["log", "info", "warn", "error", "debug"] {
        console.set(level, Function::new(ctx.clone(), log)?)?;
    }
    ctx.globals().set("console", console)?;
    let date: Object<'_> = ctx.globals().get("Date")?;
    date.set("now", Function::new(ctx.clone(), || NOW.get())?)
}

fn log(words: Rest<Coerced<String>>) {
    let words: Vec<&str> = words.0.iter().map(|word| word.0.as_str()).collect();
    tracing::debug!(target: "greenlight::edge_function", "{}", words.join(" "));
}

/// `import cf from 'cloudfront'`: `cf.kvs()` with `get`, `exists` and `count`.
struct CloudFront;

impl ModuleDef for CloudFront {
    fn declare(declarations: &Declarations<'_>) -> Result<()> {
        declarations.declare("default").map(|_| ())
    }

    fn evaluate<'js>(ctx: &Ctx<'js>, exports: &Exports<'js>) -> Result<()> {
        let cf = Object::new(ctx.clone())?;
        cf.set("kvs", Function::new(ctx.clone(), store)?)?;
        exports.export("default", cf).map(|_| ())
    }
}

fn store<'js>(ctx: Ctx<'js>) -> Result<Object<'js>> {
    let store = Object::new(ctx.clone())?;
    store.set("get", Function::new(ctx.clone(), get)?)?;
    store.set("exists", Function::new(ctx.clone(), exists)?)?;
    store.set("count", Function::new(ctx, count)?)?;
    Ok(store)
}

fn get<'js>(ctx: Ctx<'js>, key: String, options: Opt<Object<'js>>) -> Result<Promise<'js>> {
    let format: Option<String> = match &options.0 {
        Some(options) => options.get("format")?,
        None => None,
    };
    let found = STORE.with_borrow(|store| store.as_ref().map(|store| store.get(&key).cloned()));
    settled(
        &ctx,
        match found {
            None => Err("the key value store can't be read".to_owned()),
            Some(None) => Err(format!("KeyNotFound: {key}")),
            Some(Some(text)) => match format.as_deref() {
                None | Some("string") => Ok(rquickjs::String::from_str(ctx.clone(), &text)?.into_value()),
                Some("json") => Ok(ctx.json_parse(text)?),
                Some(other) => Err(format!("the local edge has no format {other}: use string or json")),
            },
        },
    )
}

fn exists<'js>(ctx: Ctx<'js>, key: String) -> Result<Promise<'js>> {
    let found = STORE.with_borrow(|store| store.as_ref().map(|store| store.contains_key(&key)));
    let found = found.map(|found| Value::new_bool(ctx.clone(), found));
    settled(
        &ctx,
        found.ok_or_else(|| "the key value store can't be read".to_owned()),
    )
}

fn count<'js>(ctx: Ctx<'js>) -> Result<Promise<'js>> {
    let count = STORE.with_borrow(|store| store.as_ref().map(|store| store.len()));
    let count = count.map(|count| Value::new_int(ctx.clone(), i32::try_from(count).unwrap_or(i32::MAX)));
    settled(
        &ctx,
        count.ok_or_else(|| "the key value store can't be read".to_owned()),
    )
}

/// A promise that is settled already.
pub(super) fn settled<'js>(ctx: &Ctx<'js>, outcome: std::result::Result<Value<'js>, String>) -> Result<Promise<'js>> {
    let (promise, resolve, reject) = ctx.promise()?;
    match outcome {
        Ok(value) => resolve.call::<_, ()>((value,))?,
        Err(message) => reject.call::<_, ()>((Exception::from_message(ctx.clone(), &message)?,))?,
    }
    Ok(promise)
}

/// `import crypto from 'crypto'`: `createHash` and `createHmac` with `sha256`.
struct Crypto;

impl ModuleDef for Crypto {
    fn declare(declarations: &Declarations<'_>) -> Result<()> {
        for name in ["default", "createHash", "createHmac"] {
            declarations.declare(name)?;
        }
        Ok(())
    }

    fn evaluate<'js>(ctx: &Ctx<'js>, exports: &Exports<'js>) -> Result<()> {
        let crypto = Object::new(ctx.clone())?;
        for (name, function) in [
            ("createHash", Function::new(ctx.clone(), create_hash)?),
            ("createHmac", Function::new(ctx.clone(), create_hmac)?),
        ] {
            crypto.set(name, function.clone())?;
            exports.export(name, function)?;
        }
        exports.export("default", crypto).map(|_| ())
    }
}

fn only_sha256(ctx: &Ctx<'_>, algorithm: &str) -> Result<()> {
    match algorithm {
        "sha256" => Ok(()),
        _ => Err(Exception::throw_type(
            ctx,
            &format!("the local edge has no {algorithm}: use sha256"),
        )),
    }
}

fn create_hash<'js>(ctx: Ctx<'js>, algorithm: String) -> Result<Object<'js>> {
    only_sha256(&ctx, &algorithm)?;
    digester(
        &ctx,
        Sha256::new(),
        |hash, text| Digest::update(hash, text),
        |hash| hash.finalize().to_vec(),
    )
}

fn create_hmac<'js>(ctx: Ctx<'js>, algorithm: String, key: String) -> Result<Object<'js>> {
    only_sha256(&ctx, &algorithm)?;
    let hmac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("an HMAC takes a key of any length");
    digester(&ctx, hmac, Mac::update, |hmac| hmac.finalize().into_bytes().to_vec())
}

/// The object with `update` and `digest`. After `digest` it is used up, as in Node.js.
fn digester<'js, S: 'static>(
    ctx: &Ctx<'js>,
    state: S,
    update: fn(&mut S, &[u8]),
    finish: fn(S) -> Vec<u8>,
) -> Result<Object<'js>> {
    let state = Rc::new(RefCell::new(Some(state)));
    let updated = Rc::clone(&state);
    let object = Object::new(ctx.clone())?;
    object.set(
        "update",
        Function::new(
            ctx.clone(),
            move |ctx: Ctx<'js>, this: This<Object<'js>>, text: String| {
                match updated.borrow_mut().as_mut() {
                    Some(state) => update(state, text.as_bytes()),
                    None => return Err(Exception::throw_message(&ctx, "digest was called already")),
                }
                Ok(this.0)
            },
        )?,
    )?;
    object.set(
        "digest",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, encoding: String| {
            let Some(state) = state.borrow_mut().take() else {
                return Err(Exception::throw_message(&ctx, "digest was called already"));
            };
            let bytes = finish(state);
            match encoding.as_str() {
                "hex" => Ok(hex::encode(bytes)),
                "base64" => Ok(general_purpose::STANDARD.encode(bytes)),
                "base64url" => Ok(general_purpose::URL_SAFE_NO_PAD.encode(bytes)),
                other => Err(Exception::throw_type(
                    &ctx,
                    &format!("the local edge has no encoding {other}"),
                )),
            }
        })?,
    )?;
    Ok(object)
}

/// What the stand-in for the AWS SDK reads with: `read(name)` gives a value or null, or throws.
struct Parameters;

impl ModuleDef for Parameters {
    fn declare(declarations: &Declarations<'_>) -> Result<()> {
        declarations.declare("read").map(|_| ())
    }

    fn evaluate<'js>(ctx: &Ctx<'js>, exports: &Exports<'js>) -> Result<()> {
        exports
            .export("read", Function::new(ctx.clone(), read_parameter)?)
            .map(|_| ())
    }
}

fn read_parameter<'js>(ctx: Ctx<'js>, name: String) -> Result<Value<'js>> {
    let reader = PARAMETERS.with_borrow(Clone::clone);
    match reader.map_or_else(|| Err("no parameters here".to_owned()), |read| read(&name)) {
        Ok(Some(value)) => rquickjs::String::from_str(ctx, &value).map(rquickjs::String::into_value),
        Ok(None) => Ok(Value::new_null(ctx)),
        Err(message) => Err(Exception::throw_message(&ctx, &message)),
    }
}
