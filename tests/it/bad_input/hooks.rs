//! Hooks, and the policy for gates: their limits, and what does not go together in them.

use serde_json::{Value, json};

use super::{
    assert_refused,
    checks::{BAD_URLS, bad_headers},
    shared, with, without_workers,
};
use crate::support::ENVIRONMENT;

fn hook(members: &Value) -> Value {
    let hook = json!({"name": "warm", "when": "before_traffic", "url": "https://ci.example.com/warm"});
    with(&hook, members)
}

/// At viewer-request, with shares of 5 and 50 percent.
fn canary() -> Value {
    let steps = json!([{"weight": 5, "bake_seconds": 60}, {"weight": 50, "bake_seconds": 60}]);
    with(&shared(), &json!({"strategy": {"kind": "canary", "steps": steps}}))
}

#[tokio::test]
async fn a_hook_that_is_wrong_names_its_field() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let headers = |count: usize| (0..count).map(|at| (format!("x-{at}"), json!("v"))).collect();
    let undo = |members: &Value| json!({"undo": with(&json!({"url": "https://ci.example.com/"}), members)});
    let mut cases: Vec<(Value, String)> = Vec::new();
    for (members, field) in [
        (json!({"name": "A"}), "name"),
        (json!({"name": null}), "name"),
        (json!({"when": null}), "when"),
        (json!({"when": "during_bake"}), "when"),
        (json!({"when": "before_weight"}), "weight"),
        (json!({"when": "after_weight"}), "weight"),
        (json!({"weight": 5}), "weight"),
        (json!({"when": "after_traffic", "weight": 100}), "weight"),
        (json!({"when": "before_weight", "weight": 0}), "weight"),
        (json!({"when": "before_weight", "weight": 101}), "weight"),
        (json!({"when": "before_weight", "weight": "5"}), "weight"),
        // The strategy comes to 5, 50 and 100.
        (json!({"when": "before_weight", "weight": 6}), "weight"),
        (json!({"when": "after_weight", "weight": 99}), "weight"),
        (json!({"attempts": 0}), "attempts"),
        (json!({"attempts": 101}), "attempts"),
        (json!({"interval_seconds": 0}), "interval_seconds"),
        (json!({"interval_seconds": 3601}), "interval_seconds"),
        (json!({"timeout_seconds": 0}), "timeout_seconds"),
        (json!({"timeout_seconds": 86_401}), "timeout_seconds"),
        (json!({"headers": Value::Object(headers(21))}), "headers"),
        (json!({"kind": "webhook"}), "kind"),
        (json!({"on_inconclusive": "pass"}), "on_inconclusive"),
        (json!({"undo": {}}), "undo.url"),
        (json!({"undo": true}), "undo"),
        (undo(&json!({"attempts": 3})), "undo.attempts"),
        (
            json!({"headers": {"content-type": "text/plain"}}),
            "headers.content-type",
        ),
        (
            undo(&json!({"headers": {"content-type": "text/plain"}})),
            "undo.headers.content-type",
        ),
        (undo(&json!({"headers": Value::Object(headers(21))})), "undo.headers"),
    ] {
        cases.push((hook(&members), field.to_owned()));
    }
    for url in BAD_URLS {
        cases.push((hook(&json!({"url": url})), "url".to_owned()));
        cases.push((hook(&undo(&json!({"url": url}))), "undo.url".to_owned()));
    }
    for (name, value) in bad_headers() {
        cases.push((hook(&json!({"headers": {&name: &value}})), format!("headers.{name}")));
        let members = undo(&json!({"headers": {&name: &value}}));
        cases.push((hook(&members), format!("undo.headers.{name}")));
    }
    let cases: Vec<(Value, String)> = cases
        .into_iter()
        .map(|(hook, field)| (with(&canary(), &json!({"hooks": [hook]})), format!("hooks[0].{field}")))
        .collect();
    assert_refused(
        &app,
        cases
            .iter()
            .map(|(document, field)| (document.clone(), field.as_str()))
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn hooks_do_not_share_a_name_and_there_are_twenty_at_most() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let many = |count: usize| {
        (0..count)
            .map(|at| hook(&json!({"name": format!("h{at}")})))
            .collect::<Vec<_>>()
    };
    let cases = vec![
        (with(&canary(), &json!({"hooks": many(21)})), "hooks"),
        (
            with(&canary(), &json!({"hooks": [hook(&json!({})), hook(&json!({}))]})),
            "hooks[1].name",
        ),
        (with(&canary(), &json!({"hooks": [1]})), "hooks[0]"),
        (with(&canary(), &json!({"hooks": {}})), "hooks"),
    ];
    assert_refused(&app, cases).await;
    let mut good = many(20);
    for (at, (when, weight)) in [("before_weight", 5), ("after_weight", 50), ("before_weight", 100)]
        .into_iter()
        .enumerate()
    {
        good[at] = with(
            &good[at],
            &json!({"when": when, "weight": weight, "timeout_seconds": 86_400, "attempts": 100}),
        );
    }
    let shown = app
        .put(ENVIRONMENT, with(&canary(), &json!({"hooks": good})))
        .await
        .expect(201)
        .json();
    let again = app
        .put(ENVIRONMENT, with(&canary(), &json!({"hooks": shown["hooks"]})))
        .await
        .expect(200)
        .json();
    assert_eq!(again["hooks"], shown["hooks"]);
}

#[tokio::test]
async fn a_policy_for_gates_that_is_wrong_names_its_field() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let mut cases: Vec<(Value, &str)> = Vec::new();
    for (members, field) in [
        (json!({"required": 0}), "approvals.required"),
        (json!({"required": 11}), "approvals.required"),
        (json!({"required": "1"}), "approvals.required"),
        (json!({"expires_after_seconds": 59}), "approvals.expires_after_seconds"),
        (
            json!({"expires_after_seconds": 2_592_001}),
            "approvals.expires_after_seconds",
        ),
        (json!({"expires_after_seconds": -1}), "approvals.expires_after_seconds"),
        (json!({"role": "root"}), "approvals.role"),
        (json!({"role": "Admin"}), "approvals.role"),
        (json!({"role": null}), "approvals.role"),
        (json!({"before_traffic": "yes"}), "approvals.before_traffic"),
        (json!({"own": true}), "approvals.own"),
    ] {
        cases.push((with(&canary(), &json!({"approvals": members})), field));
    }
    cases.push((with(&canary(), &json!({"approvals": 1})), "approvals"));
    // A list that would be read as the first fields of an object.
    cases.push((with(&canary(), &json!({"approvals": []})), "approvals"));
    cases.push((with(&canary(), &json!({"approvals": [true]})), "approvals"));
    cases.push((with(&canary(), &json!({"aws": ["us-east-1"]})), "aws"));
    cases.push((with(&canary(), &json!({"approvals": null})), "approvals"));
    assert_refused(&app, cases).await;
    for (required, expires, role) in [(10, 2_592_000, "admin"), (1, 60, "viewer")] {
        let policy =
            json!({"before_traffic": true, "required": required, "role": role, "expires_after_seconds": expires});
        let answer = app
            .put(ENVIRONMENT, with(&canary(), &json!({"approvals": policy})))
            .await;
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(answer.json()["approvals"], policy);
    }
}
