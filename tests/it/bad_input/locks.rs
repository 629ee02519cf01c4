//! Locks and blocks: the reason they need, what they refuse, and who passes.

use axum::http::Method;
use greenlight::domain::role::Role;
use serde_json::{Value, json};

use super::{RELEASES, fields, with, without_workers};
use crate::support::{ENVIRONMENT, TestApp, web};

const PROMOTIONS: &str = "/v1/apps/storefront/environments/production/promotions";
const ROLLBACKS: &str = "/v1/apps/storefront/environments/production/rollbacks";
const LOCK: &str = "/v1/apps/storefront/environments/production/lock";
const EVERYTHING: &str = "/v1/lock";
const BLOCK: &str = "/v1/apps/storefront/releases/1.0.0/block";

/// Bodies without a good reason, each with the field it is refused for.
fn bad_reasons() -> Vec<(Value, &'static str)> {
    vec![
        (json!({}), "reason"),
        (json!({"reason": ""}), "reason"),
        (json!({"reason": " \n\t "}), "reason"),
        (json!({"reason": "ä".repeat(1001)}), "reason"),
        (json!({"reason": null}), "reason"),
        (json!({"reason": 1}), "reason"),
        (json!({"reason": "a\u{0}"}), "reason"),
        (json!({"reason": "a", "by": "somebody else"}), "by"),
        (json!([]), ""),
    ]
}

#[tokio::test]
async fn a_lock_and_a_block_need_a_reason() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    for path in [LOCK, EVERYTHING, BLOCK] {
        for (body, field) in bad_reasons() {
            println!("{path} {body}");
            let problem = app.put(path, body).await.expect_problem(422, "validation_failed");
            assert_eq!(fields(&problem), [field], "{problem}");
        }
    }
    assert_eq!(app.environment().await["lock"], Value::Null);
    app.get(EVERYTHING).await.expect_problem(404, "not_found");
    app.promote("1.0.0").await;
    let long = "ä".repeat(1000);
    for path in [LOCK, EVERYTHING, BLOCK] {
        let body = json!({"reason": format!("  {long} ")});
        assert_eq!(
            app.put(path, body.clone()).await.expect(201).json()["reason"],
            long.as_str()
        );
        app.put(path, body).await.expect(200);
        app.delete(path).await.expect(204);
        app.delete(path).await.expect(204);
    }
}

#[tokio::test]
async fn what_is_not_there_is_neither_locked_nor_blocked() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    for path in [
        "/v1/apps/nope/environments/production/lock",
        "/v1/apps/storefront/environments/nope/lock",
        "/v1/apps/nope/releases/1.0.0/block",
        "/v1/apps/storefront/releases/9.9.9/block",
    ] {
        println!("{path}");
        app.put(path, json!({"reason": "x"}))
            .await
            .expect_problem(404, "not_found");
        app.delete(path).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_lock_says_who_why_and_since_when_to_every_promotion() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    for (path, scope) in [(LOCK, "environment"), (EVERYTHING, "everything")] {
        app.put(path, json!({"reason": "incident 4711"})).await.expect(201);
        for more in [
            json!({}),
            json!({"dry_run": true}),
            json!({"on_conflict": "queue"}),
            json!({"on_conflict": "supersede"}),
            json!({"on_drift": "overwrite"}),
        ] {
            let body = with(&json!({"release": "1.0.0"}), &more);
            let problem = app
                .post(PROMOTIONS, body)
                .await
                .expect_problem(423, "environment_locked");
            let lock = &problem["lock"];
            assert_eq!(
                (&lock["scope"], &lock["by"], &lock["reason"]),
                (&json!(scope), &json!("admin"), &json!("incident 4711"))
            );
            assert_eq!(*lock, app.environment().await["lock"]);
            assert!(
                problem["detail"].as_str().unwrap().contains("incident 4711"),
                "{problem}"
            );
        }
        app.delete(path).await.expect(204);
    }
    assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
    app.promote("1.0.0").await;
}

