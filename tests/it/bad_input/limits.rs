//! Limits: what is just within is taken, what is just over names its field.

use serde_json::{Value, json};

use super::{RELEASES, fields, release, without_workers};
use crate::support::{ENVIRONMENT, TestApp, web, web_with};

const STAGING: &str = "/v1/apps/storefront/environments/staging";

async fn register(app: &TestApp, version: &str, change: impl Fn(&mut Value)) -> crate::support::Answer {
    let mut body = release(version);
    change(&mut body);
    app.post(RELEASES, body).await
}

#[tokio::test]
async fn releases_have_limits() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    // `{"a":""}` is 8 bytes.
    let text = |bytes: usize| json!({"a": "x".repeat(bytes - 8)});
    let refused = async |version: &str, change: &dyn Fn(&mut Value), field: &str| {
        let problem = register(&app, version, change)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field]);
    };
    register(&app, "m-ok", |r| r["metadata"] = text(16 * 1024))
        .await
        .expect(201);
    refused("m-no", &|r| r["metadata"] = text(16 * 1024 + 1), "metadata").await;
    register(&app, "a-ok", |r| r["artifacts"]["web"] = text(4096))
        .await
        .expect(201);
    refused("a-no", &|r| r["artifacts"]["web"] = text(4097), "artifacts.web").await;
    refused(
        "u-no",
        &|r| r["artifacts"]["web"]["uri"] = json!("x".repeat(4096)),
        "artifacts.web",
    )
    .await;
    register(&app, "c-ok", |r| r["commit"] = json!("ä".repeat(200)))
        .await
        .expect(201);
    refused("c-no", &|r| r["commit"] = json!("ä".repeat(201)), "commit").await;
    let components = |count: usize| -> Value {
        let all = (0..count).map(|n| (format!("c{n}"), json!({})));
        Value::Object(all.collect())
    };
    register(&app, "20", |r| r["artifacts"] = components(20))
        .await
        .expect(201);
    refused("21", &|r| r["artifacts"] = components(21), "artifacts").await;
    register(&app, &"9".repeat(128), |_| ()).await.expect(201);
    refused(&"9".repeat(129), &|_| (), "version").await;
}

#[tokio::test]
async fn texts_have_limits() {
    let app = without_workers().await;
    let description = |length: usize| json!({"description": "ä".repeat(length)});
    app.put("/v1/apps/storefront", description(1000)).await.expect(201);
    let problem = app
        .put("/v1/apps/storefront", description(1001))
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(fields(&problem), ["description"]);
    app.put(&format!("/v1/apps/{}", "a".repeat(63)), json!({}))
        .await
        .expect(201);
    app.put(ENVIRONMENT, web()).await.expect(201);
    app.register("1.0.0").await;
    for path in ["promotions", "rollbacks"] {
        let path = format!("{ENVIRONMENT}/{path}");
        let mut body = json!({"reason": "ä".repeat(1001)});
        if path.ends_with("promotions") {
            body["release"] = json!("1.0.0");
        }
        let problem = app.post(&path, body).await.expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["reason"]);
    }
    let id = app
        .promote_with(json!({"release": "1.0.0", "reason": "ä".repeat(1000)}))
        .await;
    assert_eq!(app.job(&id).await["reason"].as_str().unwrap().chars().count(), 1000);
}

fn with_components(count: usize) -> Value {
    let component =
        |n| json!({"name": format!("c{n}"), "router": {"kind": "ssm_pointer", "parameter": format!("/limits/{n}")}});
    json!({"aws": {"region": "us-east-1"}, "components": (0..count).map(component).collect::<Vec<_>>()})
}

fn with_cdn(cdn: Value) -> Value {
    let mut document = web();
    document["components"][0]["cdn"] = cdn;
    document
}

fn with_paths(paths: &[String]) -> Value {
    with_cdn(json!({"distribution_id": "E1", "invalidate": {"mode": "paths", "paths": paths}}))
}

