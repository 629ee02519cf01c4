//! Gates: people approve or reject before a promotion goes on.

use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Actor, Code, JobWithSteps, Result, ServiceError, check_reason, job, signals};
use crate::{
    domain::{
        environment::ApprovalPolicy,
        job::{Job, Step, StepState},
        plan::StepParams,
    },
    store::{
        approvals,
        events::{self, NewEvent},
        jobs, steps,
    },
};

/// A decision as it is sent.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionRequest {
    /// At most 1000 characters.
    #[schema(example = "conversion looks good")]
    pub comment: Option<String>,
    /// The position of the gate that is meant. Left out: the one that waits. With it nobody decides on the wrong one.
    pub step: Option<i32>,
}

/// Approves or rejects the gate that waits. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`], [`Code::NothingToApprove`], [`Code::OwnApproval`], [`Code::Forbidden`].
pub async fn decide(
    connection: &mut PgConnection,
    actor: &Actor,
    id: Uuid,
    approve: bool,
    request: &DecisionRequest,
) -> Result<JobWithSteps> {
    check_reason("comment", request.comment.as_deref())?;
    let found = signals::lock(connection, id).await?;
    let steps = steps::list(connection, id).await?;
    let (gate, policy) = waiting_gate(&found, &steps, request.step)?;
    if actor.role < policy.role {
        let detail = format!(
            "This gate needs the role {} or a greater one; token {:?} is a {}.",
            policy.role, actor.name, actor.role
        );
        return Err(ServiceError::new(Code::Forbidden, detail).with("required_role", json!(policy.role)));
    }
    // Who started it may still say no.
    if approve && actor.name == found.created_by {
        return Err(ServiceError::new(
            Code::OwnApproval,
            format!(
                "{} started this promotion: somebody else has to approve it.",
                actor.name
            ),
        ));
    }
    let who = (actor.name.as_str(), actor.role);
    let comment = request.comment.as_deref();
    if approvals::decide(connection, id, gate.position, who, approve, comment).await? {
        let (kind, action) = if approve {
            ("job.approved", "job.approve")
        } else {
            ("job.rejected", "job.reject")
        };
        let data = json!({"position": gate.position, "by": actor.name, "comment": comment});
        events::append(connection, id, &[NewEvent::new(kind, data.clone())]).await?;
        signals::record_with(connection, actor, action, &found, data).await?;
        jobs::wake_step(connection, id, gate.position).await?;
    }
    job(connection, id).await
}

fn waiting_gate<'s>(job: &Job, steps: &'s [Step], wanted: Option<i32>) -> Result<(&'s Step, &'s ApprovalPolicy)> {
    let refuse = |why: String| Err(ServiceError::new(Code::NothingToApprove, why));
    if job.state.is_end() {
        return refuse(format!("The job has ended ({}).", job.state));
    }
    let gates = steps
        .iter()
        .filter(|step| step.round == job.round)
        .filter_map(|step| match &step.params {
            StepParams::Approval { policy, .. } => Some((step, policy)),
            _ => None,
        });
    let open = |step: &Step| matches!(step.state, StepState::Running | StepState::Waiting);
    match (gates.into_iter().find(|(step, _)| open(step)), wanted) {
        (Some((gate, policy)), wanted) if wanted.is_none_or(|position| position == gate.position) => Ok((gate, policy)),
        (Some((gate, _)), Some(wanted)) => refuse(format!(
            "The gate that waits is step {}, not step {wanted}. Look again before you decide.",
            gate.position
        )),
        _ => refuse("No gate waits now. Look at the job's steps: an approval must be waiting.".to_owned()),
    }
}
