// Previews: a link shows one browser a release that nobody else sees, and nothing else does.

import assert from 'node:assert/strict';
import test from 'node:test';

import { createFunctionEdge, createLambdaEdge, KEY, onEachEdge, PARAMETER, pointer, SECRET } from './support/edges.mjs';
import { createBrowser, NAVIGATE, SUBRESOURCE } from './support/browser.mjs';
import { NOW, sign, tokenFor } from './support/previews.mjs';

// Nothing but a preview names it.
const SHOWN = '1.44.0-rc.1';
const link = (value) => 'greenlight-preview=' + value;

function decisionOf(forwarded) {
  return JSON.parse(forwarded.headers['x-greenlight-decision']);
}

onEachEdge(test, 'a signed link becomes a cookie that lasts as long as the token', async (createEdge) => {
  const token = tokenFor(SHOWN, { expires: NOW + 600 });
  const answer = await createEdge({ secret: SECRET }).request({
    path: '/shop/',
    query: link(token),
    headers: NAVIGATE
  });
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.location, '/shop/');
  assert.equal(answer.headers['cache-control'], 'no-store');
  assert.deepEqual(Object.keys(answer.cookies), ['greenlight-preview']);
  const cookie = answer.cookies['greenlight-preview'];
  assert.equal(cookie.value, token);
  assert.deepEqual([...cookie.attributes].sort(), ['HttpOnly', 'Max-Age=600', 'Path=/', 'SameSite=Lax', 'Secure']);
});

onEachEdge(
  test,
  'a browser with the cookie sees the release in pages and assets, unpinned and uncached',
  async (createEdge) => {
    const edge = createEdge({ secret: SECRET, text: pointer({ candidate: '1.43.0', weight: 50 }) });
    const browser = createBrowser(edge);
    await browser.open('/', { query: link(tokenFor(SHOWN)) });
    for (const answer of [await browser.open('/'), await browser.load('/assets/app-3f2a9c1b.js')]) {
      assert.equal(answer.release, SHOWN);
      assert.equal(answer.headers['x-robots-tag'], 'noindex');
      assert.equal(answer.headers['cache-control'], 'no-cache');
      assert.deepEqual(answer.cookies, {});
    }
    assert.equal((await browser.open('/')).uri, '/releases/1.44.0-rc.1/index.html');
    assert.equal((await createBrowser(edge).open('/')).headers['x-robots-tag'], undefined);
  }
);

onEachEdge(test, 'when the token runs out, the browser is back among the visitors', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  const browser = createBrowser(edge);
  await browser.open('/', { query: link(tokenFor(SHOWN, { expires: NOW + 600 })) });
  edge.clock.pass(599 * 1000);
  assert.equal((await browser.open('/')).release, SHOWN);
  edge.clock.pass(1000);
  assert.equal((await browser.open('/')).release, '1.42.0');
});

onEachEdge(test, 'a cookie kept beyond its time is ignored and cleared', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  for (const expires of [NOW, NOW - 1, 1]) {
    const cookies = { 'greenlight-preview': tokenFor(SHOWN, { expires }) };
    const forwarded = await edge.request({ headers: SUBRESOURCE, cookies });
    assert.deepEqual(decisionOf(forwarded), { r: '1.42.0', c: [['greenlight-preview', '', 0]] });
  }
});

onEachEdge(test, 'the link `off` ends a preview, whatever the cookie', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  const browser = createBrowser(edge);
  await browser.open('/', { query: link(tokenFor(SHOWN)) });
  const answer = await browser.open('/shop/', { query: 'a=1&greenlight-preview=off' });
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.location, '/shop/?a=1');
  assert.equal(answer.headers['cache-control'], 'no-store');
  assert.equal(answer.cookies['greenlight-preview'].value, '');
  assert.ok(answer.cookies['greenlight-preview'].attributes.includes('Max-Age=0'));
  assert.equal((await browser.open('/')).release, '1.42.0');
});

