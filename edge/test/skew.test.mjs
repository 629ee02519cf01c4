// Skew protection: a page keeps the assets of its own release through a flip, and a rollback frees everyone.

import assert from 'node:assert/strict';
import test from 'node:test';

import { onEachEdge, pointer } from './support/edges.mjs';
import { createBrowser } from './support/browser.mjs';

const A = { active: 'a', previous: null };
const B = { active: 'b', previous: 'a' };

onEachEdge(
  test,
  'an open page keeps its release through a flip, its next navigation is on the new one',
  async (createEdge) => {
    const edge = createEdge({ text: pointer(A) });
    const browser = createBrowser(edge);
    assert.equal((await browser.open('/')).release, 'a');
    assert.equal((await browser.load('/first.js')).release, 'a');
    edge.flip(pointer(B));
    assert.equal((await browser.load('/late.js')).uri, '/releases/a/late.js');
    assert.equal(
      (await createBrowser(edge).load('/first.js')).release,
      'b',
      'a browser without a page gets the new one'
    );
    assert.equal((await browser.open('/next')).release, 'b');
    assert.equal((await browser.load('/late.js')).release, 'b');
  }
);

onEachEdge(test, 'a raised epoch frees every page at once', async (createEdge) => {
  const edge = createEdge({ text: pointer({ ...B, epoch: 7 }) });
  const browser = createBrowser(edge);
  await browser.open('/');
  assert.equal((await browser.load('/app.js')).release, 'b');
  // The rollback from b to a.
  edge.flip(pointer({ active: 'a', previous: 'b', epoch: 8 }));
  assert.equal((await browser.load('/app.js')).release, 'a');
  assert.equal((await browser.open('/')).release, 'a');
  assert.equal(browser.cookies()['greenlight-pin'], 'a~8');
});

onEachEdge(test, 'an edge that has not seen the new epoch yet follows a pin of it', async (createEdge) => {
  const ahead = createEdge({ text: pointer({ ...B, epoch: 8 }) });
  const behind = createEdge({
    text: pointer({ ...B, active: 'a', candidate: 'b', previous: null, weight: 0, epoch: 7 })
  });
  const browser = createBrowser(ahead);
  assert.equal((await browser.open('/')).release, 'b');
  const { sent } = await behind.request({ path: '/app.js', cookies: browser.cookies() });
  assert.equal(sent.uri, '/releases/b/app.js');
});

onEachEdge(test, 'a second flip leaves a page of two releases ago to the active one', async (createEdge) => {
  const edge = createEdge({ text: pointer(A) });
  const browser = createBrowser(edge);
  await browser.open('/');
  edge.flip(pointer(B));
  assert.equal((await browser.load('/app.js')).release, 'a');
  edge.flip(pointer({ active: 'c', previous: 'b' }));
  assert.equal((await browser.load('/app.js')).release, 'c');
});

onEachEdge(test, 'a pin ends with its time', async (createEdge) => {
  const edge = createEdge({ text: pointer({ ...A, pin_seconds: 60 }) });
  const browser = createBrowser(edge);
  await browser.open('/');
  edge.flip(pointer({ ...B, pin_seconds: 60 }));
  edge.clock.pass(50 * 1000);
  assert.equal((await browser.load('/app.js')).release, 'a');
  edge.clock.pass(10 * 1000);
  assert.equal((await browser.load('/app.js')).release, 'b');
});

onEachEdge(
  test,
  'a canary visitor loads the assets of the candidate, and of nothing else after it is gone',
  async (createEdge) => {
    const edge = createEdge({ text: pointer({ ...A, candidate: 'b', weight: 100 }) });
    const browser = createBrowser(edge);
    assert.equal((await browser.open('/')).release, 'b');
    assert.equal((await browser.load('/app.js')).release, 'b');
    // Undone: the candidate is gone, the epoch is raised.
    edge.flip(pointer({ ...A, candidate: null, weight: 0, epoch: 8 }));
    assert.equal((await browser.load('/app.js')).release, 'a');
  }
);

onEachEdge(test, 'a page fetched ahead during a flip does not take the open page its assets', async (createEdge) => {
  const edge = createEdge({ text: pointer(A) });
  const browser = createBrowser(edge);
  await browser.open('/');
  edge.flip(pointer(B));
  const ahead = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-purpose': 'prefetch;prerender' };
  assert.equal((await edge.request({ headers: ahead, cookies: { 'greenlight-pin': 'a~7' } })).status, 503);
  assert.equal((await browser.load('/late.js')).release, 'a');
  assert.equal((await browser.open('/next')).release, 'b');
});
