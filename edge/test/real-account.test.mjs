// The check of a real distribution: it passes where all is as it should be, and finds each thing that isn't.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'node:test';

import { onEachEdge, pointer, SECRET, createFunctionEdge, createClock } from './support/edges.mjs';
import { startDistribution } from './support/distribution.mjs';
import { sign } from './support/previews.mjs';
import { check } from '../real-account/check.mjs';

const CHECK = fileURLToPath(new URL('../real-account/check.mjs', import.meta.url));
const FILES = new Map(
  ['1.42.0', '1.44.0'].map((release) => ['/releases/' + release + '/index.html', '<h1>' + release + '</h1>'])
);

function token() {
  const expires = Math.floor(Date.now() / 1000) + 600;
  return expires + '~1.44.0~' + sign('1.44.0', expires);
}

const edgeNow = (createEdge, fields = {}) =>
  createEdge({ secret: SECRET, text: pointer(fields), clock: createClock(Date.now()) });

function run(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [CHECK, ...args]);
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    child.stderr.on('data', (data) => {
      output += data;
    });
    child.on('close', (status) => resolve({ status, output }));
  });
}

onEachEdge(test, 'a distribution that is as it should be passes', async (createEdge) => {
  const distribution = await startDistribution(edgeNow(createEdge), FILES);
  const shown = token();
  const result = await run([
    distribution.url,
    '--preview',
    distribution.url + '?a=1&greenlight-preview=' + encodeURIComponent(shown)
  ]);
  await distribution.stop();
  assert.equal(result.status, 0, result.output);
  assert.equal(result.output.match(/^ok {6}/gm).length, 15);
  assert.match(result.output, /release 1\.42\.0/);
  assert.match(result.output, /all as it should be/);
  assert.ok(!result.output.includes(shown.split('~')[2]), 'the token is not printed');
});

test('without pins it passes when it is told so, and only then', async () => {
  const distribution = await startDistribution(edgeNow(createFunctionEdge, { pin_seconds: 0 }), FILES);
  assert.equal((await run([distribution.url, '--no-pins'])).status, 0);
  const untold = await run([distribution.url]);
  await distribution.stop();
  assert.equal(untold.status, 1);
  assert.match(untold.output, /--no-pins/);
});

