//! The OpenAPI document: what the router says of itself, and what is the same for many operations.
//!
//! Every refusal an operation can answer with is here, so that the document can't forget one: those that
//! follow from an operation's shape are added by [`shape`], the use-cases' own are in [`REFUSALS`]. What the
//! schemas need besides their derives is in [`schemas`].

mod schemas;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use utoipa::openapi::{
    Components, Content, Header, Info, License, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response, Type,
    example::{Example, ExampleBuilder},
    header::HeaderBuilder,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};

use super::problem::{self, PROBLEM_JSON};
use crate::service::Code;

/// What each operation can refuse besides what [`shape`] says. A new operation gets a line, even an empty one.
const REFUSALS: &[(&str, &[Code])] = &[
    ("put_app", &[]),
    ("get_app", &[Code::NotFound]),
    ("delete_app", &[Code::NotFound, Code::AppNotEmpty]),
    ("list_apps", &[]),
    (
        "put_environment",
        &[
            Code::NotFound,
            Code::PointerInUse,
            Code::StrategyImpossible,
            Code::JobInProgress,
            Code::VersionConflict,
        ],
    ),
    ("get_environment", &[Code::NotFound]),
    ("delete_environment", &[Code::NotFound, Code::JobInProgress]),
    ("list_environments", &[Code::NotFound]),
    ("list_deployments", &[Code::NotFound]),
    ("register_release", &[Code::NotFound, Code::VersionConflict]),
    ("get_release", &[Code::NotFound]),
    ("list_releases", &[Code::NotFound]),
    (
        "start_promotion",
        &[
            Code::NotFound,
            Code::ArtifactMissing,
            Code::AlreadyActive,
            Code::ActiveChanged,
            Code::JobInProgress,
            Code::EnvironmentLocked,
            Code::ReleaseBlocked,
            Code::StrategyImpossible,
        ],
    ),
    (
        "start_rollback",
        &[
            Code::NotFound,
            Code::NotARollbackTarget,
            Code::NothingToRollBackTo,
            Code::AlreadyActive,
            Code::ActiveChanged,
        ],
    ),
    ("list_jobs", &[]),
    (
        "create_preview",
        &[
            Code::NotFound,
            Code::ArtifactMissing,
            Code::PreviewUnsupported,
            Code::PreviewKeyUnavailable,
            Code::AwsUnavailable,
        ],
    ),
    ("get_job", &[Code::NotFound]),
    ("list_job_events", &[Code::NotFound, Code::ShuttingDown]),
    ("abort_job", &[Code::NotFound, Code::NotAbortable]),
    (
        "retry_job",
        &[
            Code::NotFound,
            Code::NotRetryable,
            Code::JobSuperseded,
            Code::JobInProgress,
            Code::ActiveChanged,
            Code::EnvironmentLocked,
            Code::ReleaseBlocked,
        ],
    ),
    ("approve_job", GATE),
    ("reject_job", GATE),
    ("pause_job", &[Code::NotFound, Code::NotPausable]),
    ("resume_job", &[Code::NotFound, Code::NotPausable]),
    ("promote_job_fully", &[Code::NotFound, Code::NotPromotable]),
    ("answer_callback", &[Code::CallbackLate]),
    ("lock_environment", &[Code::NotFound]),
    ("unlock_environment", &[Code::NotFound]),
    ("lock_everything", &[]),
    ("unlock_everything", &[]),
    ("get_lock", &[Code::NotFound]),
    ("block_release", &[Code::NotFound]),
    ("unblock_release", &[Code::NotFound]),
    ("start_invalidation", &[Code::NotFound, Code::NothingToInvalidate]),
];

/// What a decision at a gate can be refused with.
const GATE: &[Code] = &[Code::NotFound, Code::NothingToApprove, Code::OwnApproval];

/// The POST that takes no `Idempotency-Key`: its token is no API token, and the same answer again changes nothing.
const CALLBACK: &str = "answer_callback";

const BEARER: &str = "bearer";
const INTRODUCTION: &str = "\
Releases, promotions and rollbacks for blue/green deployments on AWS.

Register a release, promote it, and follow the job. If anything looks wrong, one rollback puts everyone back.

- Send `Authorization: Bearer <token>`. Roles: `viewer` reads, `deployer` also registers releases, `releaser` \
also promotes, rolls back, signals jobs, locks, blocks and purges, `admin` may do everything.
- Every POST but a webhook's callback takes an `Idempotency-Key`: the same request again gets the same answer for 24 \
hours.
- Lists are pages: send `next_cursor` as `cursor` until it is null.
- A refusal is a problem (RFC 9457) with a stable `code`. Unknown fields and parameters are refused.";

