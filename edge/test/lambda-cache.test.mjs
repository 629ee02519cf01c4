// The pointer's cache at Lambda@Edge: how old it may get, how often SSM is asked, and what happens when SSM fails.

import assert from 'node:assert/strict';
import test from 'node:test';

import { createCache } from '../src/lambda/cache.js';
import { regionOf } from '../src/lambda/parameters.js';
import { createClock, createSsm, lambdaEvent, lambdaHandler, PARAMETER, pointer } from './support/edges.mjs';

const TTL = 5000;

// A read that a test ends when it likes.
function createReads() {
  const pending = [];
  return {
    pending,
    count: 0,
    read() {
      this.count += 1;
      return new Promise((resolve, reject) => pending.push({ resolve, reject }));
    }
  };
}

// Lets everything run that doesn't wait for the clock or for a read.
async function settle() {
  for (let i = 0; i < 20; i += 1) {
    await Promise.resolve();
  }
}

function createSubject({ ttlMillis = TTL } = {}) {
  const clock = createClock(1000000);
  const reads = createReads();
  const warnings = [];
  const cache = createCache({
    ttlMillis,
    read: () => reads.read(),
    accept: (text) => {
      if (text === 'broken') {
        throw new Error('broken');
      }
      return text;
    },
    now: clock.now,
    after: clock.after,
    warn: (error) => warnings.push(error.message)
  });
  // Asks, and notes the answer when it comes.
  const ask = () => {
    const asked = { isAnswered: false, value: null };
    cache.get().then((value) => {
      asked.isAnswered = true;
      asked.value = value;
    });
    return asked;
  };
  const answered = async (asked) => {
    await settle();
    assert.ok(asked.isAnswered);
    return asked.value;
  };
  return { clock, reads, warnings, ask, answered };
}

async function filled(text = 'one') {
  const subject = createSubject();
  const asked = subject.ask();
  subject.reads.pending.pop().resolve(text);
  assert.equal(await subject.answered(asked), text);
  return subject;
}

test('a value is read once and kept for its time', async () => {
  const { clock, reads, ask, answered } = await filled();
  for (const wait of [0, 1, TTL - 2]) {
    clock.pass(wait);
    assert.equal(await answered(ask()), 'one');
  }
  assert.equal(reads.count, 1);
  clock.pass(1);
  ask();
  assert.equal(reads.count, 2);
});

test('its time counts from before the read began', async () => {
  const { clock, reads, ask, answered } = createSubject();
  const first = ask();
  clock.pass(2000);
  reads.pending.pop().resolve('one');
  await answered(first);
  clock.pass(TTL - 2000 - 1);
  assert.equal(await answered(ask()), 'one');
  assert.equal(reads.count, 1);
  clock.pass(1);
  ask();
  assert.equal(reads.count, 2);
});

test('when the time is over a request waits for the new value', async () => {
  const { clock, reads, ask, answered } = await filled();
  clock.pass(TTL);
  const asked = ask();
  await settle();
  assert.ok(!asked.isAnswered);
  reads.pending.pop().resolve('two');
  assert.equal(await answered(asked), 'two');
  assert.equal(clock.timers(), 0, 'no timer is left behind');
});

test('requests at the same time share one read', async () => {
  const { clock, reads, ask, answered } = await filled();
  clock.pass(TTL);
  const all = Array.from({ length: 10 }, ask);
  assert.equal(reads.count, 2);
  reads.pending.pop().resolve('two');
  for (const asked of all) {
    assert.equal(await answered(asked), 'two');
  }
});

test('nobody waits for longer than a second when there is a last good value', async () => {
  const { clock, reads, ask, answered } = await filled();
  clock.pass(TTL);
  const first = ask();
  clock.pass(600);
  const second = ask();
  clock.pass(399);
  await settle();
  assert.ok(!first.isAnswered && !second.isAnswered);
  clock.pass(1);
  assert.equal(await answered(first), 'one');
  assert.equal(await answered(second), 'one', 'the second counted from when the read began, too');
  assert.equal(await answered(ask()), 'one', 'later ones do not wait at all');
  assert.equal(reads.count, 2);
  reads.pending.pop().resolve('two');
  await settle();
  assert.equal(await answered(ask()), 'two', 'what comes late is used all the same');
});

