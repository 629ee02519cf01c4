//! Pointers have one owner, and stay what they are while a job is unfinished.

use serde_json::{Value, json};

use super::{fields, without_workers};
use crate::support::{
    DISTRIBUTION, ENVIRONMENT, PARAMETER, REGION, SECOND_REGION, TestApp, api_and_web, web, web_with,
};

const STAGING: &str = "/v1/apps/storefront/environments/staging";
const ROLE: &str = "arn:aws:iam::111122223333:role/greenlight";

#[tokio::test]
async fn two_components_of_one_environment_have_two_pointers() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    for (first, second) in [("/foo", "/foo"), ("foo", "/foo"), ("/foo", "foo")] {
        let mut document = api_and_web();
        document["components"][0]["router"]["parameter"] = json!(first);
        document["components"][1]["router"]["parameter"] = json!(second);
        let problem = app
            .put(ENVIRONMENT, document)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["components[1].router.parameter"]);
    }
    let twice = web_with(json!({"regions": [REGION, REGION]}));
    app.put(ENVIRONMENT, twice)
        .await
        .expect_problem(422, "validation_failed");
    let mut names = api_and_web();
    names["components"][1]["name"] = json!("api");
    let problem = app
        .put(ENVIRONMENT, names)
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(fields(&problem), ["components[1].name"]);
    // The same name in two regions is two pointers.
    let mut regions = api_and_web();
    regions["components"][0]["router"]["parameter"] = json!(PARAMETER);
    regions["components"][0]["router"]["regions"] = json!([SECOND_REGION]);
    app.put(ENVIRONMENT, regions).await.expect(201);
}

#[tokio::test]
async fn two_environments_have_two_pointers() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    app.put("/v1/apps/other", json!({})).await.expect(201);
    app.put(ENVIRONMENT, web_with(json!({"parameter": "/foo"})))
        .await
        .expect(201);
    for path in [STAGING, "/v1/apps/other/environments/production"] {
        for parameter in ["/foo", "foo"] {
            let problem = app.put(path, web_with(json!({"parameter": parameter}))).await;
            let problem = problem.expect_problem(409, "pointer_in_use");
            assert_eq!(fields(&problem), ["components[0].router.parameter"]);
            app.get(path).await.expect_problem(404, "not_found");
        }
        let both = web_with(json!({"parameter": "/foo", "regions": [SECOND_REGION, REGION]}));
        app.put(path, both).await.expect_problem(409, "pointer_in_use");
    }
    // Another region, another account, another case: another pointer.
    app.put(
        STAGING,
        web_with(json!({"parameter": "/foo", "regions": [SECOND_REGION]})),
    )
    .await
    .expect(201);
    let mut elsewhere = web_with(json!({"parameter": "/foo"}));
    elsewhere["aws"]["role_arn"] = json!(ROLE);
    app.put("/v1/apps/other/environments/production", elsewhere)
        .await
        .expect(201);
    app.put(
        "/v1/apps/other/environments/upper",
        web_with(json!({"parameter": "/Foo"})),
    )
    .await
    .expect(201);
    // Given up, it is free again.
    app.put(ENVIRONMENT, web_with(json!({"parameter": "/bar"})))
        .await
        .expect(200);
    app.put(
        "/v1/apps/other/environments/late",
        web_with(json!({"parameter": "foo"})),
    )
    .await
    .expect(201);
    app.put(ENVIRONMENT, web_with(json!({"parameter": "/foo"})))
        .await
        .expect_problem(409, "pointer_in_use");
    assert_eq!(app.environment().await["components"][0]["router"]["parameter"], "/bar");
}

