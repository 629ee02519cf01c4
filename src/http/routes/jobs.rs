//! Jobs: reading them, waiting for their end, signalling them.

use std::{fmt, str::FromStr, time::Duration};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::job_location;
use crate::{
    domain::{
        job::{Job, JobKind, JobState, UnknownWord},
        names::Name,
    },
    http::{
        ApiState,
        auth::{Caller, Releaser, Viewer},
        page::{ByNumber, Page, PageParams, PageQuery},
        params::{Given, InPath, InQuery, JobPath, QueryParams},
        post::{Answer, Post},
        problem::Result,
        views::JobView,
        watch::{Wake, Watch},
    },
    service::{self, JobWithSteps, signals},
    store::jobs::Filter,
};

/// Longest `wait`, in seconds: proxies give up on what is silent for longer.
const WAIT_MAX_SECONDS: i64 = 60;

/// What a list of jobs is narrowed to.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct JobFilter {
    /// Only of this application.
    app: Option<Name>,
    /// Only of environments of this name.
    #[param(example = "production")]
    environment: Option<Name>,
    /// Only in this state.
    state: Option<JobState>,
    /// Only of this kind.
    kind: Option<JobKind>,
}

/// The query of a list of jobs.
pub struct ListJobs {
    filter: JobFilter,
    page: PageQuery<ByNumber>,
}

impl QueryParams for ListJobs {
    fn read(given: &mut Given) -> Self {
        let filter = JobFilter {
            app: given.name("app"),
            environment: given.name("environment"),
            state: given.word("state", &JobState::ALL),
            kind: given.word("kind", &JobKind::ALL),
        };
        Self {
            filter,
            page: PageQuery::read(given),
        }
    }
}

/// List jobs.
///
/// Newest first.
#[utoipa::path(get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(JobFilter, PageParams),
    responses((status = 200, description = "A page of jobs.", body = Page<JobView>)))]
pub async fn list_jobs(
    _: Caller<Viewer>,
    InQuery(ListJobs { filter, page }): InQuery<ListJobs>,
    State(state): State<ApiState>,
) -> Result<Json<Page<JobView>>> {
    let mut tx = state.store.snapshot().await?;
    let (app, environment) = (filter.app.as_ref(), filter.environment.as_ref());
    let filter = Filter {
        app,
        environment,
        state: filter.state,
        kind: filter.kind,
    };
    let before = page.after.map(|after| after.n);
    let found = service::list_jobs(&mut tx, &filter, before, page.limit.and_one()).await?;
    Ok(Page::new(
        found,
        page.limit,
        |found| ByNumber { n: found.job.seq },
        JobView::from,
    ))
}

/// How long to wait for a job's end.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Answer when the job has ended, or after so many seconds.
    #[param(minimum = 0, maximum = 60, default = 0)]
    wait: Option<u32>,
    /// Answer earlier, as soon as this has come true.
    #[param(inline)]
    until: Option<Until>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Everyone is on the release: `traffic_shifted_at` has a time.
    TrafficShifted,
    /// The last check has passed, and the new state is recorded: `settled_at` has a time.
    Settled,
    #[default]
    Ended,
}

impl Until {
    const ALL: [Until; 3] = [Until::TrafficShifted, Until::Settled, Until::Ended];

    fn as_str(self) -> &'static str {
        match self {
            Self::TrafficShifted => "traffic_shifted",
            Self::Settled => "settled",
            Self::Ended => "ended",
        }
    }

    /// True when there is nothing to wait for: it has come true, or never will.
    fn is_over(self, job: &Job) -> bool {
        job.state.is_end()
            || match self {
                // A job that turns round takes its visitors back.
                Self::TrafficShifted => job.traffic_shifted_at.is_some() && job.state != JobState::Unwinding,
                Self::Settled => job.settled_at.is_some(),
                Self::Ended => false,
            }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Until {
    type Err = UnknownWord;

    fn from_str(text: &str) -> std::result::Result<Self, UnknownWord> {
        let mut all = Self::ALL.into_iter();
        all.find(|until| until.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl QueryParams for WaitQuery {
    fn read(given: &mut Given) -> Self {
        Self {
            wait: given
                .number("wait", 0, WAIT_MAX_SECONDS)
                .and_then(|seconds| seconds.try_into().ok()),
            until: given.word("until", &Until::ALL),
        }
    }
}

/// Read a job.
///
/// What it does, what is left, why it waits; after a failure, what happened and what to do. With `wait`, the
/// answer comes when the job has ended (`succeeded`, `failed`, `aborted` or `stuck`), with `until` as soon as
/// that has come true, or when the time is over: look at `state`.
#[utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "get_job", tag = "jobs", params(JobPath, WaitQuery),
    responses((status = 200, description = "The job.", body = JobView)))]
pub async fn get_job(
    _: Caller<Viewer>,
    InPath(path): InPath<JobPath>,
    InQuery(query): InQuery<WaitQuery>,
    State(state): State<ApiState>,
) -> Result<Json<JobView>> {
    let mut watch = Watch::new(&state.hub, path.id, state.shutdown.clone());
    let deadline = Instant::now() + Duration::from_secs(query.wait.unwrap_or(0).into());
    let until = query.until.unwrap_or_default();
    let mut found = read(&state, path.id).await?;
    while !until.is_over(&found.job) && Instant::now() < deadline {
        let woken = watch.changed(Some(deadline)).await;
        // Also when the time is over: the answer is what the job is then.
        found = read(&state, path.id).await?;
        if woken == Wake::Stop {
            break;
        }
    }
    Ok(Json(found.into()))
}

/// Reads a job, and gives the connection back: nobody waits with one in hand.
async fn read(state: &ApiState, id: uuid::Uuid) -> Result<JobWithSteps> {
    let mut tx = state.store.snapshot().await?;
    Ok(service::job(&mut tx, id).await?)
}

/// A signal without settings.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signal {}

/// Abort a promotion.
///
/// What it did is taken back; a queued one ends at once. Safe to repeat. A rollback can't be aborted. The
/// body may be empty. Needs the role `releaser`.
#[utoipa::path(post, path = "/v1/jobs/{id}/abort", operation_id = "abort_job", tag = "jobs", params(JobPath),
    request_body(content = Signal, example = json!({})),
    responses((status = 202, description = "The job, which will end as `aborted`.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn abort_job(
    caller: Caller<Releaser>,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    post: Post<Signal>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, _| {
        accepted(signals::abort(tx, &caller.actor, path.id).await?)
    })
    .await
}

/// Retry a stuck or a failed job.
///
/// Takes up its unfinished work in a new round, with new operation tokens. A job that a later one has
/// followed can't be retried. The body may be empty. Needs the role `releaser`.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", params(JobPath),
    request_body(content = Signal, example = json!({})),
    responses((status = 202, description = "The job, in its new round.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn retry_job(
    caller: Caller<Releaser>,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    post: Post<Signal>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, _| {
        accepted(signals::retry(tx, &caller.actor, path.id).await?)
    })
    .await
}

pub(super) fn accepted(found: JobWithSteps) -> service::Result<Answer> {
    let location = job_location(found.job.id);
    Ok(Answer::new(StatusCode::ACCEPTED, &JobView::from(found))?.at(location))
}