#[tokio::test]
async fn environments_have_limits() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let paths = |count: usize, end: &str| (0..count).map(|n| format!("/{n}{end}")).collect::<Vec<_>>();
    let long = |length: usize| vec![format!("/{}", "x".repeat(length - 1))];
    let regions = |count: usize| (0..count).map(|n| format!("us-east-{n}")).collect::<Vec<_>>();
    for good in [
        with_components(20),
        with_paths(&paths(3000, "")),
        with_paths(&paths(15, "*")),
        with_paths(&long(4000)),
        web_with(json!({"edge_ttl_seconds": 3600, "pin_seconds": 86400})),
        web_with(json!({"parameter": format!("/{}", "x".repeat(1010))})),
        web_with(json!({"parameter": "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15"})),
    ] {
        let answer = app.put(STAGING, good).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    let parameter = "components[0].router.parameter";
    let invalidated = "components[0].cdn.invalidate.paths";
    let mut cases: Vec<(Value, &str)> = vec![
        (with_components(0), "components"),
        (with_components(21), "components"),
        (with_paths(&[]), invalidated),
        (with_paths(&paths(3001, "")), invalidated),
        (with_paths(&paths(16, "*")), invalidated),
        (with_paths(&long(4001)), invalidated),
        (with_paths(&["/a".into(), "/a".into()]), invalidated),
        (
            web_with(json!({"edge_ttl_seconds": 3601})),
            "components[0].router.edge_ttl_seconds",
        ),
        (
            web_with(json!({"pin_seconds": 86401})),
            "components[0].router.pin_seconds",
        ),
        (
            web_with(json!({"regions": regions(21)})),
            "components[0].router.regions",
        ),
        (web_with(json!({"regions": [""]})), "components[0].router.regions"),
        (web_with(json!({"kvs_arn": "arn"})), "components[0].router.kvs_arn"),
        (web_with(json!({"kvs_key": ""})), "components[0].router.kvs_key"),
        (
            web_with(json!({"parameter": "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"})),
            parameter,
        ),
        (
            web_with(json!({"parameter": format!("/{}", "x".repeat(1011))})),
            parameter,
        ),
        (
            with_cdn(json!({"distribution_id": ""})),
            "components[0].cdn.distribution_id",
        ),
        (
            with_cdn(json!({"distribution_id": "e1"})),
            "components[0].cdn.distribution_id",
        ),
        (
            with_cdn(json!({"distribution_id": "../E1"})),
            "components[0].cdn.distribution_id",
        ),
        (
            with_cdn(json!({"distribution_id": "E".repeat(65)})),
            "components[0].cdn.distribution_id",
        ),
    ];
    for path in ["", "a", "*", "/*a", "/a b", "/ä", "/a\n", "//*/*"] {
        cases.push((with_paths(&[path.to_owned()]), invalidated));
    }
    for name in [
        "",
        "/",
        "//",
        "/a/",
        "a/b",
        "/a//b",
        "/a b",
        "/ä",
        "/{release}",
        "/aws/x",
        "ssm-x",
        "/a\n",
        "a:b",
    ] {
        cases.push((web_with(json!({"parameter": name})), parameter));
    }
    for timeout in [0, 86401] {
        let cdn = json!({"distribution_id": "E1", "invalidate": {"mode": "paths", "timeout_seconds": timeout}});
        cases.push((with_cdn(cdn), "components[0].cdn.invalidate.timeout_seconds"));
    }
    let mut with = |path: &[&str], value: Value, field: &'static str| {
        let mut document = web();
        let mut at = &mut document;
        for key in path {
            at = &mut at[*key];
        }
        *at = value;
        cases.push((document, field));
    };
    for region in ["", "us", "US-EAST-1", "us-east-1 ", "us-east-1/..", "us-east-1\u{e4}"] {
        with(&["aws", "region"], json!(region), "aws.region");
    }
    for arn in [
        "",
        "arn",
        "arn:aws:iam::1:role/x",
        "arn:aws:iam::111122223333:user/x",
        "arn:aws:iam::111122223333:role/",
    ] {
        with(&["aws", "role_arn"], json!(arn), "aws.role_arn");
    }
    with(&["aws", "external_id"], json!("abc"), "aws.external_id");
    with(&["checks"], json!([{"name": "smoke"}]), "checks[0].kind");
    with(&["checks"], json!({}), "checks");
    with(&["retention"], json!({"keep_releases": 0}), "retention.keep_releases");
    with(
        &["retention"],
        json!({"keep_releases": 1001}),
        "retention.keep_releases",
    );
    with(
        &["retention"],
        json!({"cleanup_after_seconds": 31_536_001}),
        "retention.cleanup_after_seconds",
    );
    with(&["retention"], json!({"keep_releases": -1}), "retention.keep_releases");
    with(
        &["retention"],
        json!({"keep_releases": 4_294_967_296_u64}),
        "retention.keep_releases",
    );
    with(&["strategy"], json!({"kind": "canary", "steps": []}), "strategy.steps");
    with(&["strategy"], json!({"kind": "teleport"}), "strategy.kind");
    let mut edge = |edge: Value, field: &'static str| {
        let mut document = web();
        document["components"][0]["edge"] = edge;
        cases.push((document, field));
    };
    edge(json!({"mode": "teleport"}), "components[0].edge.mode");
    edge(
        json!({"mode": "origin", "fallback": "x"}),
        "components[0].edge.fallback",
    );
    for url in [
        "",
        "ftp://a",
        "https://",
        "https:///a",
        "https://a b",
        "javascript:alert(1)",
    ] {
        edge(
            json!({"mode": "origin", "public_url": url}),
            "components[0].edge.public_url",
        );
    }
    let mut artifact = |bucket: &str, prefix: &str, field: &'static str| {
        let mut document = web();
        document["components"][0]["artifact"] = json!({"kind": "s3", "bucket": bucket, "prefix": prefix});
        cases.push((document, field));
    };
    for bucket in ["", "ab", "A-bucket", "a_b", "a/b"] {
        artifact(bucket, "{release}/", "components[0].artifact.bucket");
    }
    for prefix in [
        "",
        "{release}",
        "/{release}/",
        "a/{release}",
        "a{release}/",
        "{release}/{release}/",
    ] {
        artifact("abc", prefix, "components[0].artifact.prefix");
    }
    for (document, field) in cases {
        let text: String = document.to_string().chars().take(200).collect();
        println!("{field}: {text}");
        let problem = app
            .put(ENVIRONMENT, document)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field]);
    }
    app.get(ENVIRONMENT).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn every_mistake_is_told_at_once() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let mut document = web_with(json!({"parameter": "/a/", "edge_ttl_seconds": 9999}));
    document["aws"]["region"] = json!("nowhere");
    document["strategy"] = json!({"kind": "linear", "step_weight": 1, "interval_seconds": 1_000_000});
    document["checks"] = json!([{"name": "smoke", "kind": "http", "url": "nowhere", "attempts": 0}]);
    document["hooks"] = json!([{"name": "warm", "when": "before_weight", "url": "nowhere"}]);
    document["approvals"] = json!({"required": 0});
    let problem = app
        .put(ENVIRONMENT, document)
        .await
        .expect_problem(422, "validation_failed");
    for field in [
        "aws.region",
        "components[0].router.parameter",
        "components[0].router.edge_ttl_seconds",
        "strategy.step_weight",
        "strategy.interval_seconds",
        "checks[0].when",
        "checks[0].url",
        "checks[0].attempts",
        "hooks[0].weight",
        "hooks[0].url",
        "approvals.required",
    ] {
        assert!(fields(&problem).contains(&field), "{field}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(field),
            "{field}: {problem}"
        );
    }
}
