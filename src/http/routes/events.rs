//! What happened to a job: as pages of JSON, or as an event stream that can be resumed.
//!
//! ```text
//! subscribe ─▶ read what is new ─▶ send it ─▶ job ended and nothing left? ─▶ end
//!                   ▲                              │ no
//!                   └── hub, or a slow poll ◀──────┘        shutdown ─▶ end
//! ```

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, header::ACCEPT},
    response::{IntoResponse, Response, Sse, sse},
};
use futures::Stream;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    http::{
        ApiState,
        auth::{Caller, Viewer},
        page::{ByNumber, Limit, Page, PageQuery},
        params::{Given, InPath, InQuery, JobPath, QueryParams},
        problem::{Problem, Result},
        views::EventView,
        watch::{Wake, Watch},
    },
    service::{self, Code},
    store::events::Event,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events that a stream reads at once.
const BATCH: i64 = 200;
/// How often a silent stream says that it lives: proxies cut what says nothing for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the OpenAPI document, not by the handler")]
pub struct EventParams {
    /// Only events after the one with this id. Not together with `cursor`.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Items a page, at most. A stream has no pages.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What a stream is resumed by.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the OpenAPI document, not by the handler")]
pub struct StreamHeaders {
    /// Of a stream: the id of the last event that was received.
    #[param(rename = "Last-Event-ID", minimum = 0)]
    last_event_id: Option<i64>,
}

/// The query of a job's events.
pub struct EventQuery {
    after: i64,
    limit: Limit,
}

impl QueryParams for EventQuery {
    fn read(given: &mut Given) -> Self {
        let after = given.number("after", 0, i64::MAX);
        let page: PageQuery<ByNumber> = PageQuery::read(given);
        if after.is_some() && page.after.is_some() {
            given.refuse("after", "goes without cursor");
        }
        let after = after.or(page.after.map(|cursor| cursor.n)).unwrap_or(0);
        Self {
            after,
            limit: page.limit,
        }
    }
}

/// Read what happened to a job.
///
/// Oldest first. With `Accept: text/event-stream`, a stream of server-sent events: each has an `id`, its kind
/// as `event`, and the event's JSON as `data`. `Last-Event-ID` resumes after that id. The stream ends when the
/// job has ended and all was sent.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", operation_id = "list_job_events", tag = "jobs",
    params(JobPath, EventParams, StreamHeaders),
    responses((status = 200, description = "A page of events, or the stream.", content(
        (Page<EventView> = "application/json"),
        (String = "text/event-stream", example =
            "id: 7\nevent: job.settled\ndata: {\"id\":7,\"at\":\"…\",\"kind\":\"job.settled\",\"data\":{}}\n\n"),
    ))))]
pub async fn list_job_events(
    _: Caller<Viewer>,
    InPath(path): InPath<JobPath>,
    InQuery(query): InQuery<EventQuery>,
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response> {
    if wants_stream(&headers) {
        let after = last_event_id(&headers)?.unwrap_or(query.after);
        return open(state, path.id, after).await;
    }
    let mut tx = state.store.snapshot().await?;
    let (found, _) = service::events(&mut tx, path.id, query.after, query.limit.and_one()).await?;
    Ok(Page::new(found, query.limit, |event| ByNumber { n: event.id }, EventView::from).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let id = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|id| *id >= 0);
    let detail = "Last-Event-ID is the id of an event: a number.";
    id.map(Some).ok_or_else(|| Problem::new(Code::MalformedRequest, detail))
}

/// Opens a stream; what is wrong with the request is still a problem here.
async fn open(state: ApiState, job: Uuid, after: i64) -> Result<Response> {
    if state.shutdown.is_cancelled() {
        return Err(Problem::new(
            Code::ShuttingDown,
            "Ask again: another replica answers, or the next one will.",
        ));
    }
    let watch = Watch::new(&state.hub, job, state.shutdown.clone());
    let mut feed = Feed {
        state,
        job,
        after,
        watch,
        waiting: VecDeque::new(),
        ended: false,
    };
    feed.read().await?;
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    Ok(Sse::new(stream(feed)).keep_alive(keep_alive).into_response())
}

/// A job's events on their way to one reader.
struct Feed {
    state: ApiState,
    job: Uuid,
    after: i64,
    watch: Watch,
    waiting: VecDeque<Event>,
    /// The job had ended before the last read, which found nothing more than `waiting`.
    ended: bool,
}

impl Feed {
    async fn read(&mut self) -> Result<()> {
        let mut tx = self.state.store.snapshot().await?;
        let (found, ended) = service::events(&mut tx, self.job, self.after, BATCH).await?;
        self.ended = ended && i64::try_from(found.len()).is_ok_and(|found| found < BATCH);
        self.waiting.extend(found);
        Ok(())
    }

    /// The next event; `None` when there will be none.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.after = event.id;
                return Some(event);
            }
            if self.ended {
                return None;
            }
            // A full batch left more to read; else something has to happen first.
            match self.read().await {
                Ok(()) if !self.waiting.is_empty() || self.ended => continue,
                Ok(()) => {}
                Err(problem) if problem.0.code == Code::NotFound => return None,
                // The reader stays, and hears the rest when the database is back.
                Err(problem) => problem.log(),
            }
            if self.watch.changed(None).await == Wake::Stop {
                return None;
            }
        }
    }
}

fn stream(feed: Feed) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    futures::stream::unfold(feed, |mut feed| async {
        let event = feed.next().await?;
        Some((Ok(message(event)), feed))
    })
}

fn message(event: Event) -> sse::Event {
    let view = EventView::from(event);
    // JSON of our own making; without line breaks, as a field of a message has to be.
    let data = serde_json::to_string(&view).unwrap_or_default();
    sse::Event::default()
        .id(view.id.to_string())
        .event(view.kind)
        .data(data)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_its_media_type() {
        let wants =
            |value: &'static str| wants_stream(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]));
        assert!(wants("text/event-stream"));
        assert!(wants("application/json, Text/Event-Stream;q=0.5"));
        assert!(!wants("*/*"));
        assert!(!wants_stream(&HeaderMap::new()));
    }

    #[test]
    fn a_last_event_id_is_a_number() {
        let read = |value: &'static str| {
            last_event_id(&HeaderMap::from_iter([(
                LAST_EVENT_ID,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(read("7").ok(), Some(Some(7)));
        assert_eq!(last_event_id(&HeaderMap::new()).ok(), Some(None));
        for bad in ["", "x", "-1", "1.5", "9223372036854775808"] {
            assert!(
                read(bad).is_err_and(|problem| problem.0.code == Code::MalformedRequest),
                "{bad}"
            );
        }
    }
}
