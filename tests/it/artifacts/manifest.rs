//! What the first promotion records, and how later ones are held to it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

#[tokio::test]
async fn the_first_promotion_records_the_files_and_later_ones_insist_on_them() {
    let app = with_releases(site(), &["1.0.0", "1.1.0"]).await;
    upload(&app, "1.0.0");
    upload(&app, "1.1.0");
    assert_eq!(manifests(&app, "1.0.0").await, json!([]), "registering asks nobody");
    assert_eq!(s3_calls(&app), Vec::<String>::new());

    let job = app.promote_to_the_end("1.0.0").await;
    let location = "s3://storefront-web/releases/1.0.0/";
    assert_eq!(
        artifact(&job),
        &json!({"location": location, "objects": 2, "bytes": 10, "recorded": true})
    );
    assert_eq!(warnings(&job), []);
    assert_eq!(s3_calls(&app), ["ListObjectsV2", "HeadObject"]);
    let shown = manifests(&app, "1.0.0").await;
    assert_eq!(shown.as_array().unwrap().len(), 1);
    let mut manifest = shown[0].clone();
    assert!(manifest["recorded_at"].as_str().unwrap().ends_with('Z'), "{manifest}");
    manifest.as_object_mut().unwrap().remove("recorded_at");
    assert_eq!(
        manifest,
        json!({"component": "web", "location": location, "objects": 2, "bytes": 10})
    );

    let body = json!({"version": "1.0.0", "artifacts": {"web": {}, "api": {}}});
    let again = app.post(RELEASES, body).await.expect(200).json();
    assert_eq!(again["manifests"], shown, "the same as GET says");
    let listed = app.get(RELEASES).await.expect(200).json();
    assert_eq!(listed["items"][0]["manifests"], json!([]), "1.1.0 was not promoted yet");
    assert_eq!(listed["items"][1]["manifests"], shown);

    app.promote_to_the_end("1.1.0").await;
    let job = app.promote_to_the_end("1.0.0").await;
    assert_eq!(artifact(&job)["recorded"], false);
    assert_eq!(artifact(&job)["objects"], 2);
    assert_eq!(manifests(&app, "1.0.0").await, shown, "recorded once");
}

#[tokio::test]
async fn a_release_that_is_not_what_it_was_is_refused() {
    let app = with_releases(site(), &["1.0.0", "1.1.0"]).await;
    upload(&app, "1.0.0");
    upload(&app, "1.1.0");
    for number in 0..20 {
        put(&app, "1.0.0", &format!("{number:02}.js"), "old;");
    }
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;

    put(&app, "1.0.0", "assets/app.js", "APP;");
    let error = refused(&app, "1.0.0", "artifact_changed").await;
    assert_says(
        &error,
        &["1 of the 22 files", "\"assets/app.js\" has changed", "register"],
    );

    delete(&app, "1.0.0", "00.js");
    for number in 1..20 {
        put(&app, "1.0.0", &format!("{number:02}.js"), "new;");
    }
    let error = refused(&app, "1.0.0", "artifact_changed").await;
    assert_says(
        &error,
        &[
            "21 of the 22 files",
            "\"00.js\" is missing",
            "\"09.js\" has changed",
            "and 11 more",
        ],
    );
    assert!(!error["message"].as_str().unwrap().contains("\"10.js\""), "{error}");

    upload(&app, "1.0.0");
    for number in 0..20 {
        put(&app, "1.0.0", &format!("{number:02}.js"), "old;");
    }
    app.promote_to_the_end("1.0.0").await;
}

#[tokio::test]
async fn added_files_are_a_warning() {
    let app = with_releases(site(), &["1.0.0", "1.1.0"]).await;
    upload(&app, "1.0.0");
    upload(&app, "1.1.0");
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    put(&app, "1.0.0", "late.js", "late;");
    put(&app, "1.0.0", "later.js", "later;");
    let job = app.promote_to_the_end("1.0.0").await;
    let [(code, message)] = warnings(&job)[..] else {
        panic!("{job:#}");
    };
    assert_eq!(code, "artifact_added");
    assert!(
        message.contains("2 files") && message.contains("\"late.js\""),
        "{message}"
    );
    assert_eq!(artifact(&job)["objects"], 4);
    assert_eq!(manifests(&app, "1.0.0").await[0]["objects"], 2, "the manifest stays");
}