#[tokio::test]
async fn a_block_says_who_why_and_since_when_to_every_promotion() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.put(BLOCK, json!({"reason": "checkout fails"})).await.expect(201);
    for more in [json!({}), json!({"dry_run": true}), json!({"on_conflict": "queue"})] {
        let body = with(&json!({"release": "1.0.0"}), &more);
        let problem = app.post(PROMOTIONS, body).await.expect_problem(409, "release_blocked");
        let shown = app.get(&format!("{RELEASES}/1.0.0")).await.expect(200).json();
        assert_eq!(problem["block"], shown["block"]);
        assert_eq!(shown["block"]["reason"], "checkout fails");
    }
    // The other release is free.
    app.promote("1.1.0").await;
}

#[tokio::test]
async fn the_glass_is_broken_by_an_admin_with_a_reason_and_by_nobody_else() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let promotion = |break_glass: Value| json!({"release": "1.0.0", "break_glass": break_glass});
    for (body, field) in bad_reasons() {
        let field = if body.is_array() {
            String::new()
        } else {
            format!(".{field}")
        };
        let problem = app
            .post(PROMOTIONS, promotion(body))
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [format!("break_glass{field}")], "{problem}");
    }
    for odd in [json!(true), json!("incident 4711")] {
        let problem = app
            .post(PROMOTIONS, promotion(odd))
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["break_glass"]);
    }
    for (path, code, status) in [
        // A lock is told of before a block, so it comes last.
        (BLOCK, "release_blocked", 409),
        (EVERYTHING, "environment_locked", 423),
        (LOCK, "environment_locked", 423),
    ] {
        app.put(path, json!({"reason": "x"})).await.expect(201);
        app.post(PROMOTIONS, json!({"release": "1.0.0"}))
            .await
            .expect_problem(status, code);
        let body = with(
            &promotion(json!({"reason": "incident 4711"})),
            &json!({"dry_run": true}),
        );
        let releaser = app.send(as_releaser(&app, Method::POST, PROMOTIONS, &body).await).await;
        assert_eq!(releaser.expect_problem(403, "forbidden")["required_role"], "admin");
        app.post(PROMOTIONS, body).await.expect(200);
    }
    // All three at once.
    let id = app.promote_with(promotion(json!({"reason": " incident 4711 "}))).await;
    let job = app.job(&id).await;
    assert_eq!(job["break_glass"], json!({"by": "admin", "reason": "incident 4711"}));
}

#[tokio::test]
async fn a_rollbacks_block_is_of_what_it_leaves_or_of_nothing() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    for block in [json!("yes"), json!(1), json!(null), json!({"reason": "x"})] {
        let problem = app
            .post(ROLLBACKS, json!({"block": block}))
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["block"]);
    }
    let blocks = async || {
        let mut blocks = Vec::new();
        for release in ["1.0.0", "1.1.0"] {
            let shown = app.get(&format!("{RELEASES}/{release}")).await.expect(200).json();
            blocks.push(!shown["block"].is_null());
        }
        blocks
    };
    // A rollback that is refused blocks nothing.
    app.post(ROLLBACKS, json!({"block": true}))
        .await
        .expect_problem(409, "nothing_to_roll_back_to");
    app.promote_to_the_end("1.0.0").await;
    let body = json!({"block": true, "to": "1.0.0"});
    app.post(ROLLBACKS, body).await.expect_problem(409, "already_active");
    assert_eq!(blocks().await, [false, false]);
    app.promote_to_the_end("1.1.0").await;
    let id = app.post(ROLLBACKS, json!({"block": true})).await.expect(202).id();
    app.finish_as(&id, "succeeded").await;
    assert_eq!(blocks().await, [false, true]);
    app.post(PROMOTIONS, json!({"release": "1.1.0"}))
        .await
        .expect_problem(409, "release_blocked");
    app.get(ENVIRONMENT).await.expect(200);
}

/// A request of a token with the role `releaser`.
async fn as_releaser(app: &TestApp, method: Method, path: &str, body: &Value) -> axum::http::Request<axum::body::Body> {
    let mut request = app.request(method, path, Some(body));
    let token = format!("Bearer {}", app.token(Role::Releaser).await);
    request.headers_mut().insert("authorization", token.parse().unwrap());
    request
}
