//! Functions that fail, lie or forget: what the viewer gets then.

use greenlight::sandbox::edge::{EdgeError, FunctionError, FunctionSources, Routing};

use super::stage::{KEY, SUBRESOURCE, Stage};

const REWRITE: &str = "function handler(event) {
    event.request.uri = '/releases/1.42.0' + event.request.uri;
    return event.request;
}";
const LEAVE: &str = "function handler(event) { return event.response; }";

async fn stage(viewer_request: &'static str, viewer_response: &'static str) -> Stage {
    Stage::with(|options| {
        options.functions = FunctionSources {
            viewer_request: viewer_request.into(),
            viewer_response: viewer_response.into(),
            ..FunctionSources::default()
        };
    })
    .await
}

#[tokio::test]
async fn a_function_that_fails_is_a_503_and_the_next_request_is_fine() {
    let request = "async function handler(event) {
        const request = event.request;
        switch (request.uri) {
            case '/throws': throw new Error('secret');
            case '/rejects': return Promise.reject('secret');
            case '/loops': for (;;) {}
            case '/hungry': { const all = []; for (;;) { all.push('x'.repeat(1000) + all.length); } }
            case '/nothing': return undefined;
            case '/null': return null;
            case '/text': return 'text';
            case '/empty': return {};
            case '/never': return new Promise(() => {});
            case '/relative': request.uri = 'relative'; return request;
            case '/status': return { statusCode: 'OK' };
            case '/split': return { statusCode: 302, headers: { location: { value: 'x\\r\\nset-cookie: a=b' } } };
            case '/cycle': request.self = request; return request;
        }
        request.uri = '/releases/1.42.0' + request.uri;
        return request;
    }";
    let stage = stage(request, LEAVE).await;
    let failing = [
        "/throws",
        "/rejects",
        "/loops",
        "/hungry",
        "/nothing",
        "/null",
        "/text",
        "/empty",
        "/never",
        "/relative",
        "/status",
        "/split",
        "/cycle",
    ];
    for path in failing {
        let failed = stage.get(path, &[]).await;
        assert_eq!(
            (failed.status, failed.x_cache()),
            (503, "Error from cloudfront"),
            "{path}"
        );
        assert!(!failed.text().contains("secret"), "a function's words are for the log");
        let fine = stage.get("/app.js", &[]).await;
        assert_eq!(
            (fine.status, fine.text()),
            (200, "app.js of 1.42.0".to_owned()),
            "after {path}"
        );
    }
    assert_eq!(stage.edge.counters().function_errors, failing.len() as u64);
    assert_eq!(stage.edge.counters().server_errors(), failing.len() as u64);
}

#[tokio::test]
async fn headers_that_are_not_its_own_are_a_502() {
    for touch in [
        "function handler(event) { event.request.headers.host = { value: 'other' }; return event.request; }",
        "function handler(event) { delete event.request.headers.host; return event.request; }",
        "function handler(event) { event.request.headers['x-edge-own'] = { value: '1' }; return event.request; }",
        "function handler() { return { statusCode: 200, headers: { connection: { value: 'close' } } }; }",
    ] {
        assert_eq!(
            stage(touch, LEAVE).await.get("/app.js", &[]).await.status,
            502,
            "{touch}"
        );
    }
}

#[tokio::test]
async fn a_handler_that_is_missing_is_a_503_and_one_that_is_no_javascript_starts_no_edge() {
    let stage = stage("const handle = 1;", LEAVE).await;
    assert_eq!(stage.get("/app.js", &[]).await.status, 503);
    let options = stage_options("function handler( {").await;
    assert!(
        matches!(options, EdgeError::Function(FunctionError::Unloadable(_))),
        "{options:?}"
    );
}

async fn stage_options(viewer_request: &'static str) -> EdgeError {
    use greenlight::sandbox::edge::{DistributionInvalidations, EdgeOptions, FunctionConfig, LocalEdge, Parameter};
    let double = crate::double::support::double().await;
    let config = FunctionConfig {
        prefix: String::new(),
        fallback: greenlight::domain::environment::Fallback::None,
        key: KEY.to_owned(),
    };
    let mut options = EdgeOptions::new(
        config,
        double.clock().clone(),
        std::sync::Arc::new(greenlight::sandbox::edge::Bucket::new(|_| None)),
        std::sync::Arc::new(Parameter::new(&double, "us-east-1", KEY)),
        std::sync::Arc::new(DistributionInvalidations::new(&double, "E2EXAMPLE")),
    );
    options.functions.viewer_request = viewer_request.into();
    LocalEdge::start(options).await.unwrap_err()
}

