//! What is in the address: names, ids, methods, queries.

use axum::http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::{RELEASES, fields, release, without_workers};
use crate::support::{ENVIRONMENT, web};

const NO_JOB: &str = "/v1/jobs/0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a11";

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_named() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let nope = "/v1/apps/nope";
    let other = "/v1/apps/storefront/environments/other";
    let promotion = json!({"release": "1.0.0"});
    let cases: Vec<(Method, String, Option<Value>, &str)> = vec![
        (Method::GET, nope.into(), None, "application nope"),
        (Method::DELETE, nope.into(), None, "application nope"),
        (Method::GET, format!("{nope}/environments"), None, "application nope"),
        (Method::GET, format!("{nope}/releases"), None, "application nope"),
        (Method::GET, format!("{nope}/releases/1.0.0"), None, "nope"),
        (
            Method::POST,
            format!("{nope}/releases"),
            Some(release("1")),
            "application nope",
        ),
        (
            Method::PUT,
            format!("{nope}/environments/production"),
            Some(web()),
            "application nope",
        ),
        (
            Method::GET,
            format!("{nope}/environments/production"),
            None,
            "application nope",
        ),
        (Method::GET, other.into(), None, "environment storefront/other"),
        (Method::DELETE, other.into(), None, "environment storefront/other"),
        (
            Method::GET,
            format!("{other}/deployments"),
            None,
            "environment storefront/other",
        ),
        (
            Method::POST,
            format!("{other}/promotions"),
            Some(promotion),
            "environment storefront/other",
        ),
        (
            Method::POST,
            format!("{other}/rollbacks"),
            None,
            "environment storefront/other",
        ),
        (Method::GET, format!("{RELEASES}/9.9.9"), None, "9.9.9"),
        (
            Method::POST,
            format!("{ENVIRONMENT}/promotions"),
            Some(json!({"release": "9.9.9"})),
            "9.9.9",
        ),
        (
            Method::POST,
            format!("{ENVIRONMENT}/rollbacks"),
            Some(json!({"to": "9.9.9"})),
            "9.9.9",
        ),
        (Method::GET, NO_JOB.into(), None, "job 0197b3a4"),
        (Method::GET, format!("{NO_JOB}/events"), None, "job 0197b3a4"),
        (Method::POST, format!("{NO_JOB}/abort"), None, "job 0197b3a4"),
        (Method::POST, format!("{NO_JOB}/retry"), None, "job 0197b3a4"),
        (Method::POST, format!("{NO_JOB}/approve"), None, "job 0197b3a4"),
        (Method::POST, format!("{NO_JOB}/reject"), None, "job 0197b3a4"),
        (Method::POST, format!("{NO_JOB}/pause"), None, "job 0197b3a4"),
        (Method::POST, format!("{NO_JOB}/resume"), None, "job 0197b3a4"),
        (
            Method::POST,
            format!("{NO_JOB}/promote_fully"),
            Some(json!({"reason": "x"})),
            "job 0197b3a4",
        ),
        (
            Method::PUT,
            format!("{other}/lock"),
            Some(json!({"reason": "x"})),
            "environment storefront/other",
        ),
        (
            Method::DELETE,
            format!("{other}/lock"),
            None,
            "environment storefront/other",
        ),
        (
            Method::POST,
            format!("{other}/invalidations"),
            Some(json!({"paths": ["/*"]})),
            "environment storefront/other",
        ),
        (
            Method::PUT,
            format!("{RELEASES}/9.9.9/block"),
            Some(json!({"reason": "x"})),
            "9.9.9",
        ),
        (Method::DELETE, format!("{RELEASES}/9.9.9/block"), None, "9.9.9"),
        (Method::GET, "/v1/lock".into(), None, "no lock"),
        (Method::GET, "/v1/jobs/nonsense".into(), None, "job nonsense"),
        (Method::GET, "/v1/jobs/%00".into(), None, "job"),
        (Method::POST, "/v1/jobs/nonsense/abort".into(), None, "job nonsense"),
    ];
    for (method, path, body, words) in cases {
        println!("{method} {path}");
        let answer = app.send(app.request(method, &path, body.as_ref())).await;
        let problem = answer.expect_problem(404, "not_found");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
}

