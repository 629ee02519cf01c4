// The Lambda@Edge functions with the real SDK, against moto: what is asked of SSM, and what SSM's answers mean.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { PutParameterCommand, DeleteParameterCommand, SSMClient } from '@aws-sdk/client-ssm';

import { createReader } from '../src/lambda/parameters.js';
import { createHandler, handler as asShipped } from '../dist/lambda/viewer-request/index.mjs';
import { createHandler as createOriginHandler } from '../dist/lambda/origin-request/index.mjs';
import { LAMBDA_CONFIG, lambdaEvent, PARAMETER, pointer, SECRET } from './support/edges.mjs';
import { startMoto } from './support/moto.mjs';
import { tokenFor } from './support/previews.mjs';

const ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test',
  AWS_REGION: 'eu-central-1',
  AWS_EC2_METADATA_DISABLED: 'true'
};

let moto;
let ssm;

before(async () => {
  Object.assign(process.env, ENVIRONMENT);
  moto = await startMoto();
  process.env.AWS_ENDPOINT_URL = moto.url;
  ssm = new SSMClient({ region: 'us-east-1' });
});

after(() => {
  ssm?.destroy();
  moto?.stop();
});

function put(Name, Value, Type = 'String', client = ssm) {
  return client.send(new PutParameterCommand({ Name, Value, Type, Overwrite: true }));
}

function get(asked = {}) {
  return lambdaEvent(
    { method: 'GET', path: '/app.js', query: '', headers: {}, cookies: {}, requestId: 'x', ...asked },
    'viewer-request'
  );
}

// The real reader, on a clock that a test moves.
function services(config = LAMBDA_CONFIG) {
  const warnings = [];
  const clock = { millis: Date.now() };
  return {
    warnings,
    clock,
    read: createReader(config),
    now: () => clock.millis,
    after: (millis, callback) => {
      const timer = setTimeout(callback, millis);
      return () => clearTimeout(timer);
    },
    warn: (line) => warnings.push(line)
  };
}

test('the function as it is shipped reads the pointer with the SDK', async () => {
  await put(PARAMETER, pointer());
  assert.equal((await asShipped(get())).uri, '/releases/1.42.0/app.js');
});

test('a flip is seen when the time is over, a missing parameter leaves the last good pointer', async () => {
  const config = { ...LAMBDA_CONFIG, parameter: '/flip/production/release' };
  const world = services(config);
  const handler = createHandler(config, world);
  const missing = await handler(get());
  assert.equal(missing.status, '503');
  assert.match(world.warnings[0], /there is no such parameter/);

  await put(config.parameter, pointer());
  world.clock.millis += 5000;
  assert.equal((await handler(get())).uri, '/releases/1.42.0/app.js');
  await put(config.parameter, pointer({ active: '1.43.0', previous: '1.42.0' }));
  assert.equal((await handler(get())).uri, '/releases/1.42.0/app.js');
  world.clock.millis += 5000;
  assert.equal((await handler(get())).uri, '/releases/1.43.0/app.js');

  await ssm.send(new DeleteParameterCommand({ Name: config.parameter }));
  world.clock.millis += 5000;
  assert.equal((await handler(get())).uri, '/releases/1.43.0/app.js');
  assert.equal(world.warnings.length, 2);
});

test('the preview secret is an encrypted parameter', async () => {
  const config = { ...LAMBDA_CONFIG, parameter: '/preview/production/release' };
  await put(config.parameter, pointer());
  await put(config.parameter + '.preview-key', SECRET, 'SecureString');
  const world = services(config);
  world.clock.millis = Date.parse('2026-01-02T03:04:05Z');
  const request = await createHandler(config, world)(get({ cookies: { 'greenlight-preview': tokenFor('1.44.0') } }));
  assert.equal(request.uri, '/releases/1.44.0/app.js');
});