test('the first value is waited for longer', async () => {
  const { clock, ask, answered } = createSubject();
  const asked = ask();
  clock.pass(2999);
  await settle();
  assert.ok(!asked.isAnswered);
  clock.pass(1);
  assert.equal(await answered(asked), undefined);
});

test('a failed read leaves the last good value, and SSM alone until the back-off is over', async () => {
  const { clock, reads, warnings, ask, answered } = await filled();
  clock.pass(TTL);
  const asked = ask();
  reads.pending.pop().reject(new Error('out of reach'));
  assert.equal(await answered(asked), 'one');
  for (let i = 0; i < 100; i += 1) {
    assert.equal(await answered(ask()), 'one');
  }
  clock.pass(TTL - 1);
  assert.equal(await answered(ask()), 'one');
  assert.equal(reads.count, 2);
  assert.deepEqual(warnings, ['out of reach']);
  clock.pass(1);
  const again = ask();
  assert.equal(reads.count, 3);
  reads.pending.pop().resolve('two');
  assert.equal(await answered(again), 'two');
});

test('a broken value is like a failed read', async () => {
  const { clock, reads, ask, answered } = await filled();
  clock.pass(TTL);
  const asked = ask();
  reads.pending.pop().resolve('broken');
  assert.equal(await answered(asked), 'one');
  assert.equal(await answered(ask()), 'one');
  assert.equal(reads.count, 2);
});

test('a read that fails before there was a good one is not tried again at once either', async () => {
  const { clock, reads, ask, answered } = createSubject();
  const asked = ask();
  reads.pending.pop().reject(new Error('no'));
  assert.equal(await answered(asked), undefined);
  assert.equal(await answered(ask()), undefined);
  assert.equal(reads.count, 1);
  clock.pass(TTL);
  ask();
  assert.equal(reads.count, 2);
});

test('the back-off is a second at least, also when values are kept for less', async () => {
  const { clock, reads, ask, answered } = createSubject({ ttlMillis: 10 });
  const asked = ask();
  reads.pending.pop().reject(new Error('no'));
  await answered(asked);
  clock.pass(999);
  await answered(ask());
  assert.equal(reads.count, 1);
  clock.pass(1);
  ask();
  assert.equal(reads.count, 2);
});

test('after Lambda froze the environment a read that was cut off is begun anew, and its late end ignored', async () => {
  const { clock, reads, ask, answered } = await filled();
  clock.pass(TTL);
  const before = ask();
  // The environment thaws ten minutes later: the old connection is dead, and the value ten minutes old.
  clock.pass(600000);
  assert.equal(await answered(before), 'one');
  const after = ask();
  await settle();
  assert.ok(!after.isAnswered, 'it waits for the new read, not for the dead one');
  assert.equal(reads.count, 3);
  const [dead, alive] = reads.pending;
  dead.reject(new Error('connection reset'));
  await settle();
  alive.resolve('two');
  assert.equal(await answered(after), 'two');
  assert.equal(await answered(ask()), 'two');
  assert.equal(reads.count, 3, 'the dead read is no reason to back off');
});

test('a clock that is set back does not keep a value for ever', async () => {
  const { clock, reads, ask, answered } = await filled();
  clock.millis -= 3600000;
  const asked = ask();
  assert.equal(reads.count, 2);
  reads.pending.pop().resolve('two');
  assert.equal(await answered(asked), 'two');
  assert.equal(await answered(ask()), 'two');
  assert.equal(reads.count, 2);
});

function get(path = '/app.js') {
  return lambdaEvent({ method: 'GET', path, query: '', headers: {}, cookies: {}, requestId: 'x' }, 'viewer-request');
}

