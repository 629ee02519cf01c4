// Which release a request gets, and which cookies: navigations, subresources, pins, shares, newcomers.

import assert from 'node:assert/strict';
import test from 'node:test';

import { onEachEdge, pointer } from './support/edges.mjs';
import { createBrowser, NAVIGATE, SUBRESOURCE } from './support/browser.mjs';

const CANDIDATE = { candidate: '1.43.0', weight: 50 };
const ATTRIBUTES = ['Secure', 'HttpOnly', 'SameSite=Lax', 'Path=/'];

function decisionOf(forwarded) {
  return JSON.parse(forwarded.headers['x-greenlight-decision']);
}

function releaseOf(forwarded) {
  return decisionOf(forwarded).r;
}

async function releaseFor(edge, asked) {
  return releaseOf(await edge.request(asked));
}

onEachEdge(test, 'a navigation gets the active release and a pin', async (createEdge) => {
  const forwarded = await createEdge().request({ path: '/app.html', headers: NAVIGATE });
  assert.equal(forwarded.uri, '/releases/1.42.0/app.html');
  assert.deepEqual(decisionOf(forwarded), { r: '1.42.0', c: [['greenlight-pin', '1.42.0~7', 1800]] });
});

onEachEdge(test, 'the pin cookie is for this site alone, and for as long as the pointer says', async (createEdge) => {
  const answer = await createBrowser(createEdge()).open('/');
  const pin = answer.cookies['greenlight-pin'];
  assert.equal(pin.value, '1.42.0~7');
  assert.deepEqual([...pin.attributes].sort(), ['Max-Age=1800', ...ATTRIBUTES].sort());
});

onEachEdge(test, 'HEAD of a page is a navigation too, POST is not', async (createEdge) => {
  const edge = createEdge();
  assert.equal(decisionOf(await edge.request({ method: 'HEAD', headers: NAVIGATE })).c.length, 1);
  assert.deepEqual(decisionOf(await edge.request({ method: 'POST', headers: NAVIGATE })).c, []);
});

onEachEdge(test, 'without Sec-Fetch-Mode, Accept tells a navigation', async (createEdge) => {
  const edge = createEdge();
  const html = { accept: 'application/xhtml+xml,text/html;q=0.9' };
  assert.equal(decisionOf(await edge.request({ headers: html })).c.length, 1);
  assert.deepEqual(decisionOf(await edge.request({ headers: { accept: '*/*' } })).c, []);
  assert.deepEqual(decisionOf(await edge.request({ headers: {} })).c, []);
  const fetched = { 'sec-fetch-mode': 'cors', accept: 'text/html' };
  assert.deepEqual(decisionOf(await edge.request({ headers: fetched })).c, [], 'fetch() of a page is no navigation');
});

onEachEdge(test, 'a subresource follows a pin that is current, and sets none', async (createEdge) => {
  const edge = createEdge({ text: pointer(CANDIDATE) });
  for (const release of ['1.42.0', '1.41.3', '1.43.0']) {
    const forwarded = await edge.request({
      path: '/app.js',
      headers: SUBRESOURCE,
      cookies: { 'greenlight-pin': release + '~7' }
    });
    assert.deepEqual(decisionOf(forwarded), { r: release, c: [] });
  }
});

onEachEdge(
  test,
  'a pin of an older epoch, an unknown release or a strange form is not followed',
  async (createEdge) => {
    const edge = createEdge();
    const bad = [
      '1.41.3~6',
      '9.9.9~7',
      '1.41.3',
      '1.41.3~',
      '~7',
      '1.41.3~7~7',
      '1.41.3~07',
      '1.41.3~-7',
      '1.41.3~7.5',
      '1.41.3~1e9',
      '1.41.3 ~7',
      '1.41.3~ 7',
      '1.41.3~7%0a',
      '1.41.3~99999999999999999999',
      '../1.41.3~7',
      '__proto__~7',
      'constructor~7',
      'null~7',
      'undefined~7',
      '1.41.3~7' + 'x'.repeat(600)
    ];
    for (const pin of bad) {
      const release = await releaseFor(edge, { headers: SUBRESOURCE, cookies: { 'greenlight-pin': pin } });
      assert.equal(release, '1.42.0', pin);
    }
  }
);

