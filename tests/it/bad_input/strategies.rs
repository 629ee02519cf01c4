//! Strategies: their limits, and what the roads can't do.

use serde_json::{Value, json};

use super::{assert_refused, fields, shared, with, without_workers};
use crate::support::{ENVIRONMENT, TestApp, api_and_web, web, web_with};

const PROMOTIONS: &str = "/v1/apps/storefront/environments/production/promotions";

fn step(weight: u32) -> Value {
    json!({"weight": weight, "bake_seconds": 60})
}

fn canary(steps: Vec<Value>) -> Value {
    json!({"kind": "canary", "steps": steps})
}

/// A canary of one step with these members.
fn one_step(members: &Value) -> Value {
    canary(vec![with(&step(5), members)])
}

fn linear(members: &Value) -> Value {
    with(
        &json!({"kind": "linear", "step_weight": 20, "interval_seconds": 60}),
        members,
    )
}

fn check(name: &str) -> Value {
    json!({"name": name, "kind": "http", "url": "https://www.example.com/"})
}

/// Each with what it is refused for, below `strategy`.
fn refused() -> Vec<(Value, &'static str)> {
    let checks = |count: usize| (0..count).map(|at| check(&format!("c{at}"))).collect::<Vec<_>>();
    vec![
        (canary(vec![]), "strategy.steps"),
        (canary((1..=21).map(step).collect()), "strategy.steps"),
        (canary(vec![step(0)]), "strategy.steps[0].weight"),
        (canary(vec![step(101)]), "strategy.steps[0].weight"),
        (canary(vec![step(5), step(5)]), "strategy.steps[1].weight"),
        (canary(vec![step(50), step(5)]), "strategy.steps[1].weight"),
        (canary(vec![step(100), step(100)]), "strategy.steps[1].weight"),
        (
            one_step(&json!({"bake_seconds": 604_801})),
            "strategy.steps[0].bake_seconds",
        ),
        (one_step(&json!({"checks": checks(11)})), "strategy.steps[0].checks"),
        (
            one_step(&json!({"bake_seconds": 0, "checks": checks(1)})),
            "strategy.steps[0].checks",
        ),
        (
            one_step(&json!({"checks": [check("a"), check("a")]})),
            "strategy.steps[0].checks[1].name",
        ),
        (
            one_step(&json!({"checks": [with(&check("a"), &json!({"when": "before_traffic"}))]})),
            "strategy.steps[0].checks[0].when",
        ),
        (
            one_step(&json!({"checks": [with(&check("a"), &json!({"when": "after_traffic"}))]})),
            "strategy.steps[0].checks[0].when",
        ),
        (
            one_step(&json!({"checks": [with(&check("a"), &json!({"attempts": 0}))]})),
            "strategy.steps[0].checks[0].attempts",
        ),
        (linear(&json!({"step_weight": 4})), "strategy.step_weight"),
        (linear(&json!({"step_weight": 100})), "strategy.step_weight"),
        (linear(&json!({"step_weight": 0})), "strategy.step_weight"),
        (
            linear(&json!({"interval_seconds": 604_801})),
            "strategy.interval_seconds",
        ),
        (linear(&json!({"bake_seconds": 604_801})), "strategy.bake_seconds"),
        (
            json!({"kind": "all_at_once", "bake_seconds": 604_801}),
            "strategy.bake_seconds",
        ),
        // Missing, unknown, of another type.
        (json!({"kind": "canary"}), "strategy.steps"),
        (
            json!({"kind": "linear", "interval_seconds": 60}),
            "strategy.step_weight",
        ),
        (
            json!({"kind": "linear", "step_weight": 20}),
            "strategy.interval_seconds",
        ),
        (canary(vec![json!({"weight": 5})]), "strategy.steps[0].bake_seconds"),
        (
            canary(vec![step(5), json!({"bake_seconds": 5})]),
            "strategy.steps[1].weight",
        ),
        (json!({"steps": [step(5)]}), "strategy.kind"),
        (json!({"kind": "blue_green"}), "strategy.kind"),
        (json!({"kind": "Canary", "steps": [step(5)]}), "strategy.kind"),
        (
            with(&canary(vec![step(5)]), &json!({"bake_seconds": 5})),
            "strategy.bake_seconds",
        ),
        (linear(&json!({"steps": []})), "strategy.steps"),
        (
            json!({"kind": "all_at_once", "components": ["web"]}),
            "strategy.components",
        ),
        (one_step(&json!({"colour": "blue"})), "strategy.steps[0].colour"),
        (one_step(&json!({"weight": "5"})), "strategy.steps[0].weight"),
        (one_step(&json!({"weight": -1})), "strategy.steps[0].weight"),
        (one_step(&json!({"weight": 5.5})), "strategy.steps[0].weight"),
        (one_step(&json!({"weight": null})), "strategy.steps[0].weight"),
        (
            one_step(&json!({"bake_seconds": 4_294_967_296_u64})),
            "strategy.steps[0].bake_seconds",
        ),
        (one_step(&json!({"approval": "yes"})), "strategy.steps[0].approval"),
        (
            with(&canary(vec![step(5)]), &json!({"components": ["A"]})),
            "strategy.components[0]",
        ),
        (
            with(&canary(vec![step(5)]), &json!({"components": ["web", "web"]})),
            "strategy.components",
        ),
        (json!(["all_at_once", 300]), "strategy"),
    ]
}

