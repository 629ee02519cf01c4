// The share of visitors: as large as the weight says, and never taking anyone back while it grows.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';

import { createFunctionEdge, createLambdaEdge, pointer } from './support/edges.mjs';
import { NAVIGATE } from './support/browser.mjs';
import { loadFunction } from './support/function-host.mjs';

const VISITORS = 100000;
const WEIGHTS = [1, 5, 10, 25, 50, 90, 99];
const CANDIDATES = ['1.43.0', '1.43.0+build.7', 'main-3f2a9c1', 'a'];

const { bucketOf, byWeight } = loadFunction('cloudfront-function/viewer-request.js', { names: ['bucketOf', 'byWeight'] });

// The release of the visitor `name`, by the built function's own choice.
function releaseOf(name, document) {
  return byWeight(document, { cookie: () => name }, []);
}

function visitor(number, seed) {
  return createHash('sha256')
    .update(seed + '/' + number)
    .digest('hex')
    .slice(0, 32);
}

// Names that differ in a few digits only: the hash has to do all the mixing.
function plainVisitor(number) {
  return number.toString(16).padStart(32, '0');
}

test('of 100,000 visitors the share is within half a percent of the weight', () => {
  const names = Array.from({ length: VISITORS }, (_, number) => visitor(number, 'share'));
  for (const weight of WEIGHTS) {
    const document = JSON.parse(pointer({ candidate: '1.43.0', weight }));
    const share = (names.filter((name) => releaseOf(name, document) === '1.43.0').length * 100) / VISITORS;
    assert.ok(Math.abs(share - weight) <= 0.5, weight + ': ' + share);
  }
});

for (const candidate of CANDIDATES) {
  test('so it is for the candidate ' + candidate.slice(0, 20) + ', also with names that hardly differ', () => {
    for (const nameOf of [(number) => visitor(number, 'share'), plainVisitor]) {
      const buckets = Array.from({ length: VISITORS }, (_, number) => bucketOf(nameOf(number), candidate));
      for (const weight of WEIGHTS) {
        const share = (buckets.filter((bucket) => bucket < weight * 100).length * 100) / VISITORS;
        assert.ok(Math.abs(share - weight) <= 0.5, weight + ': ' + share);
      }
    }
  });
}

test('a bucket is a whole number from 0 to 9999, and each is used', () => {
  const seen = new Set();
  for (let number = 0; number < 200000; number += 1) {
    seen.add(bucketOf(plainVisitor(number), '1.43.0'));
  }
  assert.ok([...seen].every((bucket) => Number.isInteger(bucket) && bucket >= 0 && bucket < 10000));
  assert.equal(seen.size, 10000);
});

test('the share ends exactly where the weight says', () => {
  const visitors = new Map();
  for (let number = 0; visitors.size < 10000; number += 1) {
    visitors.set(bucketOf(plainVisitor(number), '1.43.0'), plainVisitor(number));
  }
  for (let weight = 1; weight < 100; weight += 1) {
    const document = JSON.parse(pointer({ candidate: '1.43.0', weight }));
    assert.equal(releaseOf(visitors.get(weight * 100 - 1), document), '1.43.0');
    assert.equal(releaseOf(visitors.get(weight * 100), document), '1.42.0');
  }
});

test('candidates meet different visitors first', () => {
  const first = (candidate) =>
    Array.from({ length: 20000 }, (_, number) => bucketOf(visitor(number, 'meet'), candidate) < 1000);
  const one = first('1.43.0');
  const other = first('1.44.0');
  const both = one.filter((isIn, number) => isIn && other[number]).length;
  // Independent draws of a tenth each have a hundredth in common: 200 of 20,000.
  assert.ok(both > 130 && both < 270, String(both));
});

test('the bucket of a visitor is what it was when this was written', () => {
  // Two versions of this function run side by side while CloudFront replicates one: they must agree.
  assert.deepEqual(
    [
      bucketOf('0'.repeat(32), '1.43.0'),
      bucketOf('f'.repeat(32), '1.43.0'),
      bucketOf('00112233445566778899aabbccddeeff', 'a')
    ],
    [5841, 9471, 6513]
  );
});

for (const [packaging, createEdge] of [
  ['CloudFront Function', createFunctionEdge],
  ['Lambda@Edge', createLambdaEdge]
]) {
  test(packaging + ': nobody changes sides while the weight grows from 0 to 100', async () => {
    const people = Array.from({ length: 300 }, (_, number) => visitor(number, 'grow'));
    const moved = new Map();
    for (let weight = 0; weight <= 100; weight += 1) {
      const edge = createEdge({ text: pointer({ candidate: '1.43.0', weight }) });
      for (const name of people) {
        const forwarded = await edge.request({ headers: NAVIGATE, cookies: { 'greenlight-visitor': name } });
        const release = JSON.parse(forwarded.headers['x-greenlight-decision']).r;
        if (moved.has(name)) {
          assert.equal(release, '1.43.0', name + ' went back at ' + weight);
        } else if (release === '1.43.0') {
          moved.set(name, weight);
        }
      }
      assert.ok(weight > 0 || moved.size === 0);
    }
    assert.equal(moved.size, people.length);
  });

  test(packaging + ': of newcomers too the share is what the weight says', async () => {
    const edge = createEdge({ text: pointer({ candidate: '1.43.0', weight: 25 }) });
    let count = 0;
    for (let number = 0; number < 20000; number += 1) {
      const forwarded = await edge.request({ headers: NAVIGATE, requestId: 'EXAMPLE-share-' + number });
      count += JSON.parse(forwarded.headers['x-greenlight-decision']).r === '1.43.0' ? 1 : 0;
    }
    const share = (count * 100) / 20000;
    assert.ok(Math.abs(share - 25) <= 1, String(share));
  });
}
