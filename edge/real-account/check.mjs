#!/usr/bin/env node
// Asks a real distribution whether the routing function does there what it does in the tests.
//
//   node edge/real-account/check.mjs https://www.example.com/ [--preview LINK] [--no-pins]
//
// Opt-in, read-only, about twenty requests. It is here for what AWS doesn't promise: its event page says nothing of
// a header that viewer-request sets reaching viewer-response, so it is seen for each kind of answer. Exit status 0:
// all as it should be; 1: something isn't, or can't be reached; 2: used wrongly. Tokens and cookies are not printed.

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { isReleased, missingAttributes, send } from './conversation.mjs';

const USAGE = 'usage: node edge/real-account/check.mjs URL [--preview LINK] [--no-pins]\n'
  + '  URL          a page of the site that answers 200\n'
  + '  --preview    a preview link of that site, as the service gave it\n'
  + '  --no-pins    the component has pin_seconds 0';

const NAVIGATE = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', accept: 'text/html,*/*;q=0.8' };
const SUBRESOURCE = { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'script', accept: '*/*' };
const FORGED = 'forged-by-the-check';
const FORGED_DECISION = JSON.stringify({ r: FORGED, c: [['greenlight-pin', FORGED + '~999999999', 60]], p: true });

function expect(condition, otherwise) {
  if (!condition) {
    throw new Error(otherwise);
  }
}

function expectStatus(answer, status) {
  expect(answer.status === status, 'the answer is ' + answer.status + ' instead of ' + status);
}

// The hand-over has worked for `answer`: it carries what viewer-request decided.
function expectMarks(answer) {
  const release = answer.headers['x-greenlight-release'];
  const why = 'viewer-response did not run, or did not get the decision';
  expect(release !== undefined, 'there is no x-greenlight-release: ' + why);
  expect(isReleased(release), 'x-greenlight-release is no release: ' + release);
  expect(answer.headers['x-greenlight-decision'] === undefined, 'x-greenlight-decision is in the answer');
}

function expectNoCache(answer) {
  const caching = answer.headers['cache-control'];
  expect(caching === 'no-cache', 'cache-control is ' + caching + ' instead of no-cache');
}

function expectNoStore(answer) {
  const caching = answer.headers['cache-control'];
  expect(caching === 'no-store', 'cache-control is ' + caching + ' instead of no-store');
}

function expectAttributes(answer) {
  for (const [name, cookie] of Object.entries(answer.cookies)) {
    const missing = missingAttributes(cookie);
    expect(missing.length === 0, 'the cookie ' + name + ' lacks ' + missing.join(', '));
  }
}

function expectPin(answer, hasPins) {
  expect(!hasPins || answer.cookies['greenlight-pin'], 'there is no pin cookie (say --no-pins if pin_seconds is 0)');
  expectAttributes(answer);
}

function expectNothingForged(answer) {
  expect(!JSON.stringify([answer.headers, answer.cookies]).includes(FORGED), 'what was forged came back');
}