/// What the document says before any operation.
pub fn info() -> OpenApi {
    let mut info = Info::new("Greenlight", env!("CARGO_PKG_VERSION"));
    info.description = Some(INTRODUCTION.to_owned());
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    info.license = Some(license);
    let mut document = OpenApi::new(info, utoipa::openapi::Paths::new());
    let tags = [
        ("applications", "What is released."),
        ("environments", "Where releases go, and what was active there."),
        ("releases", "Immutable versions of an application."),
        ("promotions and rollbacks", "Moving traffic."),
        ("locks and blocks", "Stopping promotions. Rollbacks always pass."),
        ("jobs", "Following promotions and rollbacks, and signalling them."),
        ("health", "For load balancers. No token."),
    ];
    let tag = |(name, description)| TagBuilder::new().name(name).description(Some(description)).build();
    document.tags = Some(tags.map(tag).to_vec());
    document
}

/// The whole document, from the very router that serves.
pub fn openapi() -> OpenApi {
    let (_, mut document) = super::api().split_for_parts();
    let components = document.components.get_or_insert_with(Components::new);
    let http = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Made by `greenlight token create`."));
    components.add_security_scheme(BEARER, SecurityScheme::Http(http.build()));
    components.examples = Code::ALL.into_iter().map(example).collect();
    components.headers = HEADERS
        .iter()
        .map(|(name, text)| ((*name).to_owned(), header(text).into()))
        .collect();
    let may_be_empty = schemas::complete(components);
    document.security = Some(vec![SecurityRequirement::new::<_, [String; 0], _>(BEARER, [])]);
    for item in document.paths.paths.values_mut() {
        complete(item, &may_be_empty);
    }
    document
}

/// The document as it is committed and served.
pub fn openapi_json() -> String {
    let mut text = openapi()
        .to_pretty_json()
        .expect("a document of strings, numbers and maps is always JSON");
    text.push('\n');
    text
}

fn complete(item: &mut PathItem, may_be_empty: &BTreeSet<String>) {
    let PathItem {
        get, put, post, delete, ..
    } = item;
    let is_keyed = |operation: &Operation| operation.operation_id.as_deref() != Some(CALLBACK);
    if let Some(operation) = post.as_mut().filter(|operation| is_keyed(operation)) {
        add_idempotency(operation);
    }
    for (operation, is_post) in [(get, false), (put, false), (post, true), (delete, false)] {
        let Some(operation) = operation else { continue };
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.required = Some(if schemas::is_one_of(body, may_be_empty) {
                Required::False
            } else {
                Required::True
            });
        }
        let is_keyed = is_post && is_keyed(operation);
        add_refusals(operation, is_keyed);
        add_header(operation, "x-request-id");
    }
}

/// The headers that many answers have.
const HEADERS: [(&str, &str); 3] = [
    ("x-request-id", "The request's id: the caller's own if it sent one."),
    (
        "Idempotency-Replayed",
        "`true` when this answer was kept from an earlier request with the same key.",
    ),
    ("WWW-Authenticate", "`Bearer`."),
];

fn header(description: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new()
        .schema(Some(text))
        .description(Some(description))
        .build()
}

/// Adds one of [`HEADERS`] to every answer there is so far.
fn add_header(operation: &mut Operation, name: &str) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert(name.to_owned(), header_ref(name));
        }
    }
}

fn header_ref(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

fn add_idempotency(operation: &mut Operation) {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255));
    let description = "Makes the request safe to repeat: the same request with the same key gets the first answer, \
                       for 24 hours. 1 to 255 visible ASCII characters, bare or in double quotes.";
    let parameter: Parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(description))
        .schema(Some(schema.pattern(Some("^[\\x21-\\x7e]+$")).build()))
        .example(Some(json!("8e03978e-40d5-43e8-bc93-6894a57f9324")))
        .build();
    operation.parameters.get_or_insert_default().push(parameter.into());
    add_header(operation, "Idempotency-Replayed");
}