for (const kind of ['viewer-request', 'origin-request']) {
  test(kind + ' asks SSM once in its time, however many requests there are', async () => {
    const ssm = createSsm({ [PARAMETER]: pointer() });
    const clock = createClock();
    const handler = lambdaHandler(kind, { ssm, clock });
    for (let second = 0; second < 60; second += 1) {
      for (let i = 0; i < 10; i += 1) {
        await handler(get());
      }
      clock.pass(1000);
    }
    assert.equal(ssm.asked.length, 12);
    assert.ok(ssm.asked.every(({ name, isEncrypted }) => name === PARAMETER && isEncrypted === false));
  });

  test(kind + ' does not ask SSM once a request while it fails, nor while the parameter is missing', async () => {
    for (const failure of [new Error('ThrottlingException'), null]) {
      const ssm = createSsm({});
      ssm.failure = failure;
      const clock = createClock();
      const warnings = [];
      const handler = lambdaHandler(kind, { ssm, clock, warnings });
      for (let i = 0; i < 50; i += 1) {
        assert.equal((await handler(get())).status, '503');
        clock.pass(100);
      }
      // Once a second: every visitor gets an error until it is there.
      assert.equal(ssm.asked.length, 5);
      assert.equal(warnings.length, 5);
      assert.match(warnings[0], /\/storefront\/production\/release can not be read/);
      ssm.failure = null;
      ssm.values.set(PARAMETER, pointer());
      assert.equal((await handler(get())).uri, '/releases/1.42.0/app.js');
    }
  });

  test(kind + ' tries again soon after a first read that failed, however long the TTL', async () => {
    const ssm = createSsm({ [PARAMETER]: pointer() });
    ssm.failure = new Error('ThrottlingException');
    const clock = createClock();
    const handler = lambdaHandler(kind, { ssm, clock, config: { edge_ttl_seconds: 3600 } });
    assert.equal((await handler(get())).status, '503');
    ssm.failure = null;
    clock.pass(1000);
    assert.equal((await handler(get())).uri, '/releases/1.42.0/app.js');
    // With a good one it is left in peace for the whole TTL.
    clock.pass(3600000);
    ssm.failure = new Error('ThrottlingException');
    for (let i = 0; i < 60; i += 1) {
      assert.equal((await handler(get())).uri, '/releases/1.42.0/app.js');
      clock.pass(1000);
    }
    assert.equal(ssm.asked.length, 3);
  });

  test(kind + ' has let go of the old pointer when the time is over', async () => {
    const ssm = createSsm({ [PARAMETER]: pointer() });
    const clock = createClock();
    const handler = lambdaHandler(kind, { ssm, clock });
    await handler(get());
    ssm.values.set(PARAMETER, pointer({ active: '1.43.0', previous: '1.42.0' }));
    clock.pass(4999);
    assert.equal((await handler(get())).uri, '/releases/1.42.0/app.js');
    clock.pass(1);
    assert.equal((await handler(get())).uri, '/releases/1.43.0/app.js');
  });
}

test('a pointer is kept for a second at least, whatever the settings say', async () => {
  const ssm = createSsm({ [PARAMETER]: pointer() });
  const clock = createClock();
  const handler = lambdaHandler('viewer-request', { ssm, clock, config: { edge_ttl_seconds: 0 } });
  for (let i = 0; i < 10; i += 1) {
    await handler(get());
    clock.pass(99);
  }
  assert.equal(ssm.asked.length, 1);
});

test('a secret does not show in what is logged', async () => {
  const ssm = createSsm({ [PARAMETER]: 'SENSITIVE {' });
  const warnings = [];
  await lambdaHandler('viewer-request', { ssm, clock: createClock(), warnings })(get());
  assert.equal(warnings.length, 1);
  assert.ok(!warnings[0].includes('SENSITIVE'));
});

test('the region is this one if the pointer is kept here, else the first', () => {
  const before = process.env.AWS_REGION;
  try {
    for (const [here, expected] of [
      ['eu-west-1', 'eu-west-1'],
      ['us-east-1', 'us-east-1'],
      ['ap-south-1', 'us-east-1'],
      ['', 'us-east-1']
    ]) {
      process.env.AWS_REGION = here;
      assert.equal(regionOf({ regions: ['us-east-1', 'eu-west-1'] }), expected);
    }
    delete process.env.AWS_REGION;
    assert.equal(regionOf({ regions: ['us-east-1', 'eu-west-1'] }), 'us-east-1');
  } finally {
    if (before !== undefined) {
      process.env.AWS_REGION = before;
    }
  }
});
