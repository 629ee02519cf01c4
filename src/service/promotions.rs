//! Starting a promotion.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Actor, Code, JobWithSteps, Result, ServiceError, blocks, check_reason, environments, job, locks, releases, takeover,
};
use crate::{
    domain::{
        deployment,
        environment::{AllAtOnce, EnvironmentDocument, Impossible, Strategy, router::Limits},
        error::FieldError,
        job::{BreakGlass, Inherited, Job, JobKind, JobRequest, OnDrift},
        names::{Name, Version},
        plan::{self, PlannedStep},
        release,
        role::Role,
    },
    store::{
        self,
        audit::{self, Subject},
        deployments,
        environments::Environment,
        events::{self, NewEvent},
        jobs::{self, NewJob},
        pointers,
        releases::Release,
        steps,
    },
};

/// What to do when another job holds the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// 409 `job_in_progress`.
    #[default]
    Reject,
    /// Wait for its end; preconditions are looked at then.
    Queue,
    /// Take the place of a promotion. A rollback is never superseded: 409.
    Supersede,
}

/// A promotion as it is asked for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromotionRequest {
    pub release: Version,
    /// Instead of the environment's own.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Refuse unless this release is active.
    #[serde(default)]
    pub expected_active: Option<Version>,
    #[serde(default)]
    pub on_conflict: OnConflict,
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Why; at most 1000 characters.
    #[serde(default)]
    #[schema(example = "weekly release")]
    pub reason: Option<String>,
    /// Pass locks and blocks: for admins, with a reason, and on the job for ever.
    #[serde(default)]
    pub break_glass: Option<Reason>,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// Why, for what can't be done without saying it; 1 to 1000 characters.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    #[schema(example = "incident 4711")]
    pub reason: String,
}

impl Reason {
    /// The reason without blanks around it.
    ///
    /// # Errors
    /// [`Code::ValidationFailed`] when it is empty or too long.
    pub fn check(&self, field: &str) -> Result<&str> {
        let reason = self.reason.trim();
        if reason.is_empty() || reason.chars().count() > 1000 {
            return Err(ServiceError::invalid(field, "1 to 1000 characters"));
        }
        Ok(reason)
    }
}

/// What became of the request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once a request, never kept")]
pub enum Promotion {
    Started(JobWithSteps),
    DryRun(DryRun),
}

/// The plan of a promotion that is not started.
#[derive(Debug)]
pub struct DryRun {
    pub release: Version,
    pub from_release: Option<Version>,
    pub strategy: Strategy,
    /// What the road of each component can do with a share.
    pub limits: Vec<(Name, Limits)>,
    pub steps: Vec<PlannedStep>,
}