#[tokio::test]
async fn a_stream_of_an_unknown_job_is_a_problem_and_no_stream() {
    let app = without_workers().await;
    let mut request = app.request(Method::GET, &format!("{NO_JOB}/events"), None);
    request
        .headers_mut()
        .insert("accept", HeaderValue::from_static("text/event-stream"));
    app.send(request).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_path_segment_that_is_no_name_is_named() {
    let app = without_workers().await;
    let long = "a".repeat(64);
    let names = [
        "A",
        "a_b",
        "-a",
        "a.b",
        &long,
        "%00",
        "a%00",
        "..",
        "%2e%2e",
        "%2E",
        "%C3%A4",
        "a%20b",
        "a%2Fb",
        "a%0Ab",
        "%F0%9F%98%80",
        "%EF%BB%BFa",
        "%25",
    ];
    for name in names {
        println!("{name}");
        let problem = app
            .get(&format!("/v1/apps/{name}"))
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["app"]);
        let put = app.put(&format!("/v1/apps/{name}"), json!({})).await;
        put.expect_problem(422, "validation_failed");
        let path = format!("/v1/apps/storefront/environments/{name}");
        let problem = app.put(&path, web()).await.expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["env"]);
        let path = format!("{path}/promotions");
        let problem = app.post(&path, json!({"release": "1"})).await;
        assert_eq!(fields(&problem.expect_problem(422, "validation_failed")), ["env"]);
    }
    let problem = app
        .get("/v1/apps//environments")
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(fields(&problem), ["app"]);
    let long = "1".repeat(129);
    for version in [
        ".1", "%2B1", "1%2F2", "1%00", &long, "%2e%2e", "1%20", "%C3%A9", "-1", "1~2",
    ] {
        println!("{version}");
        let problem = app.get(&format!("{RELEASES}/{version}")).await;
        assert_eq!(fields(&problem.expect_problem(422, "validation_failed")), ["version"]);
    }
}

#[tokio::test]
async fn a_version_with_a_plus_is_found_encoded_and_bare() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0+build.7"]).await;
    for path in ["1.0.0+build.7", "1.0.0%2Bbuild.7", "1.0.0%2bbuild%2E7"] {
        let found = app.get(&format!("{RELEASES}/{path}")).await.expect(200).json();
        assert_eq!(found["version"], "1.0.0+build.7");
    }
}