/// The codes that follow from what an operation takes.
fn shape(operation: &Operation, is_post: bool) -> BTreeSet<&'static str> {
    let mut codes = vec![
        Code::Unauthenticated,
        Code::Forbidden,
        Code::InternalError,
        Code::DatabaseUnavailable,
    ];
    if operation
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.is_empty())
    {
        codes.extend([Code::MalformedRequest, Code::ValidationFailed]);
    }
    if operation.request_body.is_some() {
        codes.extend([
            Code::MalformedRequest,
            Code::MalformedJson,
            Code::UnsupportedMediaType,
            Code::BodyTooLarge,
        ]);
        codes.push(Code::ValidationFailed);
    }
    if is_post {
        codes.extend([
            Code::IdempotencyKeyInvalid,
            Code::IdempotencyKeyInUse,
            Code::IdempotencyKeyReused,
        ]);
    }
    codes.into_iter().map(Code::as_str).collect()
}

fn add_refusals(operation: &mut Operation, is_post: bool) {
    let id = operation.operation_id.clone().unwrap_or_default();
    let Some((_, own)) = REFUSALS.iter().find(|(name, _)| *name == id) else {
        // The probes: no token, no problems.
        operation.security = Some(Vec::new());
        return;
    };
    let mut codes = shape(operation, is_post);
    codes.extend(own.iter().map(|code| code.as_str()));
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL.into_iter().filter(|code| codes.contains(code.as_str())) {
        by_status.entry(problem::status(code).as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        operation
            .responses
            .responses
            .insert(status.to_string(), refusal(&codes).into());
    }
}

fn example(code: Code) -> (String, RefOr<Example>) {
    let example = ExampleBuilder::new()
        .summary(code.title())
        .value(Some(problem::example(code)));
    (code.as_str().to_owned(), RefOr::T(example.build()))
}

fn example_at(code: Code) -> String {
    format!("#/components/examples/{}", code.as_str())
}

/// The response of a status, with the codes it can carry.
fn refusal(codes: &[Code]) -> Response {
    let words: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
        .collect();
    let mut content = Content::new(Some(Ref::from_schema_name("Problem")));
    let reference = |code: &Code| (code.as_str().to_owned(), RefOr::Ref(Ref::new(example_at(*code))));
    content.examples = codes.iter().map(reference).collect();
    let mut response = Response::new(words.join(" "));
    response.content.insert(PROBLEM_JSON.to_owned(), content.into());
    if codes.contains(&Code::Unauthenticated) {
        response
            .headers
            .insert("WWW-Authenticate".to_owned(), header_ref("WWW-Authenticate"));
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn operations(document: &OpenApi) -> Vec<&Operation> {
        document
            .paths
            .paths
            .values()
            .flat_map(|item| [&item.get, &item.put, &item.post, &item.delete])
            .flatten()
            .collect()
    }

    #[test]
    fn every_operation_is_described_and_says_what_it_refuses() {
        let document = openapi();
        let mut seen = BTreeSet::new();
        for operation in operations(&document) {
            let id = operation.operation_id.clone().expect("an operation id");
            assert!(operation.summary.is_some() && operation.tags.is_some(), "{id}");
            let known = REFUSALS.iter().any(|(name, _)| *name == id);
            assert_ne!(
                known,
                operation.security == Some(Vec::new()),
                "{id}: a line in REFUSALS, or no token"
            );
            if let Some(RefOr::T(body)) = &operation.request_body {
                let has_example = |content: &RefOr<Content>| match content {
                    RefOr::T(content) => content.example.is_some(),
                    RefOr::Ref(_) => false,
                };
                assert!(body.content.values().all(has_example), "{id}");
            }
            assert!(seen.insert(id));
        }
        for (id, _) in REFUSALS {
            assert!(seen.contains(*id), "{id} is no operation");
        }
    }

    #[test]
    fn every_code_is_in_the_document() {
        let text = openapi_json();
        let document: Value = serde_json::from_str(&text).unwrap();
        let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        for code in Code::ALL {
            assert!(
                codes.as_array().unwrap().contains(&code.as_str().into()),
                "{}",
                code.as_str()
            );
            // The router itself refuses a method, in front of every operation.
            let carried = text.contains(&format!("`{}`: ", code.as_str()));
            assert!(
                carried || code == Code::MethodNotAllowed,
                "{} is carried by no operation",
                code.as_str()
            );
        }
    }

    #[test]
    fn the_document_is_the_same_every_time_and_every_reference_leads_somewhere() {
        let text = openapi_json();
        assert_eq!(text, openapi_json());
        assert!(text.ends_with("}\n"));
        let document: Value = serde_json::from_str(&text).unwrap();
        for reference in text
            .split("\"$ref\": \"#")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