#[tokio::test]
async fn a_strategy_that_is_wrong_names_its_field() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let mut cases: Vec<(Value, &str)> = refused()
        .into_iter()
        .map(|(strategy, field)| (with(&shared(), &json!({"strategy": strategy})), field))
        .collect();
    // A step's check has no name of the environment's own.
    let strategy = one_step(&json!({"checks": [check("smoke")]}));
    let own = with(&check("smoke"), &json!({"when": "before_traffic"}));
    cases.push((
        with(&shared(), &json!({"strategy": strategy, "checks": [own]})),
        "strategy.steps[0].checks[0].name",
    ));
    assert_refused(&app, cases).await;
}

#[tokio::test]
async fn a_promotions_own_strategy_has_the_same_limits() {
    let app = without_workers().await;
    app.set_up(shared(), &["1.0.0"]).await;
    for (strategy, field) in refused() {
        println!("{field}: {strategy}");
        let body = json!({"release": "1.0.0", "strategy": strategy});
        let problem = app
            .post(PROMOTIONS, body)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field], "{problem}");
    }
    assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_strategy_just_within_its_limits_is_taken_and_shown_again() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let checks: Vec<Value> = (0..10).map(|at| check(&format!("c{at}"))).collect();
    for strategy in [
        canary((1..=19).chain([100]).map(step).collect()),
        canary(vec![
            json!({"weight": 99, "bake_seconds": 604_800, "approval": true, "checks": checks}),
        ]),
        canary(vec![step(100)]),
        with(&canary(vec![step(1)]), &json!({"components": ["web"]})),
        linear(&json!({"step_weight": 5, "interval_seconds": 604_800, "bake_seconds": 604_800})),
        linear(&json!({"step_weight": 99, "interval_seconds": 0})),
        json!({"kind": "all_at_once", "bake_seconds": 604_800}),
    ] {
        println!("{strategy}");
        let answer = app
            .put(ENVIRONMENT, with(&shared(), &json!({"strategy": strategy})))
            .await;
        assert!(answer.status.is_success(), "{answer:?}");
        let shown = app.environment().await["strategy"].clone();
        let again = app.put(ENVIRONMENT, with(&shared(), &json!({"strategy": shown}))).await;
        assert_eq!(again.expect(200).json()["strategy"], shown);
    }
}