function forged() {
  const good = tokenFor(SHOWN);
  const [expires, , signature] = good.split('~');
  const flipped = (signature[0] === '0' ? '1' : '0') + signature.slice(1);
  const lastFlipped = signature.slice(0, -1) + (signature.at(-1) === '0' ? '1' : '0');
  return [
    '',
    'x',
    'on',
    'OFF',
    '~',
    '~~',
    'true',
    '__proto__',
    good + 'x',
    good + '%0a',
    'x' + good,
    good.toUpperCase(),
    '%zz',
    '%',
    tokenFor(SHOWN, { secret: 'f'.repeat(64) }),
    tokenFor(SHOWN, { expires: NOW }),
    tokenFor(SHOWN, { expires: NOW - 1000 }),
    expires + '~' + SHOWN + '~' + flipped,
    expires + '~' + SHOWN + '~' + lastFlipped,
    expires + '~' + SHOWN + '~',
    expires + '~' + SHOWN,
    expires + '~1.42.0~' + signature,
    Number(expires) + 1 + '~' + SHOWN + '~' + signature,
    '0' + good,
    '+' + good,
    expires + '~' + SHOWN + '~' + sign(SHOWN, expires).slice(0, 63),
    expires + '~' + SHOWN + '~' + signature + signature,
    expires + '~../../x~' + sign('../../x', expires),
    'NaN~' + SHOWN + '~' + sign(SHOWN, 'NaN'),
    '1e12~' + SHOWN + '~' + sign(SHOWN, '1e12'),
    expires + '~' + SHOWN + '~' + '0'.repeat(64),
    expires + '~' + 'v'.repeat(600) + '~' + signature
  ];
}

onEachEdge(
  test,
  'a link that is not genuine is refused, so that nobody tests the wrong release',
  async (createEdge) => {
    const edge = createEdge({ secret: SECRET });
    for (const token of forged()) {
      const answer = await edge.request({ query: link(token), headers: NAVIGATE });
      assert.equal(answer.status, 403, token);
      assert.equal(answer.headers['cache-control'], 'no-store');
      assert.equal(answer.headers['content-type'], 'text/plain');
      assert.match(answer.body, /not valid/);
      assert.deepEqual(answer.cookies, {});
      assert.equal(answer.headers.location, undefined);
    }
  }
);

onEachEdge(test, 'a parameter without a value is a link that is not genuine', async (createEdge) => {
  const answer = await createEdge({ secret: SECRET }).request({ query: 'a=1&greenlight-preview', headers: NAVIGATE });
  assert.equal(answer.status, 403);
});

onEachEdge(test, 'a cookie that is not genuine is ignored and cleared', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  for (const token of forged().filter((text) => text !== '' && text.length <= 512)) {
    const forwarded = await edge.request({ headers: SUBRESOURCE, cookies: { 'greenlight-preview': token } });
    assert.deepEqual(decisionOf(forwarded), { r: '1.42.0', c: [['greenlight-preview', '', 0]] }, token);
  }
});

onEachEdge(test, 'an oversized cookie is as if it were not there', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  const cookies = { 'greenlight-preview': tokenFor(SHOWN) + 'x'.repeat(5000) };
  assert.deepEqual(decisionOf(await edge.request({ headers: SUBRESOURCE, cookies })), { r: '1.42.0', c: [] });
});

onEachEdge(test, 'without a preview secret, or with a broken one, no preview is genuine', async (createEdge) => {
  for (const secret of [null, '', 'f'.repeat(63), 'F'.repeat(64), SECRET + '\n', ' ' + SECRET]) {
    const edge = createEdge({ secret });
    const signedWith = secret === null ? '' : secret;
    const token = tokenFor(SHOWN, { secret: signedWith });
    assert.equal((await edge.request({ query: link(token) })).status, 403);
    const forwarded = await edge.request({ cookies: { 'greenlight-preview': token } });
    assert.deepEqual(decisionOf(forwarded), { r: '1.42.0', c: [['greenlight-preview', '', 0]] });
  }
});