/// Starts a promotion, or queues it, or says what it would do.
///
/// # Errors
/// [`Code::NotFound`], [`Code::ValidationFailed`], [`Code::ArtifactMissing`], [`Code::AlreadyActive`],
/// [`Code::ActiveChanged`], [`Code::JobInProgress`], [`Code::EnvironmentLocked`], [`Code::ReleaseBlocked`],
/// [`Code::StrategyImpossible`], [`Code::Forbidden`] (to break the glass).
pub async fn start(
    connection: &mut PgConnection,
    actor: &Actor,
    app: &Name,
    name: &Name,
    request: &PromotionRequest,
) -> Result<Promotion> {
    check_reason("reason", request.reason.as_deref())?;
    let break_glass = break_glass(actor, request)?;
    let environment = environments::lock(connection, app, name).await?;
    let release = releases::get(connection, app, &request.release).await?;
    if break_glass.is_none() {
        locks::check(connection, environment.id).await?;
        blocks::check(connection, app, &request.release).await?;
    }
    check_fit(&environment.document, &release)?;
    if let Some(strategy) = &request.strategy {
        let problems = environment.document.strategy_problems(strategy, "strategy");
        if !problems.is_empty() {
            return Err(ServiceError::fields(Code::ValidationFailed, problems));
        }
    }
    let holder = jobs::lock_holder(connection, environment.id).await?;
    let active = active(connection, &environment).await?;

    if request.dry_run {
        if holder.is_none() {
            check_active(&request.release, request.expected_active.as_ref(), active.as_ref())?;
        }
        let inherited = Inherited::default();
        let planned = Planned {
            environment: &environment,
            release: &request.release,
            from: active.as_ref(),
            strategy: request.strategy.as_ref(),
            on_drift: request.on_drift,
            inherited: &inherited,
        };
        let steps = plan(connection, &planned).await?;
        let strategy = planned.strategy().clone();
        let components = environment.document.components.iter();
        return Ok(Promotion::DryRun(DryRun {
            release: request.release.clone(),
            from_release: active,
            strategy,
            limits: components.map(|it| (it.name.clone(), it.limits())).collect(),
            steps,
        }));
    }
    let id = Uuid::now_v7();
    let mut inherited = Inherited::default();
    let mut queue = false;
    match (&holder, request.on_conflict) {
        (None, OnConflict::Queue) => {
            // Others may be waiting already: the queue is a queue.
            queue = jobs::any_unfinished(connection, environment.id).await?.is_some();
        }
        (None, _) => {}
        (Some(_), OnConflict::Queue) => queue = true,
        (Some(holder), OnConflict::Supersede) if holder.kind == JobKind::Promotion => {}
        (Some(holder), _) => return Err(in_the_way(holder)),
    }
    if holder.is_some() && !queue {
        // The place of a promotion is taken: what is active is not what decides, only what was expected.
        if let Some(expected) = &request.expected_active {
            check_expected(expected, active.as_ref())?;
        }
    } else if !queue {
        check_active(&request.release, request.expected_active.as_ref(), active.as_ref())?;
    }

    let stored_request = JobRequest {
        on_drift: request.on_drift,
        expected_active: request.expected_active.clone(),
        strategy: request.strategy.clone(),
        break_glass,
    };
    if queue
        && let Some(impossible) = environment
            .document
            .impossible(stored_request.strategy(&environment.document))
    {
        return Err(refuse_strategy(&impossible));
    }
    let new = NewJob {
        id,
        kind: JobKind::Promotion,
        environment_id: environment.id,
        app,
        environment: name,
        release: Some(&request.release),
        from_release: active.as_ref(),
        request: &stored_request,
        reason: request.reason.as_deref(),
        by: &actor.name,
    };
    jobs::insert(connection, &new).await?;
    let created = json!({"kind": "promotion", "release": request.release, "from_release": active,
                         "by": actor.name, "reason": request.reason, "break_glass": stored_request.break_glass});
    events::append(connection, id, &[NewEvent::new("job.created", created.clone())]).await?;
    if queue {
        jobs::wait_for_environment(connection, id).await?;
        events::append(
            connection,
            id,
            &[NewEvent::new("job.queued", json!({"behind": holder.map(|job| job.id)}))],
        )
        .await?;
        // Nobody may hold the environment any more, and nobody else would wake the queue.
        jobs::wake_next_queued(connection, environment.id).await?;
    } else {
        if let Some(holder) = &holder {
            inherited = takeover::supersede(connection, holder, id).await?;
        }
        let planned = Planned {
            environment: &environment,
            release: &request.release,
            from: active.as_ref(),
            strategy: stored_request.strategy.as_ref(),
            on_drift: request.on_drift,
            inherited: &inherited,
        };
        activate(connection, id, &planned).await?;
    }
    let subject = Subject {
        app: Some(app),
        environment: Some(name),
        job: Some(id),
    };
    audit::record(connection, &actor.name, "promotion.start", subject, &created).await?;
    Ok(Promotion::Started(job(connection, id).await?))
}

/// What a plan is made from.
pub(super) struct Planned<'a> {
    pub environment: &'a Environment,
    pub release: &'a Version,
    pub from: Option<&'a Version>,
    /// Instead of the environment's own.
    pub strategy: Option<&'a Strategy>,
    pub on_drift: OnDrift,
    pub inherited: &'a Inherited,
}

impl Planned<'_> {
    fn strategy(&self) -> &Strategy {
        self.strategy.unwrap_or(&self.environment.document.strategy)
    }
}

/// Makes the plan.
///
/// # Errors
/// [`Code::StrategyImpossible`].
async fn plan(connection: &mut PgConnection, planned: &Planned<'_>) -> Result<Vec<PlannedStep>> {
    let (document, strategy) = (&planned.environment.document, planned.strategy());
    if let Some(impossible) = document.impossible(strategy) {
        return Err(refuse_strategy(&impossible));
    }
    let known = pointers::of_environment(connection, planned.environment.id).await?;
    let is_taken = |name: &Name| {
        let mut those = known.iter().filter(|pointer| pointer.component == *name);
        those.clone().next().is_some() && those.all(|pointer| pointer.taken)
    };
    let untaken: BTreeSet<Name> = document
        .components
        .iter()
        .map(|component| component.name.clone())
        .filter(|name| !is_taken(name))
        .collect();
    let mut sharing = document.components.iter().filter(|c| strategy.takes_part(&c.name));
    if !strategy.shares().is_empty() && (planned.from.is_none() || sharing.all(|c| untaken.contains(&c.name))) {
        return Err(refuse_strategy(&Impossible {
            field: String::new(),
            reason: "no release of Greenlight's is active here yet, so there is nothing that the other visitors could \
                     stay on"
                .to_owned(),
            nearest: Strategy::AllAtOnce(AllAtOnce {
                bake_seconds: strategy.everyone().bake_seconds,
            }),
        }));
    }
    let history = deployments::history(connection, planned.environment.id).await?;
    let before = deployment::previous(&history).and_then(|before| before.release().cloned());
    Ok(plan::promotion(&plan::Promotion {
        environment: document,
        strategy,
        release: planned.release,
        from: planned.from,
        before: before.as_ref(),
        untaken: &untaken,
        on_drift: planned.on_drift,
        owed: &plan::owed(&[], &planned.inherited.hooks),
    }))
}