// Each check is [name, what to do]; a check that returns a text has something to say beyond "as it should be".
function checks(url, hasPins) {
  const ask = (headers = {}, more = {}) => send(url, { headers, ...more });
  const navigate = (headers = {}, more = {}) => ask({ ...NAVIGATE, ...headers }, more);
  return [
    ['a page (200) carries the hand-over', async () => {
      const answer = await navigate();
      expectStatus(answer, 200);
      expectMarks(answer);
      expectNoCache(answer);
      expectPin(answer, hasPins);
      return 'release ' + answer.headers['x-greenlight-release'];
    }],
    ['so does the same page once more, now most likely from the cache', async () => {
      const answer = await navigate();
      expectStatus(answer, 200);
      expectMarks(answer);
      expectPin(answer, hasPins);
      return answer.headers['x-cache'] || 'no x-cache header';
    }],
    ['HEAD', async () => {
      const answer = await navigate({}, { method: 'HEAD' });
      expectStatus(answer, 200);
      expectMarks(answer);
      expectPin(answer, hasPins);
    }],
    ['a range (206)', async () => {
      const answer = await ask({ ...SUBRESOURCE, range: 'bytes=0-0', 'accept-encoding': 'identity' });
      expectStatus(answer, 206);
      expectMarks(answer);
      expectNoCache(answer);
    }],
    ['not modified (304)', async () => {
      const first = await navigate();
      expect(first.headers.etag !== undefined, 'the page has no ETag to ask with');
      const answer = await navigate({ 'if-none-match': first.headers.etag });
      expectStatus(answer, 304);
      expectMarks(answer);
      expectNoCache(answer);
      expectPin(answer, hasPins);
    }],
    ['a subresource gets a release and no cookie, also after a page was cached', async () => {
      const answer = await ask(SUBRESOURCE);
      expectStatus(answer, 200);
      expectMarks(answer);
      const set = Object.keys(answer.cookies).filter((name) => name.startsWith('greenlight-'));
      expect(set.length === 0, 'it sets ' + set.join(', ') + ': is an answer cached with its cookies?');
    }],
    ['a subresource follows the pin of its page', async () => {
      const page = await navigate();
      const pin = page.cookies['greenlight-pin'];
      if (!hasPins || !pin) {
        expect(!hasPins, 'there is no pin cookie');
        return 'not asked: no pins';
      }
      const answer = await ask({ ...SUBRESOURCE, cookie: 'greenlight-pin=' + pin.value });
      const pages = page.headers['x-greenlight-release'];
      const its = answer.headers['x-greenlight-release'];
      expect(its === pages, 'the page is of ' + pages + ', its subresource of ' + its);
    }],
    ['a missing file is a 404', async () => {
      const missing = new URL('/greenlight-check-' + Date.now().toString(36) + '.txt', url);
      const answer = await send(missing, { headers: SUBRESOURCE });
      expect(answer.status !== 200, 'it is a 200: does a custom error response serve a page in its place?');
      expect(answer.status === 404 || answer.status === 403, 'the answer is ' + answer.status);
      const isMarked = answer.headers['x-greenlight-release'] !== undefined;
      const marks = isMarked ? 'with marks, which AWS does not promise' : 'without marks, as AWS documents';
      return answer.status === 404 ? marks : marks + '; a 403, since S3 lists the bucket to nobody';
    }],
    ['a forged decision does not survive', async () => {
      for (const headers of [NAVIGATE, SUBRESOURCE]) {
        const answer = await ask({ ...headers, 'X-Greenlight-Decision': FORGED_DECISION, 'x-greenlight-release': FORGED });
        expectMarks(answer);
        expectNothingForged(answer);
      }
      const twice = await navigate({ 'x-greenlight-decision': [FORGED_DECISION, FORGED_DECISION] });
      expectMarks(twice);
      expectNothingForged(twice);
    }],
    ['a forged preview cookie is cleared', async () => {
      const token = '9999999999~' + FORGED + '~' + '0'.repeat(64);
      const answer = await navigate({ cookie: 'greenlight-preview=' + token });
      expectMarks(answer);
      expectNothingForged(answer);
      const cookie = answer.cookies['greenlight-preview'];
      expect(cookie && cookie.value === '' && cookie.attributes.includes('Max-Age=0'), 'it is not cleared');
      expectAttributes(answer);
    }],
    ['a forged preview link is refused (403)', async () => {
      const link = new URL(url);
      link.searchParams.set('greenlight-preview', '9999999999~' + FORGED + '~' + '0'.repeat(64));
      const answer = await send(link, { headers: NAVIGATE });
      expectStatus(answer, 403);
      expectNoStore(answer);
      expect(Object.keys(answer.cookies).length === 0, 'it sets a cookie');
    }],
    ['a path that leaves its release is refused (400)', async () => {
      expectStatus(await send(url, { path: '/a/..%2f..%2fsecret', headers: SUBRESOURCE }), 400);
      expectStatus(await send(url, { path: '/%252e%252e/secret', headers: SUBRESOURCE }), 400);
    }]
  ];
}

