// The hand-over: what viewer-request decided is all that viewer-response tells a browser.

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  createFunctionEdge,
  createLambdaEdge,
  functionEvent,
  lambdaEvent,
  onEachEdge,
  plain,
  pointer
} from './support/edges.mjs';
import { NAVIGATE, SUBRESOURCE } from './support/browser.mjs';
import { loadFunction } from './support/function-host.mjs';

const DECISION = 'x-greenlight-decision';
const FORGED = '{"r":"6.6.6","c":[["greenlight-pin","6.6.6~99",9999]],"p":true}';

// What a browser gets if viewer-response finds `text` as the decision.
async function marked(edge, text, { path = '/releases/1.42.0/index.html', ...answer } = {}) {
  const forwarded = await edge.request({ headers: NAVIGATE });
  const isFunction = !Array.isArray(forwarded.sent.headers.host);
  forwarded.sent.uri = path;
  delete forwarded.sent.headers[DECISION];
  if (text !== null) {
    forwarded.sent.headers[DECISION] = isFunction ? { value: text } : [{ key: DECISION, value: text }];
  }
  return edge.response(forwarded, answer);
}

onEachEdge(test, 'a forged decision never survives viewer-request', async (createEdge) => {
  const edge = createEdge();
  for (const headers of [NAVIGATE, SUBRESOURCE, {}]) {
    const forwarded = await edge.request({ headers: { ...headers, [DECISION]: FORGED } });
    assert.equal(JSON.parse(forwarded.headers[DECISION]).r, '1.42.0');
    const answer = await edge.response(forwarded);
    assert.equal(answer.headers['x-greenlight-release'], '1.42.0');
    assert.ok(!JSON.stringify(answer).includes('6.6.6'));
  }
});

test('CloudFront Function: a forged decision that is sent twice goes as a whole', async () => {
  const edge = createFunctionEdge();
  const viewerRequest = loadFunction('cloudfront-function/viewer-request.js', { store: edge.store });
  const event = functionEvent(
    { method: 'GET', path: '/', query: '', headers: {}, cookies: {}, requestId: 'x' },
    'viewer-request'
  );
  event.request.headers[DECISION] = { value: FORGED, multiValue: [{ value: FORGED }, { value: FORGED }] };
  const request = plain(await viewerRequest.handler(event));
  assert.deepEqual(Object.keys(request.headers[DECISION]), ['value']);
});

test('Lambda@Edge: a forged decision that is sent twice goes as a whole', async () => {
  const edge = createLambdaEdge();
  const { createHandler } = await import('../dist/lambda/viewer-request/index.mjs');
  const services = { read: edge.ssm.read, now: edge.clock.now, after: edge.clock.after, warn: () => {} };
  const config = {
    prefix: '',
    fallback: 'none',
    parameter: '/storefront/production/release',
    regions: ['us-east-1'],
    edge_ttl_seconds: 5
  };
  const event = lambdaEvent(
    { method: 'GET', path: '/', query: '', headers: {}, cookies: {}, requestId: 'x' },
    'viewer-request'
  );
  const { request } = event.Records[0].cf;
  request.headers[DECISION] = [
    { key: DECISION, value: FORGED },
    { key: 'X-Greenlight-Decision', value: FORGED }
  ];
  const forwarded = await createHandler(config, services)(event);
  assert.equal(forwarded.headers[DECISION].length, 1);
  assert.ok(!forwarded.headers[DECISION][0].value.includes('6.6.6'));
});

onEachEdge(test, 'viewer-response sets release, cookies and caching from the decision', async (createEdge) => {
  const answer = await marked(
    createEdge(),
    '{"r":"1.43.0+x","c":[["greenlight-pin","1.43.0+x~7",1800],["greenlight-preview","",0]]}'
  );
  assert.deepEqual(answer.headers, { 'x-greenlight-release': '1.43.0+x', 'cache-control': 'no-cache' });
  assert.deepEqual(answer.cookies, {
    'greenlight-pin': {
      value: '1.43.0+x~7',
      attributes: ['Path=/', 'Max-Age=1800', 'Secure', 'HttpOnly', 'SameSite=Lax']
    },
    'greenlight-preview': { value: '', attributes: ['Path=/', 'Max-Age=0', 'Secure', 'HttpOnly', 'SameSite=Lax'] }
  });
  assert.equal(answer.status, 200);
});

onEachEdge(test, 'cookies and headers of the origin stay, its word on the release does not', async (createEdge) => {
  const origin = {
    headers: {
      etag: '"1"',
      'cache-control': 'max-age=60',
      'x-greenlight-release': 'a lie',
      'x-robots-tag': 'nofollow'
    },
    cookies: { session: '1' }
  };
  const told = await marked(createEdge(), '{"r":"1.42.0","c":[["greenlight-pin","1.42.0~7",1800]]}', origin);
  assert.deepEqual(told.headers, {
    etag: '"1"',
    'cache-control': 'no-cache',
    'x-greenlight-release': '1.42.0',
    'x-robots-tag': 'nofollow'
  });
  assert.deepEqual(Object.keys(told.cookies).sort(), ['greenlight-pin', 'session']);

  const untold = await marked(createEdge(), null, origin);
  assert.deepEqual(untold.headers, { etag: '"1"', 'cache-control': 'no-cache', 'x-robots-tag': 'nofollow' });
  assert.deepEqual(Object.keys(untold.cookies), ['session']);
});

