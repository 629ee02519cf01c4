//! Environments and their history.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::{
        environment::{ApprovalPolicy, AwsAccount, Check, Component, Hook, Retention, Strategy},
        names::{Name, Version},
    },
    service::{environments::Status, locks::Lock},
    store::{deployments::DeploymentRow, pointers::Pointer},
};

/// An environment: its document, and what is true of it now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Environment)]
pub struct EnvironmentView {
    pub app: Name,
    #[schema(example = "production")]
    pub name: Name,
    pub aws: AwsAccount,
    /// In the order in which they flip.
    pub components: Vec<Component>,
    pub strategy: Strategy,
    pub checks: Vec<Check>,
    pub hooks: Vec<Hook>,
    pub approvals: ApprovalPolicy,
    pub retention: Retention,
    /// The release that serves everyone; null before the first promotion, and after a rollback to before it.
    pub active: Option<Version>,
    /// Where a rollback would go now; null when there is nowhere to go, or to what was there before the first
    /// promotion: `rollback_ready` tells which.
    pub previous: Option<Version>,
    /// The release that is being promoted.
    pub candidate: Option<Version>,
    /// The job that holds the environment.
    pub current_job: Option<Uuid>,
    /// What stands in the way of promotions: the environment's own lock, else the one on everything.
    pub lock: Option<Lock>,
    /// Pointers that say something else than they should, and no job of ours said so; null when there are none.
    pub drift: Option<Vec<DriftView>>,
    /// True when a rollback has somewhere to go.
    pub rollback_ready: bool,
    /// Every pointer of every component.
    pub pointers: Vec<PointerView>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A pointer that drifted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drift)]
pub struct DriftView {
    #[schema(example = "ssm:default:us-east-1:/storefront/production/release")]
    pub pointer: String,
    /// What was seen there.
    pub seen: Value,
}

/// One pointer, and what it must say.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pointer)]
pub struct PointerView {
    #[schema(example = "web")]
    pub component: Name,
    /// The region, or `kvs`.
    #[schema(example = "us-east-1")]
    pub target: String,
    /// Its identity, unique over all environments.
    #[schema(example = "ssm:default:us-east-1:/storefront/production/release")]
    pub pointer: String,
    /// False until a promotion through it has settled: the next one takes over whatever it says.
    pub taken: bool,
    /// The release it names.
    #[schema(example = "1.43.0")]
    pub release: Option<String>,
    /// What it said when the last job ended.
    pub value: Option<String>,
    /// The version AWS gave that value.
    pub version: Option<i64>,
}

impl From<Pointer> for PointerView {
    fn from(pointer: Pointer) -> Self {
        Self {
            component: pointer.component,
            target: pointer.target,
            pointer: pointer.key,
            taken: pointer.taken,
            release: pointer.release,
            value: pointer.value,
            version: pointer.version,
        }
    }
}

impl From<Status> for EnvironmentView {
    fn from(status: Status) -> Self {
        let seen = |pointer: &Pointer| {
            let seen = pointer.drift.clone()?;
            Some(DriftView {
                pointer: pointer.key.clone(),
                seen,
            })
        };
        let drift: Vec<DriftView> = status.pointers.iter().filter_map(seen).collect();
        let environment = status.environment;
        Self {
            app: environment.app,
            name: environment.name,
            aws: environment.document.aws,
            components: environment.document.components,
            strategy: environment.document.strategy,
            checks: environment.document.checks,
            hooks: environment.document.hooks,
            approvals: environment.document.approvals,
            retention: environment.document.retention,
            active: status.active,
            rollback_ready: status.target.is_some(),
            previous: status.target.flatten(),
            candidate: status.candidate,
            current_job: status.current_job,
            lock: status.lock,
            drift: (!drift.is_empty()).then_some(drift),
            pointers: status.pointers.into_iter().map(PointerView::from).collect(),
            created_at: environment.created_at,
            updated_at: environment.updated_at,
        }
    }
}

/// What was active, from when to when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deployment)]
pub struct DeploymentView {
    pub id: i64,
    /// Null: deployment 0, what was there before the first promotion.
    #[schema(example = "1.43.0")]
    pub release: Option<String>,
    /// `taken_over`, `promotion` or `rollback`.
    #[schema(example = "promotion")]
    pub kind: String,
    pub job_id: Option<Uuid>,
    /// Null: before anybody counted.
    pub started_at: Option<DateTime<Utc>>,
    /// Null: it is active.
    pub ended_at: Option<DateTime<Utc>>,
    /// When its release was rolled back from.
    pub rolled_back_at: Option<DateTime<Utc>>,
    #[schema(example = "ci")]
    pub created_by: String,
}

impl From<DeploymentRow> for DeploymentView {
    fn from(row: DeploymentRow) -> Self {
        Self {
            id: row.id,
            release: row.release,
            kind: row.kind,
            job_id: row.job_id,
            started_at: row.started_at,
            ended_at: row.ended_at,
            rolled_back_at: row.rolled_back_at,
            created_by: row.created_by,
        }
    }
}
