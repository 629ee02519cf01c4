// The build: dist/ is what src/ gives, small enough, and configured copies hold what was asked for.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'node:test';

import { build, problemOf, SIZE_MAX_BYTES, TARGETS } from '../build.mjs';
import { readSettings } from '../settings.mjs';
import { readDist } from './support/function-host.mjs';

const EDGE = fileURLToPath(new URL('..', import.meta.url));

function run(args, cwd = EDGE) {
  return spawnSync(process.execPath, [join(cwd, 'build.mjs'), ...args], { encoding: 'utf8' });
}

async function inTemporary(use) {
  const directory = mkdtempSync(join(tmpdir(), 'greenlight-edge-'));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('dist/ is what src/ gives', () => {
  const result = run(['--check']);
  assert.equal(result.status, 0, result.stderr);
});

test('--check fails, and names the file, when dist/ is changed, stale or missing', async () => {
  await inTemporary((directory) => {
    for (const part of ['src', 'dist', 'build.mjs', 'settings.mjs', 'package.json']) {
      cpSync(join(EDGE, part), join(directory, part), { recursive: true });
    }
    assert.equal(run(['--check'], directory).status, 0);
    const file = join(directory, 'dist/cloudfront-function/viewer-response.js');
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text + '\n');
    const changed = run(['--check'], directory);
    assert.equal(changed.status, 1);
    assert.match(changed.stderr, /cloudfront-function\/viewer-response\.js/);
    assert.equal(readFileSync(file, 'utf8'), text + '\n', 'nothing is written');

    writeFileSync(file, text);
    const source = join(directory, 'src/core/bucket.js');
    writeFileSync(source, readFileSync(source, 'utf8').replace('10000', '1000'));
    assert.match(run(['--check'], directory).stderr, /lambda\/viewer-request/);
    assert.equal(run([], directory).status, 0);
    assert.equal(run(['--check'], directory).status, 0);

    rmSync(join(directory, 'dist'), { recursive: true });
    assert.equal(run(['--check'], directory).status, 1);
  });
});

test('each file that takes settings has one line for them, the others none', () => {
  const expected = {
    'cloudfront-function/viewer-request.js': { prefix: 'releases/', fallback: 'spa', key: 'storefront/production' },
    'cloudfront-function/viewer-response.js': null,
    'lambda/viewer-request/index.mjs': {
      prefix: 'releases/',
      fallback: 'spa',
      parameter: '/storefront/production/release',
      regions: ['us-east-1'],
      edge_ttl_seconds: 5
    },
    'lambda/viewer-response/index.mjs': null
  };
  expected['lambda/origin-request/index.mjs'] = expected['lambda/viewer-request/index.mjs'];
  assert.deepEqual(TARGETS.map(({ file }) => file).sort(), Object.keys(expected).sort());
  for (const [file, config] of Object.entries(expected)) {
    const lines = readDist(file)
      .split('\n')
      .filter((line) => line.startsWith('const CONFIG = '));
    assert.deepEqual(lines, config ? ['const CONFIG = ' + JSON.stringify(config) + ';'] : [], file);
  }
});

test('the CloudFront Functions fit, and CloudFormation can take them as they are', () => {
  for (const { file, kind } of TARGETS.filter((target) => target.kind === 'function')) {
    const text = readDist(file);
    assert.equal(kind, 'function');
    assert.ok(Buffer.byteLength(text) < SIZE_MAX_BYTES, file + ' has ' + Buffer.byteLength(text) + ' bytes');
    assert.ok(!text.includes('${') && !text.includes('`'), file);
    assert.ok(/^[\x00-\x7f]*$/.test(text), file + ' is plain ASCII');
  }
});

test('a function that is too large, or holds a template literal, is refused', () => {
  const [target] = TARGETS;
  assert.match(problemOf(target, 'x'.repeat(SIZE_MAX_BYTES)), /less than 10240/);
  assert.equal(problemOf(target, 'x'.repeat(SIZE_MAX_BYTES - 1)), null);
  assert.match(problemOf(target, 'ü'.repeat(SIZE_MAX_BYTES / 2)), /less than 10240/);
  assert.match(problemOf(target, "'${x}'"), /template/);
  assert.match(problemOf(target, 'const CONFIG = {};\nconst CONFIG = {};\n'), /more than one/);
  assert.throws(() => build([target], () => ({ key: 'k'.repeat(2000) })), /viewer-request\.js has \d+ bytes/);
});

const BOTH = [
  '--prefix',
  'web/',
  '--fallback=index',
  '--key',
  'shop:eu/production',
  '--parameter',
  '/shop/production/release',
  '--regions',
  'eu-west-1,us-east-1',
  '--edge-ttl-seconds',
  '10'
];

test('--out writes configured copies that run', async () => {
  await inTemporary(async (directory) => {
    const out = join(directory, 'functions');
    const result = run(['--out', out, ...BOTH]);
    assert.equal(result.status, 0, result.stderr);
    const read = (file) => readFileSync(join(out, file), 'utf8');
    assert.match(
      read('cloudfront-function/viewer-request.js'),
      /^const CONFIG = \{"prefix":"web\/","fallback":"index","key":"shop:eu\/production"\};$/m
    );
    const lambda = /^const CONFIG = (.*);$/m.exec(read('lambda/viewer-request/index.mjs'))[1];
    assert.deepEqual(JSON.parse(lambda), {
      prefix: 'web/',
      fallback: 'index',
      parameter: '/shop/production/release',
      regions: ['eu-west-1', 'us-east-1'],
      edge_ttl_seconds: 10
    });
    assert.equal(read('cloudfront-function/viewer-response.js'), readDist('cloudfront-function/viewer-response.js'));
    for (const kind of ['viewer-request', 'viewer-response', 'origin-request']) {
      const module = await import('file://' + join(out, 'lambda', kind, 'index.mjs'));
      assert.equal(typeof module.handler, 'function');
    }
  });
});

