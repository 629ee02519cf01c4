//! Lists: complete, without repeats, in order, whatever the size of a page.

use serde_json::{Value, json};

use super::{all_pages, without_workers};
use crate::support::{ENVIRONMENT, TestApp, web, web_with};

const RELEASES: &str = "/v1/apps/storefront/releases";

#[track_caller]
fn texts(items: &[Value], field: &str) -> Vec<String> {
    items
        .iter()
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

/// Sees that a list is `expected`, by pages of every size.
async fn assert_pages(app: &TestApp, path: &str, field: &str, expected: &[String]) {
    for limit in [1, 2, 3, expected.len().max(1), expected.len() + 1, 200] {
        let items = all_pages(app, path, limit).await;
        assert_eq!(texts(&items, field), expected, "{path} by {limit}");
    }
}

#[tokio::test]
async fn applications_and_environments_are_listed_by_name() {
    let app = without_workers().await;
    assert_pages(&app, "/v1/apps", "name", &[]).await;
    let mut apps: Vec<String> = ["b", "a", "z9", "a-b", "a0", "0"].map(str::to_owned).to_vec();
    for name in &apps {
        app.put(&format!("/v1/apps/{name}"), json!({})).await.expect(201);
    }
    apps.sort();
    assert_pages(&app, "/v1/apps", "name", &apps).await;
    let mut environments: Vec<String> = ["staging", "production", "dev-1", "dev"].map(str::to_owned).to_vec();
    for name in &environments {
        let document = web_with(json!({"parameter": format!("/a/{name}")}));
        app.put(&format!("/v1/apps/a/environments/{name}"), document)
            .await
            .expect(201);
    }
    app.put("/v1/apps/b/environments/other", web()).await.expect(201);
    environments.sort();
    assert_pages(&app, "/v1/apps/a/environments", "name", &environments).await;
    assert_pages(&app, "/v1/apps/b/environments", "name", &["other".into()]).await;
    assert_pages(&app, "/v1/apps/z9/environments", "name", &[]).await;
}

#[tokio::test]
async fn releases_are_listed_newest_first_even_of_one_moment() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    let mut versions = Vec::new();
    for n in [3, 1, 2, 10, 7, 5, 4] {
        let version = format!("1.0.{n}");
        app.register(&version).await;
        versions.insert(0, version);
    }
    assert_pages(&app, RELEASES, "version", &versions).await;
    sqlx::query("UPDATE releases SET created_at = date_trunc('minute', now())")
        .execute(app.store.pool())
        .await
        .unwrap();
    versions.sort();
    versions.reverse();
    assert_pages(&app, RELEASES, "version", &versions).await;
}

#[tokio::test]
async fn what_is_added_meanwhile_moves_no_page() {
    let app = without_workers().await;
    app.set_up(web(), &["1", "2", "3", "4"]).await;
    let first = app.get(&format!("{RELEASES}?limit=2")).await.expect(200).json();
    app.register("5").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = app
        .get(&format!("{RELEASES}?limit=2&cursor={cursor}"))
        .await
        .expect(200)
        .json();
    assert_eq!(texts(first["items"].as_array().unwrap(), "version"), ["4", "3"]);
    assert_eq!(texts(second["items"].as_array().unwrap(), "version"), ["2", "1"]);
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn jobs_are_listed_newest_first_and_narrowed() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let staging = "/v1/apps/storefront/environments/staging";
    app.put(staging, web_with(json!({"parameter": "/a", "create_parameter": false})))
        .await
        .expect(201);
    app.put("/v1/apps/other", json!({})).await.expect(201);
    app.put(
        "/v1/apps/other/environments/production",
        web_with(json!({"parameter": "/b"})),
    )
    .await
    .expect(201);
    app.post(
        "/v1/apps/other/releases",
        json!({"version": "1.0.0", "artifacts": {"web": {}}}),
    )
    .await
    .expect(201);
    let mut ids = Vec::new();
    for release in ["1.0.0", "1.1.0"] {
        ids.insert(
            0,
            app.promote_to_the_end(release).await["id"].as_str().unwrap().to_owned(),
        );
    }
    let back = app.roll_back().await;
    app.finish_as(&back, "succeeded").await;
    ids.insert(0, back.clone());
    let path = format!("{staging}/promotions");
    let failed = app.post(&path, json!({"release": "1.0.0"})).await.expect(202).id();
    app.finish_as(&failed, "failed").await;
    ids.insert(0, failed.clone());
    let path = "/v1/apps/other/environments/production/promotions";
    let other = app.post(path, json!({"release": "1.0.0"})).await.expect(202).id();
    app.finish_as(&other, "succeeded").await;
    ids.insert(0, other.clone());
    assert_pages(&app, "/v1/jobs", "id", &ids).await;

    let promotions = ids.iter().filter(|id| **id != back).cloned().collect::<Vec<_>>();
    let of_storefront = ids[1..].to_vec();
    for (query, expected) in [
        ("app=storefront", of_storefront.clone()),
        ("app=nobody", vec![]),
        (
            "environment=production",
            ids.iter().filter(|id| **id != failed).cloned().collect(),
        ),
        ("app=storefront&environment=production", ids[2..].to_vec()),
        ("kind=rollback", vec![back.clone()]),
        ("kind=promotion", promotions),
        ("state=failed", vec![failed.clone()]),
        ("state=running", vec![]),
        ("state=succeeded&kind=promotion&app=storefront", ids[3..].to_vec()),
    ] {
        assert_pages(&app, &format!("/v1/jobs?{query}"), "id", &expected).await;
    }
}

#[tokio::test]
async fn every_state_of_a_job_can_be_asked_for() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let running = app.promote("1.0.0").await;
    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    for (state, expected) in [
        ("queued", vec![queued]),
        ("running", vec![running]),
        ("waiting", vec![]),
        ("unwinding", vec![]),
        ("succeeded", vec![]),
        ("failed", vec![]),
        ("aborted", vec![]),
        ("stuck", vec![]),
    ] {
        assert_pages(&app, &format!("/v1/jobs?state={state}"), "id", &expected).await;
    }
}

#[tokio::test]
async fn deployments_are_listed_newest_first_without_a_gap() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0", "1.2.0"]).await;
    for release in ["1.0.0", "1.1.0", "1.2.0"] {
        app.promote_to_the_end(release).await;
    }
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    let path = format!("{ENVIRONMENT}/deployments");
    let whole = all_pages(&app, &path, 200).await;
    let releases: Vec<&Value> = whole.iter().map(|row| &row["release"]).collect();
    assert_eq!(
        releases,
        [
            &json!("1.1.0"),
            &json!("1.2.0"),
            &json!("1.1.0"),
            &json!("1.0.0"),
            &Value::Null
        ]
    );
    let kinds = texts(&whole, "kind");
    assert_eq!(kinds, ["rollback", "promotion", "promotion", "promotion", "taken_over"]);
    assert_eq!(whole[0]["ended_at"], Value::Null);
    assert_eq!(whole[4]["started_at"], Value::Null);
    assert!(whole[1]["rolled_back_at"].is_string(), "{whole:#?}");
    for pair in whole.windows(2) {
        assert_eq!(
            pair[0]["started_at"], pair[1]["ended_at"],
            "when one begins, the other ends"
        );
    }
    for limit in 1..=4 {
        assert_eq!(all_pages(&app, &path, limit).await, whole, "by {limit}");
    }
}