/// What must not change while a job is unfinished, each with its name.
fn changes() -> Vec<(&'static str, Value)> {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut document = slow();
        change(&mut document);
        document
    };
    vec![
        (
            "name",
            changed(&|d| d["components"][0]["router"]["parameter"] = json!("/storefront/other")),
        ),
        (
            "region",
            changed(&|d| d["components"][0]["router"]["regions"] = json!([SECOND_REGION])),
        ),
        (
            "more regions",
            changed(&|d| d["components"][0]["router"]["regions"] = json!([REGION, SECOND_REGION])),
        ),
        ("home region", changed(&|d| d["aws"]["region"] = json!(SECOND_REGION))),
        (
            "distribution",
            changed(&|d| d["components"][0]["cdn"]["distribution_id"] = json!("E2OTHER")),
        ),
        ("no distribution", changed(&|d| d["components"][0]["cdn"] = json!(null))),
        ("account", changed(&|d| d["aws"]["role_arn"] = json!(ROLE))),
        (
            "component's name",
            changed(&|d| d["components"][0]["name"] = json!("site")),
        ),
        (
            "a further component",
            changed(&|d| {
                let api = api_and_web()["components"][0].clone();
                d["components"].as_array_mut().unwrap().push(api);
            }),
        ),
    ]
}

/// Holds its environment until time is moved.
fn slow() -> Value {
    web_with(json!({"edge_ttl_seconds": 600}))
}

#[tokio::test]
async fn identities_stay_while_a_job_is_unfinished() {
    let app = TestApp::start().await;
    app.set_up(slow(), &["1.0.0"]).await;
    let job = app.promote("1.0.0").await;
    app.job_until(&job, |job| job["state"] == "waiting").await;
    for (what, document) in changes() {
        println!("{what}");
        let problem = app
            .put(ENVIRONMENT, document)
            .await
            .expect_problem(409, "job_in_progress");
        assert_eq!(problem["job_id"], job.as_str());
    }
    let problem = app.delete(ENVIRONMENT).await.expect_problem(409, "job_in_progress");
    assert_eq!(problem["job_id"], job.as_str());
    // Nothing of it was kept, and what is no identity may change.
    assert_eq!(
        app.environment().await["components"][0]["cdn"]["distribution_id"],
        DISTRIBUTION
    );
    let mut harmless = slow();
    harmless["retention"] = json!({"keep_releases": 9});
    harmless["components"][0]["cdn"]["invalidate"]["timeout_seconds"] = json!(60);
    app.put(ENVIRONMENT, harmless).await.expect(200);
    app.finish_as(&job, "succeeded").await;
    for (what, document) in changes() {
        println!("{what}");
        app.put(ENVIRONMENT, document).await.expect(200);
    }
    app.delete(ENVIRONMENT).await.expect(204);
}

#[tokio::test]
async fn identities_stay_while_a_job_is_stuck_or_queued() {
    let app = without_workers().await;
    app.set_up(slow(), &["1.0.0", "1.1.0"]).await;
    app.promote("1.0.0").await;
    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    assert_eq!(app.job(&queued).await["state"], "queued");
    app.delete(ENVIRONMENT).await.expect_problem(409, "job_in_progress");
    sqlx::query("UPDATE jobs SET state = 'stuck', claimable_at = NULL WHERE state = 'running'")
        .execute(app.store.pool())
        .await
        .unwrap();
    for (what, document) in changes() {
        println!("{what}");
        app.put(ENVIRONMENT, document)
            .await
            .expect_problem(409, "job_in_progress");
    }
    app.delete(ENVIRONMENT).await.expect_problem(409, "job_in_progress");
}

#[tokio::test]
async fn a_component_whose_pointer_has_changed_is_untaken_and_takes_over_what_it_finds() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    assert_eq!(app.environment().await["pointers"][0]["taken"], true);
    let moved = "/storefront/production/moved";
    app.double.put_parameter(REGION, moved, "what was there").unwrap();
    app.put(ENVIRONMENT, web_with(json!({"parameter": moved})))
        .await
        .expect(200);
    let environment = app.environment().await;
    let pointer = &environment["pointers"][0];
    assert_eq!(pointer["taken"], false, "{environment:#}");
    assert_eq!((&pointer["value"], &pointer["release"]), (&Value::Null, &Value::Null));
    assert!(pointer["pointer"].as_str().unwrap().ends_with(moved));

    // Not drift: what is there is taken over.
    app.promote_to_the_end("1.1.0").await;
    assert_eq!(app.environment().await["pointers"][0]["taken"], true);
    let (value, _) = app.double.parameter(REGION, moved).unwrap();
    assert!(value.contains(r#""active":"1.1.0""#), "{value}");
    // The old pointer is nobody's now.
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}