test('--out writes only the kind that was asked for', async () => {
  await inTemporary((directory) => {
    assert.equal(run(['--out', directory, '--key', 'shop/production', '--prefix', '']).status, 0);
    assert.ok(existsSync(join(directory, 'cloudfront-function/viewer-request.js')));
    assert.ok(!existsSync(join(directory, 'lambda')));
    assert.match(
      readFileSync(join(directory, 'cloudfront-function/viewer-request.js'), 'utf8'),
      /"prefix":"","fallback":"spa"/
    );
  });
});

const GOOD = { '--out': 'x', '--key': 'shop', '--parameter': '/shop', '--regions': 'us-east-1' };

function problemsWith(changes) {
  const flags = Object.entries({ ...GOOD, ...changes }).filter(([, value]) => value !== null);
  return readSettings(flags.flat()).problems;
}

test('good settings are taken', () => {
  for (const changes of [
    {},
    { '--prefix': '' },
    { '--prefix': 'a/b c/d+e/' },
    { '--prefix': "!_.*'()@=+,:~-/" },
    { '--fallback': 'none' },
    { '--key': 'A-z_0.9:/x' },
    { '--key': 'k'.repeat(500) },
    { '--parameter': 'release' },
    { '--parameter': '/a.b/c-d_e' },
    { '--regions': 'us-gov-west-1,ap-southeast-2' },
    { '--edge-ttl-seconds': '1' },
    { '--edge-ttl-seconds': '3600' },
    { '--parameter': null, '--regions': null },
    { '--key': null }
  ]) {
    assert.deepEqual(problemsWith(changes), [], JSON.stringify(changes));
  }
});

test('a bad setting is refused by name', () => {
  for (const [flag, values] of Object.entries({
    '--prefix': [
      '/',
      '/releases/',
      'releases',
      '../',
      'a/../',
      './',
      'a//',
      'a/./',
      'releases/{release}/',
      '${x}/',
      'a\\/',
      'a%2f/',
      'a\n/',
      'ü/',
      'a/'.repeat(300)
    ],
    '--fallback': ['', 'SPA', 'html', 'true'],
    '--key': ['', 'a b', 'a.last-good', 'a.preview-key', 'k'.repeat(501), '${x}', 'a\nb', "a'b"],
    '--parameter': [
      '',
      '/',
      '//a',
      '/a/',
      'a/b',
      '/aws/x',
      'ssm-x',
      '/a b',
      '/x.preview-key',
      '/' + 'x'.repeat(999),
      '/a'.repeat(16),
      'a\n'
    ],
    '--regions': [
      '',
      'us-east-1,',
      'us-east-1, eu-west-1',
      'US-EAST-1',
      'useast1',
      'us-east-1,us-east-1',
      'us-east-1\n'
    ],
    '--edge-ttl-seconds': ['', '0', '-1', '3601', '5s', '1.5', '1e2', '99999', '5\n']
  })) {
    for (const value of values) {
      const found = readSettings(
        Object.entries({ ...GOOD, [flag]: value }).map(([name, text]) => name + '=' + text)
      ).problems;
      assert.equal(found.length, 1, flag + ' ' + JSON.stringify(value) + ': ' + JSON.stringify(found));
      assert.ok(found[0].startsWith(flag + ' '), found[0]);
    }
  }
});

test('flags that do not go together are refused, each with what to do', () => {
  for (const [args, expected] of [
    [['--key', 'x'], /--out DIR is needed/],
    [['--out', 'x'], /--key is needed .* --parameter/],
    [['--out', 'x', '--parameter', '/x'], /--parameter needs --regions/],
    [['--out', 'x', '--key', 'x', '--regions', 'us-east-1'], /--regions goes with --parameter/],
    [['--out', 'x', '--key', 'x', '--edge-ttl-seconds', '5'], /--edge-ttl-seconds goes with/],
    [['--out'], /--out needs a value/],
    [['--out', '--key', 'x'], /--out needs a value/],
    [['--out', 'x', '--key', 'x', '--key', 'y'], /--key is given twice/],
    [['--out', 'x', '--key', 'x', '--fast'], /there is no --fast/],
    [['--out', 'x', '--key', 'x', 'y'], /there is no y/],
    [['--check', '--out', 'x', '--key', 'x'], /there is no --check together/],
    [['--out', 'x', '--key', 'x', '--__proto__', 'y'], /there is no --__proto__/]
  ]) {
    assert.match(readSettings(args).problems.join('; '), expected);
  }
});

test('problems are all told at once, and nothing is written', async () => {
  await inTemporary((directory) => {
    const out = join(directory, 'functions');
    const result = run(['--out', out, '--key', 'a b', '--prefix', '/x', '--fallback', 'y']);
    assert.equal(result.status, 2);
    for (const flag of ['--key', '--prefix', '--fallback', '--help']) {
      assert.ok(result.stderr.includes(flag), flag);
    }
    assert.ok(!existsSync(out));
  });
});

test('--help names every flag', () => {
  const { status, stdout } = run(['--help']);
  assert.equal(status, 0);
  for (const flag of [
    '--check',
    '--out',
    '--key',
    '--parameter',
    '--regions',
    '--edge-ttl-seconds',
    '--prefix',
    '--fallback'
  ]) {
    assert.ok(stdout.includes(flag), flag);
  }
});

test('the lock file names no registry', () => {
  const lock = readFileSync(join(EDGE, 'package-lock.json'), 'utf8');
  assert.ok(!lock.includes('"resolved"'));
  assert.ok(lock.includes('"integrity"'));
});
