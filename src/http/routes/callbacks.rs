//! Where webhooks call back.

use axum::{extract::State, http::StatusCode};

use crate::{
    http::{
        ApiState,
        auth::CallbackToken,
        body::JsonBody,
        params::{InPath, JobPath},
        problem::Result,
    },
    service::callbacks::{self, CallbackRequest},
};

/// Answer as a webhook.
///
/// For a webhook that was called by a check or a hook and answered 202. `Authorization: Bearer` is the token that came
/// with the call (`callback.token`), no API token; it is good for this one answer. The same answer again changes
/// nothing.
#[utoipa::path(post, path = "/v1/jobs/{id}/callback", operation_id = "answer_callback", tag = "jobs", params(JobPath),
    request_body(content = CallbackRequest, example = json!({"verdict": "pass", "message": "142 of 142 tests passed"})),
    responses((status = 204, description = "Taken.")))]
pub async fn answer_callback(
    CallbackToken(token): CallbackToken,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    JsonBody(request): JsonBody<CallbackRequest>,
) -> Result<StatusCode> {
    let mut tx = state.store.begin().await?;
    callbacks::answer(&mut tx, path.id, &token, &request).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
