// Routing behind the cache (`edge.mode: origin`): the active release and nothing else.

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  createClock,
  createSsm,
  lambdaEvent,
  lambdaHandler,
  PARAMETER,
  plain,
  pointer,
  SECRET
} from './support/edges.mjs';
import { NAVIGATE } from './support/browser.mjs';
import { tokenFor } from './support/previews.mjs';

function subject(text = pointer({ candidate: '1.43.0', weight: 100 }), config = {}) {
  const ssm = createSsm({ [PARAMETER]: text, [PARAMETER + '.preview-key']: SECRET });
  const handler = lambdaHandler('origin-request', { ssm, clock: createClock(), config });
  return {
    ssm,
    ask: (asked) =>
      handler(
        lambdaEvent(
          { method: 'GET', path: '/', query: '', headers: {}, cookies: {}, requestId: 'x', ...asked },
          'origin-request'
        )
      )
  };
}

test('everyone gets the active release, whatever he shows', async () => {
  const { ssm, ask } = subject();
  const request = await ask({
    path: '/about',
    headers: NAVIGATE,
    query: 'greenlight-preview=' + tokenFor('1.44.0'),
    cookies: {
      'greenlight-pin': '1.41.3~7',
      'greenlight-preview': tokenFor('1.44.0'),
      'greenlight-visitor': 'ab'.repeat(16)
    }
  });
  assert.equal(request.uri, '/releases/1.42.0/index.html');
  assert.ok(
    ssm.asked.every(({ isEncrypted }) => !isEncrypted),
    'the preview secret is not read'
  );
});

test('nothing but the path is changed', async () => {
  const { ask } = subject();
  const asked = {
    method: 'GET',
    path: '/a/app.js',
    query: 'a=1',
    headers: { 'x-greenlight-decision': 'forged' },
    cookies: {},
    requestId: 'x'
  };
  const before = plain(lambdaEvent(asked, 'origin-request').Records[0].cf.request);
  const after = plain(await ask(asked));
  assert.deepEqual(after, { ...before, uri: '/releases/1.42.0/a/app.js' });
});

test('a path that names a known release is that release', async () => {
  const { ask } = subject();
  assert.equal((await ask({ path: '/releases/1.41.3/app.js' })).uri, '/releases/1.41.3/app.js');
  assert.equal((await ask({ path: '/releases/9.9.9/app.js' })).uri, '/releases/1.42.0/releases/9.9.9/app.js');
});

test('the fallback and the refusals are those of viewer-request', async () => {
  const index = subject(pointer(), { fallback: 'index' });
  assert.equal((await index.ask({ path: '/about' })).uri, '/releases/1.42.0/about/index.html');
  const refused = await index.ask({ path: '/%2e%2e/x' });
  assert.equal(refused.status, '400');
  assert.deepEqual(refused.headers['cache-control'], [{ key: 'cache-control', value: 'no-store' }]);
  assert.equal((await subject('{').ask({})).status, '503');
});
