// Nonsense: whatever an event holds, a function gives back a request or an answer of the right shape.
//
// A function that throws is CloudFront's own error page for a visitor. The events are random but the same in
// every run; a failure names the number of the event that caused it.

import assert from 'node:assert/strict';
import test from 'node:test';

import { createClock, createSsm, KEY, lambdaHandler, PARAMETER, plain, SECRET } from './support/edges.mjs';
import { createStore, loadFunction } from './support/function-host.mjs';
import { createRandom, functionNonsense, lambdaNonsense, pointerText } from './support/nonsense.mjs';

const EVENTS = 6000;
const DECISION = 'x-greenlight-decision';

function checkFunctionResponse(response) {
  assert.ok([302, 400, 403, 503].includes(response.statusCode), String(response.statusCode));
  for (const [name, entry] of Object.entries(response.headers)) {
    assert.match(name, /^[a-z-]+$/);
    assert.match(entry.value, /^[\x20-\x7e]+$/);
  }
  assert.equal(response.headers['cache-control'].value, 'no-store');
  assert.ok(response.statusCode !== 302 || /^\/(?!\/)/.test(response.headers.location.value));
  for (const [name, cookie] of Object.entries(response.cookies)) {
    assert.equal(name, 'greenlight-preview');
    assert.match(cookie.value, /^[A-Za-z0-9._+~-]*$/);
    assert.match(cookie.attributes, /^Path=\/; Max-Age=\d+; Secure; HttpOnly; SameSite=Lax$/);
  }
}

const RELEASE_PATH = /^\/releases\/(1\.42\.0|1\.41\.3|1\.43\.0%2Bx|1\.44\.0)\//;

function checkRequest(uri, decision) {
  assert.match(uri, RELEASE_PATH);
  assert.ok(
    !decodeURIComponent(uri)
      .split('/')
      .some((segment) => segment === '..' || segment === '.'),
    uri
  );
  assert.match(decision, /^[\x20-\x7e]+$/);
  assert.ok(['1.42.0', '1.41.3', '1.43.0+x', '1.44.0'].includes(JSON.parse(decision).r));
}

test('CloudFront Functions: nothing in an event makes them throw or answer with nonsense', async () => {
  const kinds = { answers: 0, requests: 0 };
  let store = null;
  const { handler } = loadFunction('cloudfront-function/viewer-request.js', {
    store: { get: (key, options) => store.get(key, options) },
    now: createClock().now
  });
  for (let number = 0; number < EVENTS; number += 1) {
    const random = createRandom(number);
    store = createStore({ [KEY]: pointerText(random), [KEY + '.preview-key']: random.pick([SECRET, SECRET, '', 'x']) });
    if (random.often(0.05)) {
      store.values.clear();
    }
    const event = functionNonsense(random);
    try {
      const result = await handler(event);
      if (result.statusCode) {
        kinds.answers += 1;
        checkFunctionResponse(plain(result));
      } else {
        kinds.requests += 1;
        assert.equal(result, event.request);
        checkRequest(result.uri, result.headers[DECISION].value);
      }
    } catch (error) {
      error.message = 'event ' + number + ': ' + error.message;
      throw error;
    }
  }
  assert.ok(kinds.answers > EVENTS / 10 && kinds.requests > EVENTS / 10, JSON.stringify(kinds));
});

test('CloudFront Functions: viewer-response always gives the answer back, with whole headers', () => {
  const { handler } = loadFunction('cloudfront-function/viewer-response.js');
  for (let number = 0; number < EVENTS; number += 1) {
    const random = createRandom(number + 1e6);
    const event = functionNonsense(random);
    const status = event.response.statusCode;
    const response = handler(event);
    assert.equal(response, event.response, 'event ' + number);
    assert.equal(response.statusCode, status);
    const marks = plain(response);
    if (marks.headers['cache-control']?.value === 'no-cache') {
      assert.ok(status < 400);
    }
    for (const cookie of Object.values(marks.cookies || {})) {
      assert.match(cookie.attributes, /^Path=\/; Max-Age=\d+; Secure; HttpOnly; SameSite=Lax$/, 'event ' + number);
    }
  }
});

function checkLambdaResponse(response) {
  assert.ok(['302', '400', '403', '503'].includes(response.status), String(response.status));
  assert.equal(typeof response.statusDescription, 'string');
  assert.equal(typeof response.body, 'string');
  assert.equal(response.headers['cache-control'][0].value, 'no-store');
  for (const list of Object.values(response.headers)) {
    assert.ok(list.length > 0);
    assert.ok(list.every(({ value: one }) => /^[\x20-\x7e]+$/.test(one)));
  }
}

for (const kind of ['viewer-request', 'origin-request']) {
  test('Lambda@Edge: nothing in an event makes ' + kind + ' throw or answer with nonsense', async () => {
    const kinds = { answers: 0, requests: 0 };
    for (let number = 0; number < EVENTS; number += 1) {
      const random = createRandom(number + 2e6);
      const ssm = createSsm({
        [PARAMETER]: pointerText(random),
        [PARAMETER + '.preview-key']: random.pick([SECRET, 'x'])
      });
      const handler = lambdaHandler(kind, { ssm, clock: createClock() });
      try {
        const result = await handler(lambdaNonsense(random));
        if (result.status) {
          kinds.answers += 1;
          checkLambdaResponse(plain(result));
        } else {
          kinds.requests += 1;
          checkRequest(
            result.uri,
            kind === 'viewer-request' ? result.headers[DECISION][0].value : '{"r":"1.42.0","c":[]}'
          );
        }
      } catch (error) {
        error.message = 'event ' + number + ': ' + error.message;
        throw error;
      }
    }
    assert.ok(kinds.answers > EVENTS / 10 && kinds.requests > EVENTS / 10, JSON.stringify(kinds));
  });
}
