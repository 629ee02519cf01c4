//! The routing function's most telling cases, as data, in the engine of the local edge.
//!
//! They say the same as the tests that run under Node.js (`edge/test`): here it is shown that QuickJS agrees.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use greenlight::{
    domain::environment::Fallback,
    sandbox::edge::{Object, Origin, OriginError},
};
use serde::Deserialize;
use serde_json::Value;

use super::stage::{KEY, Stage, object};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    pointer: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    config: Config,
    /// Fields of the pointer that are different.
    #[serde(default)]
    pointer: BTreeMap<String, Value>,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The path that the origin is asked for.
    origin: Option<String>,
    release: Option<String>,
    /// `name=value` of every cookie that is set.
    cookies: Option<Vec<String>>,
    cache_control: Option<String>,
    status: Option<u16>,
    location: Option<String>,
}

#[derive(Default, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    prefix: Option<String>,
    fallback: Option<String>,
}

/// Has everything, and says under which path it was asked.
struct Everything;

#[async_trait]
impl Origin for Everything {
    async fn fetch(&self, path: &str) -> Result<Option<Object>, OriginError> {
        Ok(Some(Object {
            cache_control: Some("max-age=31536000".to_owned()),
            ..object(path)
        }))
    }
}

#[tokio::test]
async fn the_engine_of_the_local_edge_decides_as_node_does() {
    let all: Cases = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(all.cases.len() >= 25);
    let mut stages: BTreeMap<Config, Stage> = BTreeMap::new();
    for case in &all.cases {
        if !stages.contains_key(&case.config) {
            stages.insert(case.config.clone(), stage(&case.config).await);
        }
        check(&stages[&case.config], &all.pointer, case).await;
    }
}

async fn stage(config: &Config) -> Stage {
    Stage::with(|options| {
        options.origin = Arc::new(Everything);
        options.pointer_ttl = std::time::Duration::ZERO;
        options.points_of_presence = 1;
        if let Some(prefix) = &config.prefix {
            options.config.prefix.clone_from(prefix);
        }
        options.config.fallback = match config.fallback.as_deref() {
            Some("none") => Fallback::None,
            Some("index") => Fallback::Index,
            _ => Fallback::Spa,
        };
    })
    .await
}

async fn check(stage: &Stage, pointer: &Value, case: &Case) {
    let mut pointer = pointer.clone();
    for (name, value) in &case.pointer {
        pointer[name.as_str()] = value.clone();
    }
    stage.write(KEY, &pointer.to_string());
    let headers: Vec<(&str, &str)> = case
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let answer = stage.get(&case.path, &headers).await;
    let name = &case.name;
    assert_eq!(answer.status, case.status.unwrap_or(200), "{name}: {answer:?}");
    if let Some(origin) = &case.origin {
        assert_eq!(&answer.text(), origin, "{name}");
    }
    if case.release.is_some() || answer.status != 200 {
        assert_eq!(answer.release(), case.release.as_deref(), "{name}");
    }
    if let Some(cookies) = &case.cookies {
        let set: Vec<&str> = answer
            .cookies()
            .iter()
            .map(|line| line.split(';').next().unwrap())
            .collect();
        assert_eq!(&set, cookies, "{name}");
    }
    if let Some(cache_control) = &case.cache_control {
        assert_eq!(answer.header("cache-control"), Some(cache_control.as_str()), "{name}");
    }
    assert_eq!(answer.header("location"), case.location.as_deref(), "{name}");
}