#[tokio::test]
async fn any_key_that_s3_takes_is_recorded_and_found_again() {
    let app = with_releases(site(), &["1.0.0", "1.1.0"]).await;
    upload(&app, "1.0.0");
    upload(&app, "1.1.0");
    for path in [
        "a b.js",
        "ünï/😀.js",
        "100%25.js",
        "q?a=1&b#c.js",
        "<\"'>.js",
        "\u{0}\u{1}\u{fffe}.js",
    ] {
        put(&app, "1.0.0", path, "odd;");
    }
    assert_eq!(artifact(&app.promote_to_the_end("1.0.0").await)["objects"], 8);
    app.promote_to_the_end("1.1.0").await;
    let job = app.promote_to_the_end("1.0.0").await;
    assert_eq!((&artifact(&job)["recorded"], warnings(&job)), (&json!(false), vec![]));
    delete(&app, "1.0.0", "\u{0}\u{1}\u{fffe}.js");
    app.promote_to_the_end("1.1.0").await;
    let error = refused(&app, "1.0.0", "artifact_changed").await;
    assert_says(&error, &[r#""\0\u{1}"#]);
}

#[tokio::test]
async fn no_missing_file_keeps_anybody_from_going_back() {
    let app = with_releases(site(), &["1.0.0", "1.1.0"]).await;
    upload(&app, "1.0.0");
    upload(&app, "1.1.0");
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    for path in ["index.html", "assets/app.js"] {
        delete(&app, "1.0.0", path);
    }
    app.double.clear_calls();
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert_eq!(s3_calls(&app), Vec::<String>::new(), "S3 isn't even asked");
}

#[tokio::test]
async fn environments_share_the_manifest_of_a_place_and_have_their_own_of_another() {
    let app = with_releases(site(), &["1.0.0"]).await;
    upload(&app, "1.0.0");
    app.promote_to_the_end("1.0.0").await;
    let staging = "/v1/apps/storefront/environments/staging";
    let promote = async || {
        let path = format!("{staging}/promotions");
        app.post(&path, json!({"release": "1.0.0"})).await.expect(202).id()
    };
    let mut document = site();
    document["components"][0]["router"]["parameter"] = json!("/storefront/staging/release");
    app.put(staging, document.clone()).await.expect(201);
    put(&app, "1.0.0", "assets/app.js", "APP;");
    let job = app.finish_as(&promote().await, "failed").await;
    assert_eq!(job["error"]["code"], "artifact_changed", "what production has seen");

    document["components"][0]["artifact"]["bucket"] = json!("storefront-staging");
    app.put(staging, document).await.expect(200);
    app.double.put_object(
        "storefront-staging",
        "releases/1.0.0/index.html",
        Some("text/html"),
        "<html>",
    );
    let job = app.finish_as(&promote().await, "succeeded").await;
    assert_eq!(artifact(&job)["recorded"], true);
    let shown = manifests(&app, "1.0.0").await;
    let shown: Vec<(&str, i64)> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["location"].as_str().unwrap(), it["objects"].as_i64().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            ("s3://storefront-staging/releases/1.0.0/", 1),
            ("s3://storefront-web/releases/1.0.0/", 2)
        ]
    );
}

/// Two environments promote a release at once, and see different files: the second to record meets what the
/// first one did.
#[tokio::test]
async fn whoever_records_second_is_held_to_the_first() {
    let app = with_releases(site(), &["1.0.0"]).await;
    upload(&app, "1.0.0");
    let mut other = app.store.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO manifests (app, version, component, location, objects, bytes, listing)
         VALUES ('storefront', '1.0.0', 'web', 's3://storefront-web/releases/1.0.0/', 1, 1, '[[\"gone.js\", 1, \"e\", null]]')",
    )
    .execute(&mut *other)
    .await
    .unwrap();
    let id = app.promote("1.0.0").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let is_blocked: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                            AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO manifests%')",
        )
        .fetch_one(app.store.pool())
        .await
        .unwrap();
        if is_blocked {
            break;
        }
        assert!(Instant::now() < deadline, "the worker comes to record its manifest");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    other.commit().await.unwrap();
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "artifact_changed", "{job:#}");
    assert_says(&job["error"], &["\"gone.js\" is missing"]);
    assert_eq!(app.pointer(), None);
}
