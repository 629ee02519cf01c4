// Random events: the same for the same seed, and full of what nobody should send.

import { functionEvent, lambdaEvent, pointer } from './edges.mjs';
import { tokenFor } from './previews.mjs';

const DECISION = 'x-greenlight-decision';

// Mulberry32: a small generator whose seed is the event's number.
export function createRandom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const below = (limit) => Math.floor(next() * limit);
  const pick = (list) => list[below(list.length)];
  return { next, below, pick, often: (share) => next() < share };
}

const PIECES = [
  '/',
  '//',
  '.',
  '..',
  '%',
  '%2',
  '%2e',
  '%2E',
  '%252e',
  '%2f',
  '%252f',
  '%5c',
  '\\',
  '%00',
  '\u0000',
  '%zz',
  '%ff',
  '%c0%ae',
  '%e2%82',
  'a',
  'index.html',
  'app.3f2a9c1b.js',
  'releases',
  '1.42.0',
  '1.41.3',
  '1.43.0+x',
  '%2B',
  '+',
  ' ',
  'ü',
  '😀',
  '\ud800',
  '~',
  '?',
  '#',
  ';',
  '=',
  '&',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '.well-known',
  'sw.js',
  '\r\n',
  '\t',
  '"',
  "'",
  '<script>',
  '${x}',
  'greenlight-preview',
  'off',
  '9'.repeat(30),
  'x'.repeat(700),
  'NaN',
  'null',
  'undefined',
  '-1',
  '1e9'
];
const NAMES = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'valueOf',
  'hasOwnProperty',
  'a',
  '',
  'greenlight-pin',
  'greenlight-visitor',
  'greenlight-preview',
  'greenlight-preview',
  DECISION,
  'accept',
  'sec-fetch-mode',
  'sec-fetch-dest',
  'sec-purpose',
  'cookie',
  'x-greenlight-release'
];

function text(random) {
  return Array.from({ length: random.below(7) }, () => random.pick(PIECES)).join('');
}

function value(random) {
  return random.pick([
    () => text(random),
    () => text(random),
    () => 'navigate',
    () => 'text/html',
    () => 'iframe',
    () => 'prefetch',
    () => tokenFor(random.pick(['1.44.0', '1.42.0'])),
    () => random.pick(['1.41.3', '1.42.0', text(random)]) + '~' + random.below(20),
    () => 'ab'.repeat(16),
    () => '{"r":"1.42.0","c":[["greenlight-pin","x",1]]}',
    () => ''
  ])();
}

function entries(random, write) {
  const found = {};
  for (let i = random.below(6); i > 0; i -= 1) {
    Object.defineProperty(found, random.pick(NAMES), {
      value: write(),
      enumerable: true,
      configurable: true,
      writable: true
    });
  }
  return found;
}

const STRANGE = [
  undefined,
  null,
  0,
  7,
  true,
  '',
  'x',
  [],
  {},
  [null],
  { value: null },
  { value: 7 },
  { value: { a: 1 } },
  { multiValue: [] }
];

function strange(random, good) {
  return random.often(0.06) ? random.pick(STRANGE) : good();
}

function asked(random) {
  return {
    method: random.pick(['GET', 'GET', 'GET', 'HEAD', 'POST', 'OPTIONS', 'PUT', '']),
    path: random.often(0.9) ? '/' + text(random) : text(random),
    query: '',
    headers: {},
    cookies: {},
    requestId: text(random)
  };
}

export function pointerText(random) {
  return random.often(0.8)
    ? pointer(
        random.pick([
          {},
          { candidate: '1.43.0+x', weight: random.below(101) },
          { pin_seconds: 0 },
          { epoch: random.below(15) },
          { previous: null }
        ])
      )
    : random.pick([
        '',
        'null',
        '{',
        text(random),
        pointer({ active: '!' + text(random) }),
        pointer({ weight: text(random) })
      ]);
}

export function functionNonsense(random) {
  const event = functionEvent(asked(random), 'viewer-request');
  const single = () => {
    const one = { value: value(random) };
    return random.often(0.1) ? { ...one, multiValue: [one, strange(random, () => ({ value: value(random) }))] } : one;
  };
  const entry = () => strange(random, single);
  const { request } = event;
  request.headers = strange(random, () => entries(random, entry));
  request.cookies = strange(random, () => entries(random, entry));
  request.querystring = strange(random, () => entries(random, entry));
  request.uri = strange(random, () => request.uri);
  request.method = strange(random, () => request.method);
  event.context = strange(random, () => event.context);
  event.response = {
    statusCode: random.pick([200, 206, 304, 302, 404, 500]),
    headers: entries(random, single),
    ...(random.often(0.5) ? { cookies: {} } : {})
  };
  return event;
}

export function lambdaNonsense(random) {
  const event = lambdaEvent(asked(random), 'viewer-request');
  const record = event.Records[0].cf;
  const entry = () => strange(random, () => [{ key: 'x', value: value(random) }]);
  const headers = entries(random, entry);
  headers.cookie = strange(random, () => [
    { key: 'Cookie', value: random.pick(NAMES) + '=' + value(random) + '; ' + random.pick(NAMES) + '=' + value(random) }
  ]);
  record.request.headers = strange(random, () => headers);
  record.request.querystring = strange(random, () => random.pick(NAMES) + '=' + value(random) + '&' + text(random));
  record.request.uri = strange(random, () => record.request.uri);
  record.request.method = strange(random, () => record.request.method);
  record.config = strange(random, () => record.config);
  return random.often(0.98) ? event : random.pick([{}, { Records: [] }, { Records: [{}] }, null, undefined]);
}