onEachEdge(test, 'the redirect keeps the other parameters as they were sent', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  const token = tokenFor(SHOWN);
  for (const [before, after] of [
    [link(token), '/a%20b/'],
    ['a=1&' + link(token) + '&b=%26%3D+x', '/a%20b/?a=1&b=%26%3D+x'],
    [link(token) + '&q=%C3%BC%0d%0a', '/a%20b/?q=%C3%BC%0d%0a'],
    ['q=ü&' + link(token), '/a%20b/?q=%C3%BC'],
    ['__proto__=1&constructor=2&' + link(token), '/a%20b/?__proto__=1&constructor=2'],
    [
      'greenlight-preview-x=1&' + link(token) + '&xgreenlight-preview=2',
      '/a%20b/?greenlight-preview-x=1&xgreenlight-preview=2'
    ],
    [link(token) + '&' + link('x'), '/a%20b/']
  ]) {
    const answer = await edge.request({ path: '/a%20b/', query: before, headers: NAVIGATE });
    assert.equal(answer.status, 302, before);
    assert.equal(answer.headers.location, after);
  }
});

test('CloudFront Function: repeated parameters are all kept, side by side', async () => {
  const query = 'a=1&b=2&a=3&' + link(tokenFor(SHOWN)) + '&a=';
  const answer = await createFunctionEdge({ secret: SECRET }).request({ query, headers: NAVIGATE });
  assert.equal(answer.headers.location, '/?a=1&a=3&a=&b=2');
});

test('Lambda@Edge: repeated and bare parameters stay as and where they were', async () => {
  const query = 'a=1&b&a=3&' + link(tokenFor(SHOWN)) + '&a=&&c==';
  const answer = await createLambdaEdge({ secret: SECRET }).request({ query, headers: NAVIGATE });
  assert.equal(answer.headers.location, '/?a=1&b&a=3&a=&&c==');
});

onEachEdge(test, 'the redirect never leads to another host', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  for (const [path, location] of [
    ['//evil.example', '/evil.example'],
    ['///evil.example/x', '/evil.example/x'],
    ['//evil.example//x', '/evil.example//x'],
    ['/%09/evil.example', '/%09/evil.example'],
    ['/@evil.example', '/@evil.example'],
    ['/https://evil.example', '/https://evil.example'],
    ['/\u00a0/x', '/%C2%A0/x'],
    ['/😀', '/%F0%9F%98%80']
  ]) {
    for (const value of [tokenFor(SHOWN), 'off']) {
      const answer = await edge.request({ path, query: link(value), headers: NAVIGATE });
      assert.equal(answer.headers.location, location);
      assert.equal(new URL(answer.headers.location, 'https://www.example.com').host, 'www.example.com');
    }
  }
  for (const path of ['/\\evil.example', '\\\\evil.example', 'https://evil.example']) {
    assert.equal((await edge.request({ path, query: link('off') })).status, 400);
  }
});

onEachEdge(test, 'a token is read whether its tildes and pluses are encoded or not', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  const token = tokenFor('1.44.0+rc.1');
  for (const written of [token, encodeURIComponent(token), token.replaceAll('~', '%7e'), token.replace('+', '%2b')]) {
    const answer = await edge.request({ query: link(written), headers: NAVIGATE });
    assert.equal(answer.status, 302, written);
    assert.equal(answer.cookies['greenlight-preview'].value, token);
  }
});