function previewChecks(link) {
  let token = null;
  return [
    ['the preview link gives its cookie (302)', async () => {
      const answer = await send(link, { headers: NAVIGATE });
      expectStatus(answer, 302);
      expectNoStore(answer);
      const location = new URL(answer.headers.location, link);
      const leadsBack = location.origin === link.origin && location.pathname === link.pathname;
      expect(leadsBack, 'it leads to ' + location.origin + location.pathname);
      expect(!location.searchParams.has('greenlight-preview'), 'it leads back to the link');
      const cookie = answer.cookies['greenlight-preview'];
      expect(cookie && cookie.value !== '', 'it sets no preview cookie');
      expectAttributes(answer);
      token = cookie.value;
    }],
    ['a browser with that cookie sees the previewed release, uncached', async () => {
      expect(token !== null, 'there is no cookie to show');
      for (const headers of [NAVIGATE, SUBRESOURCE]) {
        const shown = { ...headers, cookie: 'greenlight-preview=' + token };
        const answer = await send(link, { headers: shown, path: link.pathname });
        expectMarks(answer);
        const release = answer.headers['x-greenlight-release'];
        expect(release === token.split('~')[1], 'it sees ' + release);
        expect(answer.headers['x-robots-tag'] === 'noindex', 'x-robots-tag is ' + answer.headers['x-robots-tag']);
        expectNoCache(answer);
      }
    }],
    ['the link `off` takes the cookie away', async () => {
      const answer = await send(link, { headers: NAVIGATE, path: link.pathname + '?greenlight-preview=off' });
      expectStatus(answer, 302);
      const cookie = answer.cookies['greenlight-preview'];
      expect(cookie && cookie.attributes.includes('Max-Age=0'), 'the cookie is not cleared');
    }]
  ];
}

// Runs every check, also after one has failed. `say` is told [name, problem or null, remark or null] of each.
export async function check(url, { preview = null, hasPins = true } = {}, say = () => {}) {
  let failures = 0;
  for (const [name, run] of [...checks(url, hasPins), ...(preview ? previewChecks(preview) : [])]) {
    try {
      say(name, null, (await run()) || null);
    } catch (error) {
      failures += 1;
      say(name, error.message, null);
    }
  }
  return failures;
}

function readArguments(args) {
  const rest = [];
  const options = { preview: null, hasPins: true };
  for (let i = 0; i < args.length; i += 1) {
    if (args[i] === '--no-pins') {
      options.hasPins = false;
    } else if (args[i] === '--preview' && i + 1 < args.length) {
      i += 1;
      options.preview = new URL(args[i]);
    } else {
      rest.push(args[i]);
    }
  }
  const url = rest.length === 1 ? new URL(rest[0]) : null;
  if (!url || ![url, options.preview || url].every(({ protocol }) => protocol === 'https:' || protocol === 'http:')) {
    throw new Error('give one http or https URL');
  }
  if (options.preview && options.preview.origin !== url.origin) {
    throw new Error('the preview link is of another site than the URL');
  }
  return { url, options };
}

async function main(args) {
  let wanted = null;
  try {
    wanted = readArguments(args);
  } catch (error) {
    console.error('check.mjs: ' + error.message + '\n' + USAGE);
    return 2;
  }
  const failures = await check(wanted.url, wanted.options, (name, problem, remark) => {
    const more = problem || remark;
    console.log((problem === null ? 'ok      ' : 'FAILED  ') + name + (more ? ': ' + more : ''));
  });
  console.log(failures === 0 ? 'all as it should be' : failures + ' of these are not as they should be');
  return failures === 0 ? 0 : 1;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await main(process.argv.slice(2));
}