// What is wrong, and the check that has to say so.
const SPOILED = {
  'no hand-over at all': [{ isUnmarked: () => true }, /FAILED {2}a page \(200\).*viewer-response did not run/],
  'no hand-over for HEAD': [{ isUnmarked: (status, request) => request.method === 'HEAD' }, /FAILED {2}HEAD/],
  'no hand-over for 206': [{ isUnmarked: (status) => status === 206 }, /FAILED {2}a range/],
  'no hand-over for 304': [{ isUnmarked: (status) => status === 304 }, /FAILED {2}not modified/],
  'no ranges': [
    { origin: (answer) => (answer.status === 206 ? { ...answer, status: 200 } : answer) },
    /FAILED {2}a range \(206\): the answer is 200/
  ],
  'no ETag': [
    {
      answer: (answer) => ({ ...answer, headers: { ...answer.headers, etag: 'x' } }),
      origin: (answer) => (answer.status === 304 ? { ...answer, status: 200 } : answer)
    },
    /FAILED {2}not modified/
  ],
  'a page in place of a missing file': [
    { origin: (answer) => (answer.status === 404 ? { status: 200, headers: {}, body: 'a page' } : answer) },
    /FAILED {2}a missing file.*custom error response/
  ],
  'a server error in place of a missing file': [
    { origin: (answer) => (answer.status === 404 ? { ...answer, status: 502 } : answer) },
    /FAILED {2}a missing file is a 404: the answer is 502/
  ],
  'cookies without Secure': [{ answer: withoutAttribute('Secure') }, /FAILED {2}a page.*lacks Secure/],
  'cookies without HttpOnly': [{ answer: withoutAttribute('HttpOnly') }, /lacks HttpOnly/],
  'cookies without SameSite': [{ answer: withoutAttribute('SameSite=Lax') }, /lacks SameSite=Lax/],
  'cookies without Path': [{ answer: withoutAttribute('Path=/') }, /lacks Path=\//],
  'cookies that are cached with the object': [
    { answer: withCachedCookies() },
    /FAILED {2}a subresource gets a release and no cookie.*cached with its cookies/
  ],
  'pages that browsers may keep': [
    { answer: (answer) => ({ ...answer, headers: { ...answer.headers, 'cache-control': 'max-age=60' } }) },
    /cache-control is max-age=60 instead of no-cache/
  ],
  'a forged decision that survives': [{ answer: obeying }, /FAILED {2}a forged decision/],
  'the decision shown to the viewer': [
    { answer: (answer) => ({ ...answer, headers: { ...answer.headers, 'x-greenlight-decision': '{}' } }) },
    /x-greenlight-decision is in the answer/
  ],
  'pins that are not followed': [
    { request: (asked) => ({ ...asked, cookies: {} }), answer: byCookie },
    /FAILED {2}a subresource follows the pin/
  ],
  'forged previews that are believed': [
    { answer: believing },
    /FAILED {2}a forged preview link is refused \(403\): the answer is 200/
  ],
  'paths that are not refused': [
    { request: (asked) => ({ ...asked, path: asked.path.includes('%2') ? '/' : asked.path }) },
    /FAILED {2}a path that leaves its release/
  ]
};

function withoutAttribute(attribute) {
  return (answer) => ({
    ...answer,
    cookies: Object.fromEntries(
      Object.entries(answer.cookies).map(([name, cookie]) => [
        name,
        {
          ...cookie,
          attributes: cookie.attributes.filter((one) => one !== attribute)
        }
      ])
    )
  });
}

function withCachedCookies() {
  let cached = null;
  return (answer, request) => {
    if (request.method === 'GET' && answer.status === 200 && cached === null) {
      cached = answer.cookies;
    }
    return { ...answer, cookies: { ...cached, ...answer.cookies } };
  };
}

function obeying(answer, request) {
  const told = request.headers['x-greenlight-decision'];
  return told
    ? { ...answer, headers: { ...answer.headers, 'x-greenlight-release': JSON.parse(told.split(', {')[0]).r } }
    : answer;
}

function byCookie(answer, request) {
  const isShown = (request.headers.cookie || '').includes('greenlight-pin');
  return isShown ? { ...answer, headers: { ...answer.headers, 'x-greenlight-release': '1.43.0' } } : answer;
}

function believing(answer, request) {
  return request.url.includes('greenlight-preview') ? { ...answer, status: 200 } : answer;
}

for (const [wrong, [spoil, expected]] of Object.entries(SPOILED)) {
  test('it finds ' + wrong, async () => {
    const distribution = await startDistribution(edgeNow(createFunctionEdge), FILES, spoil);
    const lines = [];
    const failures = await check(new URL(distribution.url), {}, (name, problem) =>
      lines.push((problem ? 'FAILED  ' : 'ok  ') + name + ': ' + problem)
    );
    await distribution.stop();
    assert.ok(failures > 0, wrong);
    assert.match(lines.join('\n'), expected);
  });
}

test('it finds a preview that does not show', async () => {
  const distribution = await startDistribution(edgeNow(createFunctionEdge), FILES, {
    request: (asked) => ({ ...asked, cookies: {} })
  });
  const preview = new URL(distribution.url + '?greenlight-preview=' + token());
  const lines = [];
  const failures = await check(new URL(distribution.url), { preview }, (name, problem) =>
    lines.push(name + ': ' + problem)
  );
  await distribution.stop();
  assert.ok(failures > 0);
  assert.match(lines.join('\n'), /sees the previewed release, uncached: it sees 1\.42\.0/);
});

test('a site that can not be reached fails, and is used wrongly with status 2', async () => {
  const distribution = await startDistribution(edgeNow(createFunctionEdge), FILES);
  await distribution.stop();
  const unreachable = await run([distribution.url]);
  assert.equal(unreachable.status, 1);
  assert.match(unreachable.output, /ECONNREFUSED/);
  for (const args of [
    [],
    ['nonsense'],
    ['ftp://x/'],
    [distribution.url, distribution.url],
    [distribution.url, '--preview'],
    [distribution.url, '--preview', 'https://www.example.com/']
  ]) {
    const { status, output } = await run(args);
    assert.equal(status, 2, JSON.stringify(args));
    assert.match(output, /usage/);
  }
});