test('the pointer is read in this region if it is kept here, else in the first', async () => {
  const europe = new SSMClient({ region: 'eu-west-1' });
  const parameter = '/regions/production/release';
  await put(parameter, pointer({ active: 'america' }));
  await put(parameter, pointer({ active: 'europe' }), 'String', europe);
  europe.destroy();
  try {
    for (const [here, expected] of [
      ['eu-west-1', 'europe'],
      ['us-east-1', 'america'],
      ['ap-south-1', 'america']
    ]) {
      process.env.AWS_REGION = here;
      const config = { ...LAMBDA_CONFIG, parameter, regions: ['us-east-1', 'eu-west-1'] };
      const request = await createHandler(config, services(config))(get());
      assert.equal(request.uri, '/releases/' + expected + '/app.js', here);
    }
  } finally {
    process.env.AWS_REGION = ENVIRONMENT.AWS_REGION;
  }
});

test('origin-request reads the same pointer', async () => {
  const config = { ...LAMBDA_CONFIG, parameter: '/origin/production/release' };
  await put(config.parameter, pointer({ candidate: '1.43.0', weight: 100 }));
  const request = await createOriginHandler(config, services(config))(get({ path: '/about' }));
  assert.equal(request.uri, '/releases/1.42.0/index.html');
});

// Runs `use` while SSM's address is `url`.
async function withSsmAt(url, use) {
  process.env.AWS_ENDPOINT_URL = url;
  try {
    return await use();
  } finally {
    process.env.AWS_ENDPOINT_URL = moto.url;
  }
}

// A server that doesn't keep a failed test from ending.
function listen(onConnection) {
  return new Promise((resolve) => {
    const server = createServer((socket) => onConnection(socket.unref()));
    server.unref();
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

test('an SSM that refuses connections is told from a missing parameter, and 503 comes at once', async () => {
  const server = await listen(() => {});
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  await withSsmAt('http://127.0.0.1:' + port, async () => {
    const world = services();
    assert.equal((await createHandler(LAMBDA_CONFIG, world)(get())).status, '503');
    assert.equal(world.warnings.length, 1);
    assert.ok(!world.warnings[0].includes('no such parameter'), world.warnings[0]);
  });
});

test('an SSM that takes a request and never answers is given up', async () => {
  const sockets = [];
  const server = await listen((socket) => sockets.push(socket));
  await withSsmAt('http://127.0.0.1:' + server.address().port, async () => {
    const from = Date.now();
    await assert.rejects(createReader(LAMBDA_CONFIG)('/x', false), /Timeout|timeout|timed out/);
    // Two attempts of 1.5 seconds each, and the pause between them.
    assert.ok(Date.now() - from < 5000, String(Date.now() - from));
    assert.equal(sockets.length, 2);
  });
  sockets.forEach((socket) => socket.destroy());
  await new Promise((resolve) => server.close(resolve));
});

test('a connection that died while Lambda had frozen the environment is replaced at once', async () => {
  const config = { ...LAMBDA_CONFIG, parameter: '/frozen/production/release' };
  await put(config.parameter, pointer());
  let connections = 0;
  const { createConnection } = await import('node:net');
  const server = await listen((socket) => {
    connections += 1;
    if (connections === 1) {
      // What a dead peer does to the first bytes that it gets.
      socket.once('data', () => (socket.resetAndDestroy ? socket.resetAndDestroy() : socket.destroy()));
      return;
    }
    const { hostname, port } = new URL(moto.url);
    const upstream = createConnection({ host: hostname, port: Number(port) });
    socket.pipe(upstream).pipe(socket);
    socket.on('error', () => upstream.destroy());
    upstream.on('error', () => socket.destroy());
  });
  await withSsmAt('http://127.0.0.1:' + server.address().port, async () => {
    const world = services(config);
    assert.equal((await createHandler(config, world)(get())).uri, '/releases/1.42.0/app.js');
    assert.deepEqual(world.warnings, []);
    assert.equal(connections, 2);
  });
  server.close();
});