onEachEdge(test, 'a previewed build with an absolute public path finds its own files', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  const cookies = { 'greenlight-preview': tokenFor(SHOWN) };
  const own = await edge.request({ path: '/releases/' + SHOWN + '/app.js', headers: SUBRESOURCE, cookies });
  assert.equal(own.uri, '/releases/' + SHOWN + '/app.js');
  assert.deepEqual(decisionOf(own), { r: SHOWN, c: [], p: true });

  const other = await edge.request({ path: '/releases/1.41.3/app.js', headers: SUBRESOURCE, cookies });
  assert.equal(decisionOf(other).r, '1.41.3');

  const stranger = await edge.request({ path: '/releases/' + SHOWN + '/app.js', headers: SUBRESOURCE });
  assert.equal(
    stranger.uri,
    '/releases/1.42.0/releases/' + SHOWN + '/app.js',
    'without the cookie it is an ordinary path'
  );
});

onEachEdge(test, 'a preview of a release that the pointer knows is a preview all the same', async (createEdge) => {
  const edge = createEdge({ secret: SECRET });
  const forwarded = await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-preview': tokenFor('1.41.3') } });
  assert.deepEqual(decisionOf(forwarded), { r: '1.41.3', c: [], p: true });
});

onEachEdge(test, 'a preview does not help without a pointer, nor on a refused path', async (createEdge) => {
  const query = link(tokenFor(SHOWN));
  assert.equal((await createEdge({ secret: SECRET, text: '{' }).request({ query })).status, 503);
  assert.equal((await createEdge({ secret: SECRET }).request({ path: '/..', query })).status, 400);
});

test('CloudFront Function: the secret is read only for a token that could be one', async () => {
  const edge = createFunctionEdge({ secret: SECRET });
  const reads = () => edge.store.asked.filter((key) => key === KEY + '.preview-key').length;
  await edge.request({ headers: NAVIGATE });
  await edge.request({ headers: NAVIGATE, query: link('off') });
  await edge.request({ headers: NAVIGATE, query: link('nonsense') });
  await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-preview': 'nonsense' } });
  await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-preview': tokenFor(SHOWN, { expires: NOW }) } });
  assert.equal(reads(), 0);
  await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-preview': tokenFor(SHOWN) } });
  assert.equal(reads(), 1);
});

test('Lambda@Edge: the secret is read decrypted, only for a token, and once a minute', async () => {
  const edge = createLambdaEdge({ secret: SECRET });
  const reads = () => edge.ssm.asked.filter(({ name }) => name === PARAMETER + '.preview-key');
  await edge.request({ headers: NAVIGATE });
  await edge.request({ headers: NAVIGATE, query: link('nonsense') });
  assert.deepEqual(reads(), []);
  const shown = { headers: NAVIGATE, cookies: { 'greenlight-preview': tokenFor(SHOWN) } };
  for (let i = 0; i < 5; i += 1) {
    assert.equal(decisionOf(await edge.request(shown)).r, SHOWN);
  }
  assert.deepEqual(reads(), [{ name: PARAMETER + '.preview-key', isEncrypted: true }]);
  edge.clock.pass(60 * 1000);
  await edge.request(shown);
  assert.equal(reads().length, 2);
});

test('Lambda@Edge: that there is no secret is remembered too', async () => {
  const edge = createLambdaEdge();
  for (let i = 0; i < 5; i += 1) {
    assert.equal((await edge.request({ query: link(tokenFor(SHOWN)) })).status, 403);
  }
  assert.equal(edge.ssm.asked.filter(({ isEncrypted }) => isEncrypted).length, 1);
});

test('Lambda@Edge: while the secret can not be read, a link and a cookie wait', async () => {
  const edge = createLambdaEdge({ secret: SECRET });
  await edge.request({ headers: NAVIGATE });
  edge.ssm.failure = new Error('SSM is out of reach');
  const answer = await edge.request({ query: link(tokenFor(SHOWN)) });
  assert.equal(answer.status, 503);
  assert.deepEqual(answer.cookies, {});
  const shown = await edge.request({ headers: SUBRESOURCE, cookies: { 'greenlight-preview': tokenFor(SHOWN) } });
  assert.equal(shown.status, 503, 'a tester must not get another release unknowingly');
  assert.deepEqual(shown.cookies, {});
});