onEachEdge(test, 'a pin newer than this edge has seen yet is followed if its release is known', async (createEdge) => {
  const edge = createEdge();
  const cookies = (pin) => ({ headers: SUBRESOURCE, cookies: { 'greenlight-pin': pin } });
  assert.equal(await releaseFor(edge, cookies('1.41.3~8')), '1.41.3');
  assert.equal(await releaseFor(edge, cookies('1.44.0~8')), '1.42.0');
});

onEachEdge(test, 'a cookieless subresource gets the active release', async (createEdge) => {
  const browser = createBrowser(createEdge({ text: pointer({ candidate: '1.43.0', weight: 100 }) }));
  assert.equal((await browser.open('/')).release, '1.43.0');
  assert.equal((await browser.load('/app.js')).release, '1.43.0');
  assert.equal((await browser.loadCookieless('/manifest.webmanifest')).release, '1.42.0');
});

onEachEdge(test, 'a frame follows the pin of the page that asks', async (createEdge) => {
  const edge = createEdge();
  const parts = [
    ...['iframe', 'frame', 'embed', 'object', 'fencedframe'].map((dest) => ({ ...NAVIGATE, 'sec-fetch-dest': dest }))
  ];
  for (const headers of parts) {
    const pinned = decisionOf(await edge.request({ headers, cookies: { 'greenlight-pin': '1.41.3~7' } }));
    assert.deepEqual(pinned, { r: '1.41.3', c: [] }, JSON.stringify(headers));
    const stale = decisionOf(await edge.request({ headers, cookies: { 'greenlight-pin': '1.41.3~6' } }));
    assert.deepEqual(stale, { r: '1.42.0', c: [['greenlight-pin', '1.42.0~7', 1800]] });
    const none = decisionOf(await edge.request({ headers }));
    assert.equal(none.c.length, 1, 'without a pin it is a page of its own');
  }
});

onEachEdge(test, 'a page fetched ahead is of the release of the open page, or is not given', async (createEdge) => {
  const edge = createEdge();
  for (const purpose of ['prefetch', 'prefetch;prerender']) {
    const headers = { ...NAVIGATE, 'sec-purpose': purpose };
    const same = decisionOf(await edge.request({ headers, cookies: { 'greenlight-pin': '1.42.0~7' } }));
    assert.deepEqual(same, { r: '1.42.0', c: [] }, purpose);
    const another = await edge.request({ headers, cookies: { 'greenlight-pin': '1.41.3~7' } });
    assert.equal(another.status, 503, purpose);
    assert.deepEqual(another.cookies, {}, 'the open page keeps its pin');
    const stale = decisionOf(await edge.request({ headers, cookies: { 'greenlight-pin': '1.41.3~6' } }));
    assert.deepEqual(stale, { r: '1.42.0', c: [['greenlight-pin', '1.42.0~7', 1800]] });
  }
});

onEachEdge(test, 'a navigation does not follow its pin', async (createEdge) => {
  const edge = createEdge();
  const forwarded = await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-pin': '1.41.3~7' } });
  assert.equal(releaseOf(forwarded), '1.42.0');
});

onEachEdge(test, 'with pin_seconds 0 no pin is set, and one that is shown is cleared', async (createEdge) => {
  const edge = createEdge({ text: pointer({ pin_seconds: 0 }) });
  assert.deepEqual(decisionOf(await edge.request({ headers: NAVIGATE })).c, []);
  for (const pin of ['1.41.3~7', 'nonsense']) {
    const forwarded = await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-pin': pin } });
    assert.deepEqual(decisionOf(forwarded).c, [['greenlight-pin', '', 0]]);
  }
});

onEachEdge(test, 'a newcomer is told his name only while there is a share to be in', async (createEdge) => {
  for (const [fields, expected] of [
    [{ candidate: null, weight: 50 }, 0],
    [{ candidate: '1.43.0', weight: 0 }, 0],
    [{ candidate: '1.43.0', weight: 100 }, 0],
    [{ candidate: '1.43.0', weight: 1 }, 1],
    [{ candidate: '1.43.0', weight: 99 }, 1]
  ]) {
    const { c } = decisionOf(await createEdge({ text: pointer(fields) }).request({ headers: NAVIGATE }));
    const named = c.filter(([name]) => name === 'greenlight-visitor');
    assert.equal(named.length, expected, JSON.stringify(fields));
    for (const [, value, seconds] of named) {
      assert.match(value, /^[0-9a-f]{32}$/);
      assert.equal(seconds, 30 * 24 * 3600);
    }
  }
});

