// The pointer: what is readable, what is broken, and what happens then.

import assert from 'node:assert/strict';
import test from 'node:test';

import { createFunctionEdge, createLambdaEdge, EDGES, KEY, onEachEdge, pointer } from './support/edges.mjs';
import { NAVIGATE, SUBRESOURCE } from './support/browser.mjs';

const BROKEN = [
  '',
  ' ',
  'null',
  'true',
  '7',
  '"1.42.0"',
  '1.42.0',
  '[]',
  '{}',
  '{',
  'undefined',
  '\u0000',
  pointer({ v: 2 }),
  pointer({ v: '1' }),
  pointer({ v: undefined }),
  pointer({ active: undefined }),
  pointer({ active: null }),
  pointer({ active: '' }),
  pointer({ active: 7 }),
  pointer({ active: '../1.42.0' }),
  pointer({ active: '1.42.0\n' }),
  pointer({ active: '-1' }),
  pointer({ active: 'a/b' }),
  pointer({ active: 'v'.repeat(129) }),
  pointer({ active: ['1.42.0'] }),
  pointer({ active: { toString: '1' } }),
  pointer({ previous: '../x' }),
  pointer({ candidate: 'x y' }),
  pointer({ candidate: 7 }),
  pointer({ previous: {} }),
  pointer({ previous: '' }),
  pointer({ candidate: false }),
  pointer({ weight: -1 }),
  pointer({ weight: 101 }),
  pointer({ weight: '5' }),
  pointer({ weight: 0.5 }),
  pointer({ weight: null }),
  pointer({ epoch: -1 }),
  pointer({ epoch: '7' }),
  pointer({ epoch: undefined }),
  pointer({ pin_seconds: -1 }),
  pointer({ pin_seconds: '0' }),
  pointer() + 'x',
  pointer().slice(0, -1),
  '[' + pointer() + ']'
];

onEachEdge(test, 'without a readable pointer the answer is 503, and nobody keeps it', async (createEdge) => {
  for (const text of BROKEN) {
    const answer = await createEdge({ text }).request({ path: '/app.js', headers: NAVIGATE });
    assert.equal(answer.status, 503, JSON.stringify(text));
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.equal(answer.headers['content-type'], 'text/plain');
    assert.equal(answer.headers['retry-after'], '5');
    assert.deepEqual(answer.cookies, {});
  }
});

onEachEdge(
  test,
  'a pointer may leave previous and candidate out, and hold what is not known yet',
  async (createEdge) => {
    const least = '{"v":1,"active":"1.42.0","weight":0,"epoch":0,"pin_seconds":0,"note":"later"}';
    const forwarded = await createEdge({ text: least }).request({ path: '/app.js', headers: SUBRESOURCE });
    assert.equal(forwarded.uri, '/releases/1.42.0/app.js');
  }
);

onEachEdge(test, 'the greatest epoch that the service can write still works', async (createEdge) => {
  const text = pointer().replace('"epoch":7', '"epoch":9223372036854775807');
  const edge = createEdge({ text });
  const opened = await edge.request({ headers: NAVIGATE });
  const [[, pin]] = JSON.parse(opened.headers['x-greenlight-decision']).c;
  const loaded = await edge.request({
    headers: SUBRESOURCE,
    cookies: { 'greenlight-pin': pin.replace('1.42.0', '1.41.3') }
  });
  assert.equal(loaded.headers['x-greenlight-decision'], '{"r":"1.41.3","c":[]}');
});

test('KeyValueStore: the copy of the last good pointer is used when the pointer is broken or missing', async () => {
  for (const text of BROKEN) {
    const edge = createFunctionEdge({ text });
    edge.store.values.set(KEY + '.last-good', pointer({ active: '1.40.0' }));
    assert.equal((await edge.request({ path: '/app.js' })).uri, '/releases/1.40.0/app.js', JSON.stringify(text));
  }
  const edge = createFunctionEdge();
  edge.store.values.delete(KEY);
  edge.store.values.set(KEY + '.last-good', pointer({ active: '1.40.0' }));
  assert.equal((await edge.request({ path: '/app.js' })).uri, '/releases/1.40.0/app.js');
});

test('KeyValueStore: when the copy is broken too, or the store fails, the answer is 503', async () => {
  const broken = createFunctionEdge({ text: '{' });
  broken.store.values.set(KEY + '.last-good', '{');
  assert.equal((await broken.request({ path: '/app.js' })).status, 503);

  const failing = createFunctionEdge();
  failing.store.failure = new Error('the store is out of reach');
  assert.equal((await failing.request({ path: '/app.js' })).status, 503);
});

test('KeyValueStore: the copy is read only when it is needed', async () => {
  const edge = createFunctionEdge();
  edge.store.values.set(KEY + '.last-good', pointer({ active: '1.40.0' }));
  await edge.request({ path: '/app.js' });
  assert.deepEqual(edge.store.asked, [KEY]);
});

test('SSM: a pointer that becomes broken or goes away leaves the last good one in use', async () => {
  for (const text of BROKEN) {
    const edge = createLambdaEdge();
    await edge.request({ path: '/app.js' });
    edge.flip(text);
    assert.equal((await edge.request({ path: '/app.js' })).uri, '/releases/1.42.0/app.js', JSON.stringify(text));
  }
});

test('both packagings read the same pointers', async () => {
  for (const text of [...BROKEN, pointer(), pointer({ weight: 100 }), pointer({ previous: null })]) {
    const answers = [];
    for (const [, createEdge] of EDGES) {
      const answer = await createEdge({ text }).request({ path: '/x.js', headers: SUBRESOURCE });
      answers.push(answer.status || answer.uri);
    }
    assert.equal(answers[0], answers[1], JSON.stringify(text));
  }
});