onEachEdge(test, 'a decision that can not be read sets nothing', async (createEdge) => {
  const edge = createEdge();
  const unreadable = [
    '',
    ' ',
    'null',
    '7',
    '"x"',
    '[]',
    '{}',
    '{',
    FORGED.slice(1),
    '{"r":"1.42.0"}',
    '{"r":"1.42.0","c":{}}',
    '{"r":"1.42.0","c":"x"}',
    '{"r":"../x","c":[]}',
    '{"r":"a\\r\\nset-cookie: x=1","c":[]}',
    '{"r":"1.42.0\\n","c":[]}',
    '{"r":["1.42.0"],"c":[]}',
    '{"c":[]}',
    '{"r":"1.42.0","c":[null]}',
    '{"r":"1.42.0","c":[["session","x",1]]}',
    '{"r":"1.42.0","c":[["__proto__","x",1]]}',
    '{"r":"1.42.0","c":[["greenlight-pin","x; Domain=example.com",1]]}',
    '{"r":"1.42.0","c":[["greenlight-pin","x\\n",1]]}',
    '{"r":"1.42.0","c":[["greenlight-pin","x","1"]]}',
    '{"r":"1.42.0","c":[["greenlight-pin","x",-1]]}',
    '{"r":"1.42.0","c":[["greenlight-pin","x",0.5]]}',
    '{"r":"1.42.0","c":[["greenlight-pin",7,1]]}',
    '{"r":"1.42.0","c":[["greenlight-pin"]]}',
    '{"r":"1.42.0","c":[["greenlight-pin","' + 'x'.repeat(513) + '",1]]}'
  ];
  for (const text of unreadable) {
    const answer = await marked(edge, text, { headers: { 'x-greenlight-release': 'a lie' } });
    assert.deepEqual(answer.headers, { 'cache-control': 'no-cache' }, text);
    assert.deepEqual(answer.cookies, {}, text);
  }
});

onEachEdge(test, 'what may be kept by a browser is told by the file name', async (createEdge) => {
  const edge = createEdge();
  const decision = '{"r":"1.42.0","c":[]}';
  const caching = async (path, more = {}) => {
    const answer = await marked(edge, decision, {
      path,
      headers: { 'cache-control': 'public, max-age=31536000, immutable' },
      ...more
    });
    return answer.headers['cache-control'];
  };
  const immutable = 'public, max-age=31536000, immutable';
  assert.equal(await caching('/releases/1.42.0/assets/index-BcD3_x1Z.js'), immutable);
  assert.equal(await caching('/releases/1.42.0/assets/index-BcD3_x1Z.js', { status: 304 }), immutable);
  assert.equal(await caching('/releases/1.42.0/index.html'), 'no-cache');
  assert.equal(await caching('/releases/1.42.0/index.html', { status: 206 }), 'no-cache');
  assert.equal(await caching('/releases/1.42.0/index.html', { status: 304 }), 'no-cache');
  assert.equal(await caching('/releases/1.42.0/index.html', { status: 404 }), immutable, 'an error keeps what it says');
  assert.equal(await caching('/releases/1.42.0/sw.js'), 'no-cache');
});

onEachEdge(test, 'a hashed file without a word of the origin stays without one', async (createEdge) => {
  const answer = await marked(createEdge(), '{"r":"1.42.0","c":[]}', { path: '/releases/1.42.0/app.3f2a9c1b.js' });
  assert.equal(answer.headers['cache-control'], undefined);
});

onEachEdge(test, 'a preview is told to search engines and caches', async (createEdge) => {
  const answer = await marked(createEdge(), '{"r":"1.44.0","c":[],"p":true}', {
    path: '/releases/1.44.0/app.3f2a9c1b.js',
    headers: { 'cache-control': 'max-age=31536000' }
  });
  assert.deepEqual(answer.headers, {
    'x-greenlight-release': '1.44.0',
    'x-robots-tag': 'noindex',
    'cache-control': 'no-cache'
  });
});

onEachEdge(test, 'a subresource gets no cookie, whatever the cache holds', async (createEdge) => {
  const edge = createEdge({ text: pointer({ candidate: '1.43.0', weight: 50 }) });
  const answer = await edge.response(await edge.request({ path: '/app.js', headers: SUBRESOURCE }));
  assert.deepEqual(answer.cookies, {});
});

test('viewer-response gives an answer back whatever it is handed', async () => {
  const { handler } = loadFunction('cloudfront-function/viewer-response.js');
  const lambda = await import('../dist/lambda/viewer-response/index.mjs');
  const response = { statusCode: 200, status: '200' };
  assert.equal(handler({ request: {}, response }), response);
  assert.equal(await lambda.handler({ Records: [{ cf: { request: {}, response } }] }), response);
});
