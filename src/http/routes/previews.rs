//! Signed previews.

use axum::{extract::State, http::StatusCode, response::Response};

use crate::{
    http::{
        ApiState,
        auth::{Caller, Deployer},
        params::{EnvironmentPath, InPath},
        post::{Answer, Post},
        problem::Result,
        views::PreviewView,
    },
    service::previews::{self, PreviewRequest},
};

/// Preview a release in production.
///
/// A signed link, and the cookie it sets: they show one browser the release, at the real addresses, before it has
/// traffic. Nothing is changed for anybody else. The secret that signs lies beside the pointer in AWS and is made at
/// the first preview; the edge may need as long as the pointer takes to reach it before it knows that one. Needs the
/// role `deployer`.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{env}/previews", operation_id = "create_preview",
    tag = "releases", params(EnvironmentPath),
    request_body(content = PreviewRequest, example = json!({"release": "1.43.0", "expires_in_seconds": 3600})),
    responses((status = 201, description = "Signed.", body = PreviewView)))]
pub async fn create_preview(
    caller: Caller<Deployer>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
    post: Post<PreviewRequest>,
) -> Result<Response> {
    if let Some(kept) = post.kept(&state, &caller.actor).await? {
        return Ok(kept);
    }
    // AWS is asked between two transactions, for none may span it.
    let mut tx = state.store.snapshot().await?;
    let environment = previews::prepare(&mut tx, &path.app, &path.env, &post.body).await?;
    tx.commit().await?;
    let secrets = previews::secrets(state.secrets.as_ref(), &environment).await?;
    let names = (&path.app, &path.env);
    post.run(&state, &caller.actor, async |tx, request| {
        let signed = previews::sign(tx, &caller.actor, names, &environment, &secrets, request).await?;
        Answer::new(StatusCode::CREATED, &PreviewView::from(signed))
    })
    .await
}