pub(super) fn refuse_strategy(impossible: &Impossible) -> ServiceError {
    let field = match impossible.field.as_str() {
        "" => "strategy".to_owned(),
        field => format!("strategy.{field}"),
    };
    let nearest = json!(impossible.nearest);
    let mut error = ServiceError::new(
        Code::StrategyImpossible,
        format!(
            "{field}: {}. The nearest that can be done is {nearest}.",
            impossible.reason
        ),
    )
    .with("nearest", nearest);
    error.fields.push(FieldError::new(field, impossible.reason.clone()));
    error
}

fn break_glass(actor: &Actor, request: &PromotionRequest) -> Result<Option<BreakGlass>> {
    let Some(asked) = &request.break_glass else {
        return Ok(None);
    };
    let reason = asked.check("break_glass.reason")?.to_owned();
    if actor.role < Role::Admin {
        let detail = format!(
            "Only an admin passes locks and blocks; token {:?} is a {}.",
            actor.name, actor.role
        );
        return Err(ServiceError::new(Code::Forbidden, detail).with("required_role", json!(Role::Admin)));
    }
    let by = actor.name.clone();
    Ok(Some(BreakGlass { by, reason }))
}

/// Gives a promotion its environment and its plan.
///
/// # Errors
/// [`Code::StrategyImpossible`].
pub(super) async fn activate(connection: &mut PgConnection, id: Uuid, planned: &Planned<'_>) -> Result<()> {
    let plan = plan(connection, planned).await?;
    let document = &planned.environment.document;
    jobs::activate(connection, id, planned.from, document, planned.inherited).await?;
    steps::insert(connection, id, 1, &plan).await?;
    let data = json!({"steps": plan.len(), "strategy": planned.strategy(), "from_release": planned.from,
                      "superseded": planned.inherited.jobs});
    events::append(connection, id, &[NewEvent::new("job.activated", data)]).await?;
    store::notify_work(connection).await?;
    Ok(())
}

/// The release that is recorded as active.
pub(super) async fn active(connection: &mut PgConnection, environment: &Environment) -> Result<Option<Version>> {
    let history = deployments::history(connection, environment.id).await?;
    Ok(deployment::active(&history).flatten().cloned())
}

/// # Errors
/// [`Code::ArtifactMissing`].
pub(super) fn check_fit(environment: &EnvironmentDocument, release: &Release) -> Result<()> {
    let problems = release::artifact_problems(environment, &release.version, &release.artifacts);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ServiceError::fields(Code::ArtifactMissing, problems))
    }
}

/// # Errors
/// [`Code::AlreadyActive`], [`Code::ActiveChanged`].
pub(super) fn check_active(release: &Version, expected: Option<&Version>, active: Option<&Version>) -> Result<()> {
    if let Some(expected) = expected {
        check_expected(expected, active)?;
    }
    if active == Some(release) {
        return Err(ServiceError::new(
            Code::AlreadyActive,
            format!("Release {release} is active already. There is nothing to promote."),
        ));
    }
    Ok(())
}

pub(super) fn check_expected(expected: &Version, active: Option<&Version>) -> Result<()> {
    if active == Some(expected) {
        return Ok(());
    }
    let is = active.map_or_else(|| "no release".to_owned(), |version| format!("release {version}"));
    Err(ServiceError::new(
        Code::ActiveChanged,
        format!("You expected release {expected} to be active, but {is} is. Look again before you decide."),
    )
    .with("active", json!(active)))
}

fn in_the_way(holder: &Job) -> ServiceError {
    let advice = match holder.kind {
        JobKind::Promotion => "Wait for it, or send on_conflict queue to wait in line, or supersede to take its place.",
        JobKind::Rollback => "It is a rollback, and nothing but another rollback takes its place. Wait for it.",
        JobKind::Invalidation => "Wait for it.",
    };
    ServiceError::job_in_progress(holder.id, advice)
}
