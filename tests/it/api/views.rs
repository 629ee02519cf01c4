//! What applications, environments, releases and deployments show.

use std::collections::BTreeSet;

use axum::http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::{names, without_workers};
use crate::support::{DISTRIBUTION, ENVIRONMENT, PARAMETER, REGION, TestApp, web};

const APP: &str = "/v1/apps/storefront";

#[tokio::test]
async fn an_application_is_created_changed_and_deleted() {
    let app = without_workers().await;
    let made = app
        .put(APP, json!({"description": "The shop window"}))
        .await
        .expect(201)
        .json();
    assert_eq!(
        names(&made),
        BTreeSet::from(["name", "description", "created_at", "updated_at"])
    );
    assert_eq!(
        (&made["name"], &made["description"]),
        (&json!("storefront"), &json!("The shop window"))
    );
    assert_eq!(app.get(APP).await.expect(200).json(), made);
    let changed = app.put(APP, json!({})).await.expect(200).json();
    assert_eq!(changed["description"], Value::Null, "a PUT is the whole document");
    assert_eq!(changed["created_at"], made["created_at"]);
    assert_eq!(app.delete(APP).await.expect(204).body, b"");
    app.delete(APP).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_release_shows_what_was_registered_and_by_whom() {
    let app = without_workers().await;
    app.put(APP, json!({})).await.expect(201);
    let body = json!({"version": "1.43.0", "commit": "9fceb02d",
        "artifacts": {"web": {"uri": "s3://b/1.43.0/", "size": 7}, "api": {}},
        "metadata": {"pipeline": 4711, "nested": {"a": [1, null, "ä"]}}});
    let answer = app.post(&format!("{APP}/releases"), body.clone()).await.expect(201);
    assert_eq!(answer.header("location"), Some("/v1/apps/storefront/releases/1.43.0"));
    let release = answer.json();
    let fields = [
        "app",
        "version",
        "commit",
        "artifacts",
        "metadata",
        "created_at",
        "created_by",
        "manifests",
        "block",
    ];
    assert_eq!(names(&release), BTreeSet::from(fields));
    assert_eq!(release["manifests"], json!([]), "no promotion has looked yet");
    for field in ["version", "commit", "artifacts", "metadata"] {
        assert_eq!(release[field], body[field]);
    }
    assert_eq!(release["created_by"], "admin");
    assert_eq!(
        app.get(answer.header("location").unwrap()).await.expect(200).json(),
        release
    );
    let again = app.post(&format!("{APP}/releases"), body).await.expect(200);
    assert_eq!(again.json(), release);
}

/// Everything but the document itself.
const TRUE_NOW: [&str; 12] = [
    "app",
    "name",
    "active",
    "previous",
    "candidate",
    "current_job",
    "lock",
    "drift",
    "rollback_ready",
    "pointers",
    "created_at",
    "updated_at",
];
const DOCUMENT: [&str; 7] = [
    "aws",
    "components",
    "strategy",
    "checks",
    "hooks",
    "approvals",
    "retention",
];

#[tokio::test]
async fn an_environment_shows_its_document_with_defaults_and_what_is_true() {
    let app = without_workers().await;
    app.put(APP, json!({})).await.expect(201);
    let environment = app.put(ENVIRONMENT, web()).await.expect(201).json();
    assert_eq!(app.environment().await, environment);
    let all: BTreeSet<&str> = TRUE_NOW.into_iter().chain(DOCUMENT).collect();
    assert_eq!(names(&environment), all);
    assert_eq!(environment["strategy"], json!({"kind": "all_at_once"}));
    assert_eq!(
        (&environment["checks"], &environment["hooks"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        environment["approvals"],
        json!({"before_traffic": false, "required": 1, "role": "releaser", "expires_after_seconds": 86_400})
    );
    assert_eq!(
        environment["retention"],
        json!({"keep_releases": 5, "cleanup_after_seconds": 3600})
    );
    assert_eq!(environment["components"][0]["cdn"]["distribution_id"], DISTRIBUTION);
    assert_eq!(
        environment["components"][0]["cdn"]["invalidate"]["timeout_seconds"],
        900
    );
    assert_eq!(
        environment["components"][0]["cdn"]["invalidate"]["on_timeout"],
        "continue"
    );
    for field in ["active", "previous", "candidate", "current_job", "lock", "drift"] {
        assert_eq!(environment[field], Value::Null, "{field}");
    }
    assert_eq!(environment["rollback_ready"], false);
    let pointer = format!("ssm:default:{REGION}:{PARAMETER}");
    assert_eq!(
        environment["pointers"],
        json!([{"component": "web", "target": REGION, "pointer": pointer, "taken": false, "release": null,
                "value": null, "version": null}])
    );
    // The document that GET shows can be put back as it is.
    let mut document = environment.clone();
    for field in TRUE_NOW {
        document.as_object_mut().unwrap().remove(field);
    }
    let again = app.put(ENVIRONMENT, document).await.expect(200).json();
    for field in DOCUMENT {
        assert_eq!(again[field], environment[field]);
    }
}

#[tokio::test]
async fn an_environment_shows_where_its_traffic_goes() {
    let mut app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let id = app.promote("1.0.0").await;
    let during = app.environment().await;
    assert_eq!(
        (&during["candidate"], &during["current_job"]),
        (&json!("1.0.0"), &json!(id))
    );
    assert_eq!(
        (&during["active"], &during["rollback_ready"]),
        (&Value::Null, &json!(true))
    );
    app.start_worker();
    app.finish_as(&id, "succeeded").await;
    let first = app.environment().await;
    assert_eq!((&first["active"], &first["previous"]), (&json!("1.0.0"), &Value::Null));
    assert_eq!(first["rollback_ready"], true, "to what was there before");
    app.promote_to_the_end("1.1.0").await;
    let second = app.environment().await;
    assert_eq!(
        (&second["active"], &second["previous"]),
        (&json!("1.1.0"), &json!("1.0.0"))
    );
    assert_eq!(
        (&second["candidate"], &second["current_job"]),
        (&Value::Null, &Value::Null)
    );
    let pointer = &second["pointers"][0];
    assert_eq!(
        (&pointer["taken"], &pointer["release"]),
        (&json!(true), &json!("1.1.0"))
    );
    assert_eq!(pointer["version"], 2);
    assert_eq!(pointer["value"].as_str(), app.pointer().as_deref());
    // The list shows the same.
    let list = app.get(&format!("{APP}/environments")).await.expect(200).json();
    assert_eq!(list["items"], json!([second]));
}

#[tokio::test]
async fn a_deployment_shows_what_was_active_from_when_to_when_and_by_whom() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await;
    let list = app.get(&format!("{ENVIRONMENT}/deployments")).await.expect(200).json();
    let fields = [
        "id",
        "release",
        "kind",
        "job_id",
        "started_at",
        "ended_at",
        "rolled_back_at",
        "created_by",
    ];
    for row in list["items"].as_array().unwrap() {
        assert_eq!(names(row), BTreeSet::from(fields));
    }
    let now = &list["items"][0];
    assert_eq!((&now["release"], &now["job_id"]), (&json!("1.0.0"), &job["id"]));
    assert_eq!((&now["created_by"], &now["ended_at"]), (&json!("admin"), &Value::Null));
    assert_eq!(now["started_at"], job["settled_at"]);
}

#[tokio::test]
async fn a_requests_id_is_the_callers_own_or_a_new_one() {
    let app = without_workers().await;
    for path in [
        "/healthz",
        "/v1/apps",
        "/v1/apps/nope",
        "/nowhere",
        "/openapi.json",
        "/v1/jobs?x=1",
    ] {
        let mut request = app.request(Method::GET, path, None);
        request
            .headers_mut()
            .insert("x-request-id", HeaderValue::from_static("ci-4711/a"));
        let answer = app.send(request).await;
        assert_eq!(answer.header("x-request-id"), Some("ci-4711/a"), "{path}");
        if !answer.status.is_success() {
            assert_eq!(answer.json()["request_id"], "ci-4711/a");
        }
        let (one, two) = (app.get(path).await, app.get(path).await);
        let id = one.header("x-request-id").unwrap();
        assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
        assert_ne!(Some(id), two.header("x-request-id"));
        if !one.status.is_success() {
            assert_eq!(one.json()["request_id"], id);
        }
    }
    let long = "x".repeat(129);
    for bad in [b"a b".as_slice(), b"", b"\xff", long.as_bytes()] {
        let mut request = app.request(Method::GET, "/v1/apps/nope", None);
        request
            .headers_mut()
            .insert("x-request-id", HeaderValue::from_bytes(bad).unwrap());
        let answer = app.send(request).await;
        assert!(uuid::Uuid::try_parse(answer.header("x-request-id").unwrap()).is_ok());
    }
}