#[tokio::test]
async fn a_path_that_is_no_utf8_is_malformed() {
    let app = without_workers().await;
    for path in [
        "/v1/apps/%ff",
        "/v1/apps/a%C3",
        "/v1/jobs/%ff",
        "/v1/apps/storefront/releases/%c0%80",
    ] {
        app.get(path).await.expect_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn an_unknown_address_is_not_found_with_or_without_a_token() {
    let app = without_workers().await;
    for path in [
        "/",
        "/v1",
        "/v2/apps",
        "/v1/nothing",
        "/v1/apps/",
        "/v1/apps/storefront/",
        "/v1/apps/storefront/environments/production/nothing",
        "/v1/jobs/x/y/z",
        "/V1/apps",
        "//v1/apps",
        "/v1/apps/storefront/environments/production/../staging",
    ] {
        app.get(path).await.expect_problem(404, "not_found");
        let mut bare = app.request(Method::GET, path, None);
        bare.headers_mut().clear();
        app.send(bare).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_ones_that_are_allowed() {
    let app = without_workers().await;
    let all = [
        "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE",
    ];
    for (path, allowed) in [
        ("/v1/apps", "GET,HEAD"),
        ("/v1/apps/storefront", "DELETE,GET,HEAD,PUT"),
        ("/v1/apps/storefront/environments", "GET,HEAD"),
        (ENVIRONMENT, "DELETE,GET,HEAD,PUT"),
        ("/v1/apps/storefront/environments/production/deployments", "GET,HEAD"),
        ("/v1/apps/storefront/environments/production/promotions", "POST"),
        ("/v1/apps/storefront/environments/production/rollbacks", "POST"),
        (RELEASES, "GET,HEAD,POST"),
        ("/v1/apps/storefront/releases/1.0.0", "GET,HEAD"),
        ("/v1/jobs", "GET,HEAD"),
        (NO_JOB, "GET,HEAD"),
        ("/v1/jobs/x/events", "GET,HEAD"),
        ("/v1/jobs/x/abort", "POST"),
        ("/v1/jobs/x/retry", "POST"),
        ("/v1/jobs/x/approve", "POST"),
        ("/v1/jobs/x/reject", "POST"),
        ("/v1/jobs/x/pause", "POST"),
        ("/v1/jobs/x/resume", "POST"),
        ("/v1/jobs/x/promote_fully", "POST"),
        ("/v1/jobs/x/callback", "POST"),
        ("/v1/lock", "DELETE,GET,HEAD,PUT"),
        ("/v1/apps/storefront/environments/production/lock", "DELETE,PUT"),
        ("/v1/apps/storefront/environments/production/invalidations", "POST"),
        ("/v1/apps/storefront/releases/1.0.0/block", "DELETE,PUT"),
        ("/healthz", "GET,HEAD"),
        ("/readyz", "GET,HEAD"),
        ("/openapi.json", "GET,HEAD"),
    ] {
        for method in all
            .iter()
            .filter(|method| !allowed.split(',').any(|one| one == **method))
        {
            println!("{method} {path}");
            let (method_name, method) = (*method, Method::from_bytes(method.as_bytes()).unwrap());
            let answer = app.send(app.request(method, path, None)).await;
            let mut named: Vec<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            named.sort_unstable();
            assert_eq!(named.join(","), allowed);
            // The answer to a HEAD has no body.
            if method_name == "HEAD" {
                answer.expect(405);
            } else {
                answer.expect_problem(405, "method_not_allowed");
            }
        }
    }
}

#[tokio::test]
async fn every_wrong_query_parameter_is_named() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.0.1"]).await;
    let job = app.promote("1.0.0").await;
    let cursor = app.get(&format!("{RELEASES}?limit=1")).await.expect(200).json()["next_cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let jobs = format!("/v1/jobs/{job}");
    let lists = [
        "/v1/apps".to_owned(),
        "/v1/apps/storefront/environments".to_owned(),
        format!("{ENVIRONMENT}/deployments"),
        RELEASES.to_owned(),
        "/v1/jobs".to_owned(),
        format!("{jobs}/events"),
    ];
    let mut cases: Vec<(String, Vec<&str>)> = Vec::new();
    for list in &lists {
        for limit in [
            "0",
            "201",
            "-1",
            "x",
            "",
            "1.5",
            "1e1",
            "99999999999999999999",
            "%00",
            "+%31x",
        ] {
            cases.push((format!("{list}?limit={limit}"), vec!["limit"]));
        }
        for cursor in ["", "x", "%00", "e30", "bnVsbA", "W10", "eyJuIjoiMSJ9"] {
            cases.push((format!("{list}?cursor={cursor}"), vec!["cursor"]));
        }
        if list != RELEASES {
            cases.push((format!("{list}?cursor={cursor}"), vec!["cursor"]));
        }
        cases.push((format!("{list}?limit=1&limit=1"), vec!["limit"]));
        cases.push((format!("{list}?page=2"), vec!["page"]));
        cases.push((format!("{list}?limit=0&x%C3%A4=1"), vec!["limit", "xä"]));
    }
    for (query, names) in [
        ("state=done", vec!["state"]),
        ("state=", vec!["state"]),
        ("state=Running", vec!["state"]),
        ("kind=deploy", vec!["kind"]),
        ("kind=purge", vec!["kind"]),
        ("app=A", vec!["app"]),
        ("app=%00", vec!["app"]),
        ("environment=a_b", vec!["environment"]),
        ("env=production", vec!["env"]),
        ("state=running&state=queued", vec!["state"]),
    ] {
        cases.push((format!("/v1/jobs?{query}"), names));
    }
    for wait in ["61", "-1", "x", "", "1.5", "30s", "4294967296"] {
        cases.push((format!("{jobs}?wait={wait}"), vec!["wait"]));
    }
    cases.push((format!("{jobs}?waits=1"), vec!["waits"]));
    cases.push((format!("{jobs}?wait=61&until=done"), vec!["wait", "until"]));
    for after in ["-1", "x", "", "9223372036854775808"] {
        cases.push((format!("{jobs}/events?after={after}"), vec!["after"]));
    }
    cases.push((format!("{jobs}/events?after=1&cursor=eyJuIjoxfQ"), vec!["after"]));
    for (path, names) in cases {
        println!("{path}");
        let problem = app.get(&path).await.expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), names);
    }
    for path in ["/v1/jobs?app=%ff", "/v1/apps?%c3%28=1"] {
        app.get(path).await.expect_problem(400, "malformed_request");
    }
    // A cursor with a number that no row has is still one.
    app.get("/v1/jobs?cursor=eyJuIjotOTIyMzM3MjAzNjg1NDc3NTgwOH0")
        .await
        .expect(200);
}

#[tokio::test]
async fn a_last_event_id_that_is_none_is_refused() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote("1.0.0").await;
    for id in ["", "x", "-1", "1.5", "9223372036854775808", "0x1", "\u{e4}"] {
        println!("{id}");
        let mut request = app.request(Method::GET, &format!("/v1/jobs/{job}/events"), None);
        let headers = request.headers_mut();
        headers.insert("accept", HeaderValue::from_static("text/event-stream"));
        headers.insert("last-event-id", HeaderValue::from_bytes(id.as_bytes()).unwrap());
        app.send(request).await.expect_problem(400, "malformed_request");
    }
}
