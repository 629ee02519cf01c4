// Paths: what is refused, what names a release, and what the origin is asked for.

import assert from 'node:assert/strict';
import test from 'node:test';

import { onEachEdge, pointer } from './support/edges.mjs';
import { NAVIGATE, SUBRESOURCE } from './support/browser.mjs';

async function originPath(edge, path, more = {}) {
  return (await edge.request({ path, headers: SUBRESOURCE, ...more })).uri;
}

const REFUSED = [
  '/..',
  '/.',
  '/../secret',
  '/a/../b',
  '/a/./b',
  '/a/..',
  '/%2e%2e/secret',
  '/%2E%2e/secret',
  '/.%2e/secret',
  '/%2e./x',
  '/%252e%252e/secret',
  '/.%252e/secret',
  '/%25%32%65%25%32%65/secret',
  '/a\\b',
  '/..\\secret',
  '/a%5cb',
  '/a%5Cb',
  '/a%255cb',
  '/%2e%2e%5csecret',
  '/a%2fb',
  '/a%2Fb',
  '/a%252fb',
  '/a%252Fb',
  '/..%2fsecret',
  '/%2e%2e%2fsecret',
  '/..%252f..%252fsecret',
  '/a%00',
  '/a%00.html',
  '/%2500',
  '/a\u0000b',
  '/%',
  '/%2',
  '/%zz',
  '/a%',
  '/a%u0041',
  '/%e0%a4',
  '/%c0%ae%c0%ae/secret',
  '/%c0%af',
  '/%ff',
  '/%25',
  '/%25zz',
  '/100%25',
  '/releases/1.42.0/../1.41.3/app.js',
  '/releases/1.42.0/%2e%2e/1.41.3/app.js',
  '/releases/%2e%2e/x',
  '',
  'app.js',
  '*',
  'https://www.example.com/app.js'
];

onEachEdge(test, 'a path that could leave its release, or is broken, is refused', async (createEdge) => {
  const edge = createEdge();
  for (const path of REFUSED) {
    const answer = await edge.request({ path, headers: NAVIGATE });
    assert.equal(answer.status, 400, path);
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.equal(answer.headers['content-type'], 'text/plain');
    assert.deepEqual(answer.cookies, {});
    assert.match(answer.body, /path/);
  }
});

onEachEdge(test, 'a path goes to its release as it came', async (createEdge) => {
  const edge = createEdge();
  const untouched = [
    '/app.js',
    '/a/b/c.css',
    '/a%20b.png',
    '/%C3%BCber.html',
    '/über.html',
    '/a+b.js',
    '/a%2Bb.js',
    '/...',
    '/..a/.b.txt',
    '/a..b.js',
    '//double.js',
    '/a//b.js',
    "/it's;v=1,(2)!.js",
    '/%61pp.js',
    '/😀.png',
    '/%F0%9F%98%80.png',
    '/%2541.js',
    '/.hidden.txt',
    '/constructor.js',
    '/__proto__/x.js',
    '/~user.html',
    '/a:b@c.js',
    '/a%0ab.js'
  ];
  for (const path of untouched) {
    assert.equal(await originPath(edge, path), '/releases/1.42.0' + path);
  }
});

onEachEdge(test, 'the query is not looked at and stays as it is', async (createEdge) => {
  for (const query of ['a=1&b=%zz&c', 'x=/../../etc', '', 'greenlight-preview-x=1', 'a=greenlight-preview=1']) {
    const forwarded = await createEdge().request({ path: '/app.js', query, headers: SUBRESOURCE });
    assert.equal(forwarded.uri, '/releases/1.42.0/app.js');
    if (typeof forwarded.sent.querystring === 'string') {
      assert.equal(forwarded.sent.querystring, query);
    } else {
      assert.equal(Object.keys(forwarded.sent.querystring).length, query === '' ? 0 : query.split('&').length);
    }
  }
});

const FALLBACKS = {
  spa: {
    '/': '/index.html',
    '/about': '/index.html',
    '/about/': '/index.html',
    '/a/b/c': '/index.html',
    '/app.js': '/app.js',
    '/file%2Ehtml': '/file%2Ehtml',
    '/v1.2/': '/index.html',
    '/v1.2/about': '/index.html',
    '//': '/index.html'
  },
  index: {
    '/': '/index.html',
    '/about': '/about/index.html',
    '/about/': '/about/index.html',
    '/a/b/c': '/a/b/c/index.html',
    '/app.js': '/app.js',
    '/file%2Ehtml': '/file%2Ehtml',
    '/v1.2/': '/v1.2/index.html',
    '/v1.2': '/v1.2',
    '/%C3%BCber': '/%C3%BCber/index.html',
    '//': '//index.html'
  },
  none: {
    '/': '/index.html',
    '/about': '/about',
    '/about/': '/about/',
    '/a/b/c': '/a/b/c',
    '/app.js': '/app.js',
    '//': '//'
  }
};
const WELL_KNOWN = [
  '/.well-known/',
  '/.well-known/acme-challenge/token',
  '/.well-known/security.txt',
  '/%2Ewell-known/x',
  '/.well-known/a/'
];