onEachEdge(test, 'weight 0 is nobody, weight 100 everybody, no candidate is active', async (createEdge) => {
  const releases = async (fields) => {
    const edge = createEdge({ text: pointer(fields) });
    const seen = new Set();
    for (let i = 0; i < 200; i += 1) {
      seen.add(await releaseFor(edge, { headers: NAVIGATE }));
    }
    return [...seen];
  };
  assert.deepEqual(await releases({ candidate: '1.43.0', weight: 0 }), ['1.42.0']);
  assert.deepEqual(await releases({ candidate: '1.43.0', weight: 100 }), ['1.43.0']);
  assert.deepEqual(await releases({ candidate: null, weight: 100 }), ['1.42.0']);
  assert.deepEqual((await releases(CANDIDATE)).sort(), ['1.42.0', '1.43.0']);
});

onEachEdge(test, 'a named visitor stays on his side, and is not named again', async (createEdge) => {
  const edge = createEdge({ text: pointer(CANDIDATE) });
  const browser = createBrowser(edge);
  const first = await browser.open('/');
  assert.ok(first.cookies['greenlight-visitor']);
  for (let i = 0; i < 20; i += 1) {
    const next = await browser.open('/');
    assert.equal(next.release, first.release);
    assert.equal(next.cookies['greenlight-visitor'], undefined);
  }
});

onEachEdge(test, 'a newcomer is hashed by the request alone', async (createEdge) => {
  const ask = async (requestId) =>
    decisionOf(await createEdge({ text: pointer(CANDIDATE) }).request({ headers: NAVIGATE, requestId }));
  assert.deepEqual(await ask('one=='), await ask('one=='));
  assert.notDeepEqual((await ask('one==')).c[0], (await ask('two==')).c[0]);
});

onEachEdge(test, 'a visitor cookie of a strange form is a newcomer', async (createEdge) => {
  const edge = createEdge({ text: pointer(CANDIDATE) });
  for (const visitor of [
    'a'.repeat(31),
    'A'.repeat(32),
    'g'.repeat(32),
    'a'.repeat(33),
    'a'.repeat(2000),
    '__proto__'
  ]) {
    const { c } = decisionOf(await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-visitor': visitor } }));
    assert.equal(c[0][0], 'greenlight-visitor', visitor);
    assert.notEqual(c[0][1], visitor);
  }
});

onEachEdge(test, 'a visitor and a browser without Sec-Fetch headers are treated alike', async (createEdge) => {
  const edge = createEdge({ text: pointer(CANDIDATE) });
  const cookies = { 'greenlight-visitor': '00112233445566778899aabbccddeeff' };
  const modern = await releaseFor(edge, { headers: NAVIGATE, cookies });
  assert.equal(await releaseFor(edge, { headers: { accept: 'text/html' }, cookies }), modern);
});

onEachEdge(test, 'cookies with names of built-in properties change nothing', async (createEdge) => {
  const edge = createEdge();
  const cookies = JSON.parse('{"__proto__":"1.41.3~7","constructor":"1.41.3~7","toString":"x","hasOwnProperty":"y"}');
  assert.deepEqual(decisionOf(await edge.request({ headers: SUBRESOURCE, cookies })), { r: '1.42.0', c: [] });
});

onEachEdge(
  test,
  'a version with a plus keeps it in cookies and decision, and encodes it in the path',
  async (createEdge) => {
    const browser = createBrowser(createEdge({ text: pointer({ active: '1.42.0+build.7' }) }));
    const opened = await browser.open('/app.html');
    assert.equal(opened.uri, '/releases/1.42.0%2Bbuild.7/app.html');
    assert.equal(opened.release, '1.42.0+build.7');
    assert.equal(browser.cookies()['greenlight-pin'], '1.42.0+build.7~7');
    assert.equal((await browser.load('/app.js')).uri, '/releases/1.42.0%2Bbuild.7/app.js');
  }
);

onEachEdge(test, 'the decision is one line of printable ASCII', async (createEdge) => {
  const edge = createEdge({ text: pointer({ ...CANDIDATE, active: 'v'.repeat(128) }) });
  const forwarded = await edge.request({ headers: NAVIGATE });
  assert.match(forwarded.headers['x-greenlight-decision'], /^[\x20-\x7e]+$/);
});
