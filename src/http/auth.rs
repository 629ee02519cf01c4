//! Who calls, and whether they may: `Authorization: Bearer <token>`, and a role for each operation.
//!
//! [`Caller`] is the first argument of every handler under `/v1`, so that nobody learns anything about
//! a request's other mistakes without a token.

use std::marker::PhantomData;

use axum::{
    extract::FromRequestParts,
    http::{header::AUTHORIZATION, request::Parts},
};
use serde_json::json;

use super::{
    ApiState,
    problem::{Problem, Result},
};
use crate::{
    domain::role::Role,
    service::{Actor, Code, ServiceError, tokens},
};

/// The role an operation needs.
pub trait Needs: Send + Sync {
    const ROLE: Role;
}

/// Reads: every token may.
pub struct Viewer;
/// Registers releases.
pub struct Deployer;
/// Promotes, rolls back, signals jobs.
pub struct Releaser;
/// Changes applications and environments.
pub struct Admin;

impl Needs for Viewer {
    const ROLE: Role = Role::Viewer;
}
impl Needs for Deployer {
    const ROLE: Role = Role::Deployer;
}
impl Needs for Releaser {
    const ROLE: Role = Role::Releaser;
}
impl Needs for Admin {
    const ROLE: Role = Role::Admin;
}

/// An authenticated caller whose role suffices.
pub struct Caller<R> {
    pub actor: Actor,
    role: PhantomData<R>,
}

impl<R: Needs> FromRequestParts<ApiState> for Caller<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self> {
        let token = bearer(parts)
            .ok_or_else(|| Problem::new(Code::Unauthenticated, "Send a token as Authorization: Bearer <token>."))?;
        let mut connection = state.store.pool().acquire().await?;
        let actor = tokens::authenticate(&mut connection, token).await?;
        if actor.role < R::ROLE {
            return Err(forbidden(&actor, R::ROLE).into());
        }
        Ok(Self {
            actor,
            role: PhantomData,
        })
    }
}

/// The token of a webhook that calls back: no API token, and good for one answer.
pub struct CallbackToken(pub String);

impl<S: Send + Sync> FromRequestParts<S> for CallbackToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let missing = "Send the token that came with the call as Authorization: Bearer <token>.";
        let token = bearer(parts).ok_or_else(|| Problem::new(Code::Unauthenticated, missing))?;
        Ok(Self(token.to_owned()))
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn forbidden(actor: &Actor, needed: Role) -> ServiceError {
    let detail = format!(
        "This needs the role {needed} or a greater one; token {:?} is a {}.",
        actor.name, actor.role
    );
    ServiceError::new(Code::Forbidden, detail).with("required_role", json!(needed))
}
