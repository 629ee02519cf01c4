// The same answers in njs as in Node: of the engines to be had, njs has the features closest to what AWS documents.
//
// Opt-in (`npm run test:njs`), since not every machine has njs: `apt-get install njs` on Debian, or NJS names the
// program. Each event, sensible and not, goes through the built functions in both engines. The language that AWS
// documents is held for everyone by ../syntax.test.mjs.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';

import { functionEvent, KEY, plain, pointer, SECRET, START } from '../support/edges.mjs';
import { NAVIGATE, SUBRESOURCE } from '../support/browser.mjs';
import { createStore, loadFunction, readDist } from '../support/function-host.mjs';
import { createRandom, functionNonsense, pointerText } from '../support/nonsense.mjs';
import { tokenFor } from '../support/previews.mjs';

const NJS = process.env.NJS || 'njs';
const NONSENSE = 3000;

const STORE_MODULE = `
let values = {};
export default {
  kvs: () => ({
    get: (key) => Object.keys(values).indexOf(key) >= 0 ? Promise.resolve(values[key]) : Promise.reject(new Error('KeyNotFound'))
  }),
  fill: (next) => { values = next; }
};
`;

// Runs each case in turn, and writes down what became of it (console.log ends a line at 2,048 characters).
const DRIVER = `
import fs from 'fs';
const cases = JSON.parse(fs.readFileSync('DIRECTORY/cases.json', 'utf8'));
function run(number) {
  if (number === cases.length) {
    return;
  }
  cf.fill(cases[number].values);
  Promise.resolve(handler(cases[number].event)).then((result) => {
    fs.appendFileSync('DIRECTORY/results', JSON.stringify(result) + '\\n');
    run(number + 1);
  });
}
run(0);
`;

function inNjs(file, cases) {
  const directory = mkdtempSync(join(tmpdir(), 'greenlight-njs-'));
  try {
    writeFileSync(join(directory, 'cases.json'), JSON.stringify(cases));
    writeFileSync(join(directory, 'cloudfront'), STORE_MODULE);
    const text = readDist(file).replace("import cf from 'cloudfront';", '').replaceAll('Date.now()', String(START));
    writeFileSync(
      join(directory, 'main.js'),
      "import cf from 'cloudfront';\n" + text + DRIVER.replaceAll('DIRECTORY', directory)
    );
    const result = spawnSync(NJS, ['-p', directory, join(directory, 'main.js')], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      timeout: 120000
    });
    assert.ok(
      !result.error,
      'this test needs njs (apt-get install njs, or NJS=/path/to/njs): ' + (result.error && result.error.message)
    );
    assert.equal(result.status, 0, result.stderr || result.stdout.slice(-2000));
    return readFileSync(join(directory, 'results'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function inNode(file, cases) {
  const results = [];
  for (const { event, values } of cases) {
    const { handler } = loadFunction(file, { store: createStore(values), now: () => START });
    results.push(plain(await handler(event)));
  }
  return results;
}

// njs has no strings that aren't Unicode, and neither has HTTP.
function isUnicode(value) {
  return !/[\ud800-\udfff]/.test(
    JSON.stringify(value)
      .replace(/[\ud800-\udbff][\udc00-\udfff]/g, '')
      .replace(/\\ud[89a-f]/gi, '\ud800')
  );
}

const PATHS = [
  '/',
  '/about',
  '/a/b/',
  '/app.3f2a9c1b.js',
  '/%2e%2e/x',
  '/..',
  '/a%5cb',
  '/a%2fb',
  '/a%00',
  '/%',
  '/%c0%ae',
  '/%252e',
  '/ü',
  '/%C3%BC',
  '/😀.png',
  '/releases/1.41.3/app.js',
  '/releases/1.43.0%2Bx/app.js',
  '/releases/1.42.0%0a/app.js',
  '/.well-known/x',
  '//evil.example'
];
const COOKIES = [
  {},
  { 'greenlight-pin': '1.41.3~7' },
  { 'greenlight-pin': '1.41.3~7\n' },
  { 'greenlight-pin': '1.41.3\n~7' },
  { 'greenlight-visitor': 'ab'.repeat(16) },
  { 'greenlight-visitor': 'ab'.repeat(16) + '\n' },
  { 'greenlight-preview': tokenFor('1.44.0') },
  { 'greenlight-preview': tokenFor('1.44.0') + '\n' },
  { 'greenlight-preview': tokenFor('1.44.0', { secret: 'f'.repeat(64) }) }
];
const QUERIES = [
  '',
  'greenlight-preview=' + tokenFor('1.44.0') + '&a=1&b=ü&a=2',
  'greenlight-preview=off',
  'greenlight-preview=%0a',
  'greenlight-preview=' + tokenFor('1.44.0') + '%0a'
];

function sensible() {
  const cases = [];
  for (const fields of [{}, { candidate: '1.43.0+x', weight: 37 }]) {
    for (const path of PATHS) {
      for (const cookies of COOKIES) {
        for (const query of QUERIES) {
          for (const headers of [NAVIGATE, SUBRESOURCE]) {
            const event = functionEvent(
              { method: 'GET', path, query, headers, cookies, requestId: path + query },
              'viewer-request'
            );
            cases.push({ event, values: { [KEY]: pointer(fields), [KEY + '.preview-key']: SECRET } });
          }
        }
      }
    }
  }
  return cases;
}

function nonsense() {
  return Array.from({ length: NONSENSE }, (_, number) => {
    const random = createRandom(number + 3e6);
    return {
      event: functionNonsense(random),
      values: { [KEY]: pointerText(random), [KEY + '.last-good']: pointerText(random), [KEY + '.preview-key']: SECRET }
    };
  })
    .map(plain)
    .filter(isUnicode);
}

for (const file of ['cloudfront-function/viewer-request.js', 'cloudfront-function/viewer-response.js']) {
  for (const [kind, casesOf] of [
    ['sensible', sensible],
    ['nonsensical', nonsense]
  ]) {
    test(file + ': njs and Node agree on ' + kind + ' events', async () => {
      const cases =
        file.includes('response') && kind === 'sensible'
          ? PATHS.map((path) => ({
              event: {
                request: {
                  uri: path,
                  headers: {
                    'x-greenlight-decision': { value: '{"r":"1.42.0","c":[["greenlight-pin","1.42.0~7",1800]]}' }
                  }
                },
                response: { statusCode: 200, headers: {} }
              },
              values: {}
            }))
          : casesOf();
      assert.ok(cases.length > 10);
      const expected = await inNode(file, plain(cases));
      const actual = inNjs(file, plain(cases));
      assert.equal(actual.length, expected.length);
      for (const [number, result] of actual.entries()) {
        assert.deepEqual(result, expected[number], JSON.stringify(cases[number]));
      }
    });
  }
}
