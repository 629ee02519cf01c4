// What build.mjs makes of the edge's code: CommonJS that does the same, and a template that is refused when it would
// not.
//
//   node --test deploy/cloudformation/
//
// Runs the code of edge/dist as Lambda would run what the template puts into index.js. What the code decides is tested
// in edge/test; here it only has to answer.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

import { build, toCommonJs } from './build.mjs';

const DIST = fileURLToPath(new URL('../../edge/dist/', import.meta.url));
const SOURCE = readFileSync(new URL('greenlight-edge.src.yaml', import.meta.url), 'utf8');
const POINTER = {
  v: 1, active: '1.42.0', previous: null, candidate: null, weight: 0, epoch: 1, pin_seconds: 1800,
};

/** Runs code as a CommonJS module; `stubs` stand for packages that only Lambda has. */
function load(code, stubs = {}) {
  const real = createRequire(import.meta.url);
  const module = { exports: {} };
  const wrapped = vm.runInThisContext(`(function (exports, require, module) {${code}\n})`);
  wrapped(module.exports, (name) => stubs[name] ?? real(name), module);
  return module.exports;
}

function built(file) {
  return toCommonJs(readFileSync(join(DIST, file), 'utf8'), file);
}

function viewerRequest(uri) {
  const headers = {
    host: [{ key: 'Host', value: 'www.example.com' }],
    accept: [{ key: 'Accept', value: 'text/html' }],
  };
  const request = { method: 'GET', uri, querystring: '', headers, clientIp: '192.0.2.1' };
  const config = { distributionId: 'E2EXAMPLE', eventType: 'viewer-request', requestId: 'EXAMPLE-REQUEST' };
  return { Records: [{ cf: { config, request } }] };
}

test('every form of import and export that is known does the same as CommonJS', async () => {
  const code = `import { createHash as hash } from 'node:crypto';
import * as path from 'node:path';
import os from 'node:os';
export const extension = path.extname('index.html');
const inner = () => hash('sha256').update('').digest('hex').slice(0, 4) + typeof os.EOL;
export async function handler() { return inner() + (await import('node:url')).fileURLToPath('file:///a'); }
export { inner as outer };
`;
  const module = load(toCommonJs(code));
  assert.equal(module.extension, '.html');
  assert.equal(module.outer(), 'e3b0string');
  assert.equal(await module.handler(), 'e3b0string/a');
});

test('a form that is not known is refused, not passed on', () => {
  for (const line of [
    `import cloudfront from 'cloudfront';`,
    `import './side-effect.mjs';`,
    `import a, { b } from 'node:fs';`,
    `export default handler;`,
    `export * from 'node:fs';`,
    `export class Handler {}`,
    `const here = import.meta.url;`,
    `const there = await import(here);`,
  ]) {
    assert.throws(() => toCommonJs(`export const handler = 1;\n${line}\n`), /can't be made CommonJS/, line);
  }
  assert.throws(() => toCommonJs('const handler = 1;\n'), /exports no handler/);
});

test("the edge's viewer-request answers as CommonJS, with a pointer from SSM", async () => {
  const names = [];
  class SSMClient {
    async send({ input }) {
      names.push(input.Name);
      return { Parameter: { Value: JSON.stringify(POINTER) } };
    }
  }
  class GetParameterCommand {
    constructor(input) {
      this.input = input;
    }
  }
  const { handler } = load(built('lambda/viewer-request/index.mjs'), {
    '@aws-sdk/client-ssm': { SSMClient, GetParameterCommand },
  });
  const request = await handler(viewerRequest('/'), {});
  assert.equal(request.uri, '/releases/1.42.0/index.html');
  assert.ok(request.headers['x-greenlight-decision'], 'it hands its decision on');
  assert.deepEqual(names, ['/storefront/production/release']);
});

test("the edge's viewer-response answers as CommonJS", async () => {
  const { handler } = load(built('lambda/viewer-response/index.mjs'));
  const event = viewerRequest('/releases/1.42.0/index.html');
  event.Records[0].cf.request.headers['x-greenlight-decision'] = [
    { key: 'x-greenlight-decision', value: '{"r":"1.42.0","c":[["greenlight-pin","1.42.0~1",1800]]}' },
  ];
  event.Records[0].cf.response = { status: '200', statusDescription: 'OK', headers: {} };
  const response = await handler(event, {});
  assert.equal(response.headers['x-greenlight-release'][0].value, '1.42.0');
});

test('code that the template could not carry unchanged is refused', (t) => {
  const dist = mkdtempSync(join(tmpdir(), 'greenlight-template-'));
  t.after(() => rmSync(dist, { recursive: true }));
  const config = '{"prefix":"releases/","fallback":"spa","key":"a"}';
  const refuses = (code, why) => {
    const file = join(dist, 'cloudfront-function/viewer-request.js');
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, code);
    assert.throws(() => build("FunctionCode: '@code(cloudfront-function/viewer-request.js)'", dist), why);
  };
  refuses('function handler() {}\n', /0 lines begin with/);
  refuses(`const CONFIG = ${config};\nconst CONFIG = ${config};\n`, /2 lines begin with/);
  refuses('const CONFIG = {"prefix":"releases/"};\n', /is configured by prefix, and/);
  refuses('const CONFIG = {prefix};\n', /can't be read/);
  refuses(`const CONFIG = ${config};\nconst a = '\u00e9';\n`, /not printable ASCII/);
});

test('the configuration alone is filled in: what looks like a variable in the code stays', () => {
  const template = build(SOURCE, DIST);
  const config = '{"prefix":"${ReleasePrefix}","fallback":"${Fallback}","key":"${PointerName}"}';
  assert.ok(template.includes(`- Fn::Sub: 'const CONFIG = ${config};'`));
  assert.doesNotMatch(template, /@(code|hash)\(\w/, 'every marker is replaced');
});