#[tokio::test]
async fn viewer_response_runs_for_good_answers_of_the_origin_alone() {
    let request = "function handler(event) {
        if (event.request.uri === '/own') {
            return { statusCode: 200, statusDescription: 'OK', headers: { 'x-own': { value: '1' } }, body: 'own' };
        }
        event.request.uri = '/releases/1.42.0' + event.request.uri;
        event.request.headers['x-handed-over'] = { value: event.request.headers.host.value };
        return event.request;
    }";
    let response = "function handler(event) {
        const response = event.response;
        response.headers['x-seen'] = { value: event.request.uri + ' ' + event.request.headers['x-handed-over'].value
            + ' ' + response.statusCode };
        response.cookies = { a: { value: '1', attributes: 'Path=/' }, b: { value: '2' } };
        return response;
    }";
    let stage = stage(request, response).await;
    let own = stage.get("/own", &[]).await;
    assert_eq!((own.status, own.text().as_str()), (200, "own"));
    assert_eq!((own.header("x-own"), own.header("x-seen")), (Some("1"), None));
    assert_eq!(own.x_cache(), "FunctionGeneratedResponse from cloudfront");
    for _ in 0..2 {
        let good = stage.get("/app.js", &[]).await;
        assert_eq!(
            good.header("x-seen"),
            Some("/releases/1.42.0/app.js www.example.com 200")
        );
        assert_eq!(good.cookies(), ["a=1; Path=/", "b=2"]);
    }
    let missing = stage.get("/missing.js", &[]).await;
    assert_eq!((missing.status, missing.header("x-seen")), (404, None));
}

#[tokio::test]
async fn viewer_response_can_change_status_and_body() {
    let response = "function handler(event) {
        event.response.statusCode = 201;
        event.response.body = { encoding: 'text', data: 'other' };
        return event.response;
    }";
    let stage = stage(REWRITE, response).await;
    for _ in 0..2 {
        let answer = stage.get("/app.js", &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (201, "other"));
        assert_eq!(answer.header("content-length"), Some("5"));
    }
    let failing = self::stage(REWRITE, "function handler() { throw new Error() }").await;
    assert_eq!(failing.get("/app.js", &[]).await.status, 503);
}

#[tokio::test]
async fn nothing_is_kept_between_two_requests() {
    let request = "let calls = 0;
        function handler() {
            calls += 1;
            globalThis.calls = (globalThis.calls || 0) + 1;
            return { statusCode: 200, body: calls + ' ' + globalThis.calls };
        }";
    let stage = stage(request, LEAVE).await;
    for _ in 0..8 {
        assert_eq!(stage.get("/", &[]).await.text(), "1 1");
    }
}

#[tokio::test]
async fn a_store_out_of_reach_is_for_the_function_to_answer() {
    let request = "import cf from 'cloudfront';
        async function handler() {
            let told = '';
            try { told = await cf.kvs().get('key'); } catch (error) { told = error.message; }
            return { statusCode: 200, body: told };
        }";
    let stage = Stage::with(|options| {
        options.pointer = std::sync::Arc::new(greenlight::sandbox::edge::Store::new(|| {
            Err(greenlight::sandbox::edge::StoreError("no permission".to_owned()))
        }));
        options.functions.viewer_request = request.into();
    })
    .await;
    assert_eq!(stage.get("/", &[]).await.text(), "the key value store can't be read");
    assert_eq!(stage.edge.pointer_at(0), None);
}

#[tokio::test]
async fn origin_request_that_fails_is_a_503_that_nobody_keeps() {
    let source = "export async function handler(event) {
        const request = event.Records[0].cf.request;
        if (request.uri === '/throws') { throw new Error('secret'); }
        if (request.uri === '/own') { return { status: '403', headers: {}, body: 'own' }; }
        request.uri = '/releases/1.42.0' + request.uri;
        return request;
    }";
    let stage = Stage::with(|options| {
        options.routing = Routing::Origin;
        options.functions.origin_request = source.into();
    })
    .await;
    for _ in 0..2 {
        assert_eq!(stage.get("/throws", &[]).await.status, 503);
        let own = stage.get("/own", &[SUBRESOURCE]).await;
        assert_eq!((own.status, own.text().as_str()), (403, "own"));
        assert_eq!(own.x_cache(), "LambdaGeneratedResponse from cloudfront");
    }
    assert_eq!(stage.get("/app.js", &[]).await.status, 200);
    assert_eq!(stage.edge.counters().hits, 0);
}