/// Documents, each with a strategy that their roads can't do, and the field.
fn impossible() -> Vec<(Value, Value, &'static str)> {
    let two = json!([{"weight": 5, "bake_seconds": 60}, {"weight": 100, "bake_seconds": 60}]);
    let canary = json!({"kind": "canary", "steps": two});
    let plain = web_with(json!({"format": "plain"}));
    let mut cached = web();
    cached["components"][0]["edge"] = json!({"mode": "none"});
    let mut mixed = api_and_web();
    mixed["components"][0]["router"]["format"] = json!("plain");
    mixed["components"][1]["edge"] = json!({"mode": "viewer_rewrite"});
    vec![
        (plain.clone(), canary.clone(), "strategy.steps[0].weight"),
        (plain, linear(&json!({})), "strategy.step_weight"),
        (web(), canary.clone(), "strategy.steps[0].weight"),
        (web(), linear(&json!({"bake_seconds": 7})), "strategy.step_weight"),
        // Nothing of ours tells its cache whose answer it is.
        (cached, canary.clone(), "strategy.steps[0].weight"),
        (mixed.clone(), canary.clone(), "strategy.steps[0].weight"),
        (mixed.clone(), linear(&json!({})), "strategy.step_weight"),
        (
            mixed,
            with(&canary, &json!({"components": ["api"]})),
            "strategy.steps[0].weight",
        ),
        (
            shared(),
            with(&canary, &json!({"components": []})),
            "strategy.components",
        ),
        (
            shared(),
            with(&canary, &json!({"components": ["web", "nope"]})),
            "strategy.components[1]",
        ),
        (
            shared(),
            linear(&json!({"components": ["nope"]})),
            "strategy.components[0]",
        ),
    ]
}

#[tokio::test]
async fn what_the_roads_can_not_do_is_refused_with_a_nearest_that_they_can() {
    for (document, strategy, field) in impossible() {
        let app = without_workers().await;
        println!("{field}: {strategy}");
        app.put("/v1/apps/storefront", json!({})).await.expect(201);
        let put = app
            .put(ENVIRONMENT, with(&document, &json!({"strategy": strategy})))
            .await;
        let problem = put.expect_problem(422, "strategy_impossible");
        assert_eq!(fields(&problem), [field], "{problem}");
        app.get(ENVIRONMENT).await.expect_problem(404, "not_found");
        let nearest = problem["nearest"].clone();
        app.put(ENVIRONMENT, with(&document, &json!({"strategy": nearest})))
            .await
            .expect(201);

        // The same for one promotion, started or queued.
        app.put(ENVIRONMENT, document).await.expect(200);
        app.register("1.0.0").await;
        for more in [json!({}), json!({"dry_run": true}), json!({"on_conflict": "queue"})] {
            let body = with(&json!({"release": "1.0.0", "strategy": strategy}), &more);
            let problem = app
                .post(PROMOTIONS, body)
                .await
                .expect_problem(422, "strategy_impossible");
            assert_eq!(
                (fields(&problem), &problem["nearest"]),
                (vec![field], &nearest),
                "{more}"
            );
        }
        assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
    }
}

#[tokio::test]
async fn before_anything_is_active_there_is_no_share_to_give() {
    let app = TestApp::start().await;
    let hook = json!({"name": "warm", "when": "before_weight", "weight": 5, "url": "https://www.example.com/"});
    let strategy = canary(vec![step(5)]);
    app.set_up(
        with(&shared(), &json!({"strategy": strategy, "hooks": [hook]})),
        &["1.0.0", "1.1.0"],
    )
    .await;
    let problem = app.post(PROMOTIONS, json!({"release": "1.0.0"})).await;
    let problem = problem.expect_problem(422, "strategy_impossible");
    // What it names instead can be done: a hook of a weight that it does not stop at is called on the way.
    let body = json!({"release": "1.0.0", "strategy": problem["nearest"], "dry_run": true});
    let plan = app.post(PROMOTIONS, body).await.expect(200).json();
    let kinds: Vec<&str> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["preflight", "hook", "flip", "settle"]);
}