for (const [fallback, paths] of Object.entries(FALLBACKS)) {
  onEachEdge(test, 'fallback ' + fallback + ' finds the file of an address', async (createEdge) => {
    const edge = createEdge({ config: { fallback } });
    for (const [path, file] of Object.entries(paths)) {
      for (const method of ['GET', 'HEAD']) {
        assert.equal(await originPath(edge, path, { method }), '/releases/1.42.0' + file, fallback + ' ' + path);
        assert.equal(await originPath(edge, path, { method, headers: NAVIGATE }), '/releases/1.42.0' + file);
        const inside = '/releases/1.41.3' + path;
        assert.equal(await originPath(edge, inside, { method }), '/releases/1.41.3' + file, inside);
      }
      assert.equal(await originPath(edge, path, { method: 'POST' }), '/releases/1.42.0' + path);
    }
    for (const path of WELL_KNOWN) {
      assert.equal(await originPath(edge, path), '/releases/1.42.0' + path);
      assert.equal(await originPath(edge, '/releases/1.41.3' + path), '/releases/1.41.3' + path);
    }
  });
}

onEachEdge(test, 'a path that names a known release is that release, and pins nobody', async (createEdge) => {
  const edge = createEdge({ text: pointer({ candidate: '1.43.0+x', weight: 50 }) });
  const named = {
    '/releases/1.42.0/app.js': ['1.42.0', '/releases/1.42.0/app.js'],
    '/releases/1.41.3/a/b.js': ['1.41.3', '/releases/1.41.3/a/b.js'],
    '/releases/1.43.0+x/app.js': ['1.43.0+x', '/releases/1.43.0%2Bx/app.js'],
    '/releases/1.43.0%2Bx/app.js': ['1.43.0+x', '/releases/1.43.0%2Bx/app.js'],
    '/releases/1.43.0%2bx/a%20b+c.js': ['1.43.0+x', '/releases/1.43.0%2Bx/a%20b+c.js'],
    '/%72eleases/%31.42.0/app.js': ['1.42.0', '/releases/1.42.0/app.js'],
    '/releases/1.41.3//x.js': ['1.41.3', '/releases/1.41.3//x.js']
  };
  for (const [path, [release, uri]] of Object.entries(named)) {
    for (const headers of [NAVIGATE, SUBRESOURCE]) {
      const forwarded = await edge.request({ path, headers, cookies: { 'greenlight-pin': '1.42.0~7' } });
      assert.equal(forwarded.uri, uri);
      assert.deepEqual(JSON.parse(forwarded.headers['x-greenlight-decision']), { r: release, c: [] });
    }
  }
});

onEachEdge(test, 'an unknown release in a path is an ordinary path', async (createEdge) => {
  const edge = createEdge();
  const ordinary = [
    '/releases/9.9.9/app.js',
    '/releases/null/app.js',
    '/releases/undefined/app.js',
    '/releases/__proto__/app.js',
    '/releases/constructor/app.js',
    '/releases//app.js',
    '/releases/1.42.0',
    '/Releases/1.42.0/app.js',
    '/x/releases/1.42.0/app.js',
    '/releases/1.42.0%20/app.js',
    '/releases/1.42.0%0a/app.js',
    '/1.42.0/app.js',
    '/releases1.42.0/app.js'
  ];
  for (const path of ordinary) {
    assert.equal(await originPath(edge, path), '/releases/1.42.0' + path);
  }
});

onEachEdge(test, 'the prefix may be empty, or have several segments with strange characters', async (createEdge) => {
  const bare = createEdge({ config: { prefix: '' } });
  assert.equal(await originPath(bare, '/app.js'), '/1.42.0/app.js');
  assert.equal(await originPath(bare, '/1.41.3/app.js'), '/1.41.3/app.js');
  assert.equal(await originPath(bare, '/about/us.html'), '/1.42.0/about/us.html');
  assert.equal(await originPath(bare, '/1.41.3/'), '/1.41.3/index.html');

  const deep = createEdge({ config: { prefix: 'web site/a+b/' } });
  assert.equal(await originPath(deep, '/app.js'), '/web%20site/a%2Bb/1.42.0/app.js');
  assert.equal(await originPath(deep, '/web%20site/a+b/1.41.3/app.js'), '/web%20site/a%2Bb/1.41.3/app.js');
  assert.equal(
    await originPath(deep, '/web%20site/1.41.3/app.js'),
    '/web%20site/a%2Bb/1.42.0/web%20site/1.41.3/app.js'
  );
});
