// The two packagings behind one face, so that each rule is told once and holds for both.
//
// An edge is {request, response, flip, ...}: `request` takes what a browser sends and gives either an answer of the
// edge's own or what goes to the origin; `response` takes the origin's answer and gives the browser's. Time only
// moves when a test moves it.

import { loadFunction, createStore } from './function-host.mjs';

export const KEY = 'storefront/production';
export const PARAMETER = '/storefront/production/release';
export const SECRET = '0123456789abcdef'.repeat(4);
export const START = Date.parse('2026-01-02T03:04:05Z');

export function pointer(fields = {}) {
  return JSON.stringify({
    v: 1,
    active: '1.42.0',
    previous: '1.41.3',
    candidate: null,
    weight: 0,
    epoch: 7,
    pin_seconds: 1800,
    ...fields
  });
}

export function plain(value) {
  return JSON.parse(JSON.stringify(value));
}

// A clock that a test moves, with timers that go off as it does.
export function createClock(millis = START) {
  const timers = new Set();
  const clock = {
    millis,
    now: () => clock.millis,
    after(wait, callback) {
      const timer = { at: clock.millis + wait, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    pass(wait) {
      clock.millis += wait;
      for (const timer of [...timers].sort((one, other) => one.at - other.at)) {
        if (timer.at <= clock.millis && timers.delete(timer)) {
          timer.callback();
        }
      }
    },
    timers: () => timers.size
  };
  return clock;
}

function parseAttributes(text) {
  return text.split(';').map((part) => part.trim());
}

let requests = 0;

function browserRequest(asked) {
  requests += 1;
  return {
    method: 'GET',
    path: '/',
    query: '',
    headers: {},
    cookies: {},
    requestId: 'EXAMPLE-' + requests + '==',
    ...asked
  };
}

// `text` as CloudFront hands a query string to its functions.
export function functionQuery(text) {
  const query = {};
  for (const parameter of text === '' ? [] : text.split('&')) {
    const at = parameter.indexOf('=');
    const name = at < 0 ? parameter : parameter.slice(0, at);
    const value = at < 0 ? '' : parameter.slice(at + 1);
    if (!Object.hasOwn(query, name)) {
      Object.defineProperty(query, name, { value: { value }, enumerable: true, configurable: true, writable: true });
    } else {
      const entry = query[name];
      entry.multiValue = [...(entry.multiValue || [{ value: entry.value }]), { value }];
    }
  }
  return query;
}

export function functionEvent(asked, eventType) {
  const values = (entries) => Object.fromEntries(Object.entries(entries).map(([name, value]) => [name, { value }]));
  return {
    version: '1.0',
    context: {
      distributionDomainName: 'd111111abcdef8.cloudfront.net',
      distributionId: 'EDFDVBD6EXAMPLE',
      eventType,
      requestId: asked.requestId
    },
    viewer: { ip: '198.51.100.11' },
    request: {
      method: asked.method,
      uri: asked.path,
      querystring: functionQuery(asked.query),
      headers: { host: { value: 'www.example.com' }, ...values(asked.headers) },
      cookies: values(asked.cookies)
    }
  };
}

function fromFunctionResponse(response) {
  return {
    status: response.statusCode,
    headers: Object.fromEntries(Object.entries(response.headers).map(([name, entry]) => [name, entry.value])),
    cookies: Object.fromEntries(
      Object.entries(response.cookies || {}).map(([name, entry]) => [
        name,
        {
          value: entry.value,
          attributes: parseAttributes(entry.attributes || '')
        }
      ])
    ),
    body: response.body && response.body.data
  };
}

export function createFunctionEdge({ text = pointer(), secret = null, config = {}, clock = createClock() } = {}) {
  const settings = { prefix: 'releases/', fallback: 'spa', key: KEY, ...config };
  const store = createStore({ [KEY]: text });
  if (secret !== null) {
    store.values.set(KEY + '.preview-key', secret);
  }
  const viewerRequest = loadFunction('cloudfront-function/viewer-request.js', {
    store,
    config: settings,
    now: clock.now
  });
  const viewerResponse = loadFunction('cloudfront-function/viewer-response.js', { now: clock.now });
  return {
    clock,
    store,
    flip(next) {
      store.values.set(KEY, next);
    },
    async request(asked) {
      const event = functionEvent(browserRequest(asked), 'viewer-request');
      const result = plain(await viewerRequest.handler(event));
      if (result.statusCode) {
        return fromFunctionResponse(result);
      }
      const headers = Object.entries(result.headers).map(([name, entry]) => [name, entry.value]);
      return { uri: result.uri, headers: Object.fromEntries(headers), sent: result };
    },
    response(forwarded, { status = 200, headers = {}, cookies = {} } = {}) {
      const event = functionEvent(browserRequest({}), 'viewer-response');
      event.request = forwarded.sent;
      event.response = {
        statusCode: status,
        statusDescription: 'as it is',
        headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, { value }])),
        cookies: Object.fromEntries(
          Object.entries(cookies).map(([name, value]) => [name, { value, attributes: 'Path=/' }])
        )
      };
      return fromFunctionResponse(plain(viewerResponse.handler(event)));
    }
  };
}

export function lambdaEvent(asked, eventType) {
  const cookies = Object.entries(asked.cookies)
    .map(([name, value]) => name + '=' + value)
    .join('; ');
  const headers = { host: 'www.example.com', ...asked.headers, ...(cookies === '' ? {} : { cookie: cookies }) };
  return {
    Records: [
      {
        cf: {
          config: {
            distributionDomainName: 'd111111abcdef8.cloudfront.net',
            distributionId: 'EDFDVBD6EXAMPLE',
            eventType,
            requestId: asked.requestId
          },
          request: {
            clientIp: '203.0.113.178',
            method: asked.method,
            uri: asked.path,
            querystring: asked.query,
            headers: lambdaHeaders(headers)
          }
        }
      }
    ]
  };
}

function lambdaHeaders(headers) {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [{ key: name, value }]]));
}

function fromLambdaResponse(response) {
  const headers = { ...response.headers };
  const lines = (headers['set-cookie'] || []).map((entry) => entry.value);
  delete headers['set-cookie'];
  return {
    status: Number(response.status),
    headers: Object.fromEntries(Object.entries(headers).map(([name, entries]) => [name, entries[0].value])),
    cookies: Object.fromEntries(
      lines.map((line) => {
        const [pair, ...attributes] = parseAttributes(line);
        const at = pair.indexOf('=');
        return [pair.slice(0, at), { value: pair.slice(at + 1), attributes }];
      })
    ),
    body: response.body
  };
}

// SSM: `values` by name. `asked` has every read; `failure` makes each read fail.
export function createSsm(values) {
  const ssm = {
    values: new Map(Object.entries(values)),
    asked: [],
    failure: null,
    async read(name, isEncrypted) {
      ssm.asked.push({ name, isEncrypted });
      if (ssm.failure) {
        throw ssm.failure;
      }
      return ssm.values.has(name) ? ssm.values.get(name) : null;
    }
  };
  return ssm;
}

export const LAMBDA_CONFIG = {
  prefix: 'releases/',
  fallback: 'spa',
  parameter: PARAMETER,
  regions: ['us-east-1'],
  edge_ttl_seconds: 5
};

const lambda = {
  'viewer-request': await import('../../dist/lambda/viewer-request/index.mjs'),
  'viewer-response': await import('../../dist/lambda/viewer-response/index.mjs'),
  'origin-request': await import('../../dist/lambda/origin-request/index.mjs')
};

// `ssm`, `clock` and what was warned of, as the functions take them.
export function lambdaHandler(kind, { ssm, clock, config = {}, warnings = [] }) {
  return lambda[kind].createHandler(
    { ...LAMBDA_CONFIG, ...config },
    {
      read: ssm.read,
      now: clock.now,
      after: clock.after,
      warn: (line) => warnings.push(line)
    }
  );
}

export function createLambdaEdge({ text = pointer(), secret = null, config = {}, clock = createClock() } = {}) {
  const { key, ...settings } = config;
  const ssm = createSsm({ [PARAMETER]: text, ...(secret === null ? {} : { [PARAMETER + '.preview-key']: secret }) });
  const handler = lambdaHandler('viewer-request', { ssm, clock, config: settings });
  return {
    clock,
    ssm,
    flip(next) {
      ssm.values.set(PARAMETER, next);
      clock.pass(LAMBDA_CONFIG.edge_ttl_seconds * 1000);
    },
    async request(asked) {
      const result = plain(await handler(lambdaEvent(browserRequest(asked), 'viewer-request')));
      if (result.status) {
        return fromLambdaResponse(result);
      }
      const headers = Object.entries(result.headers).map(([name, entries]) => [name, entries[0].value]);
      return { uri: result.uri, headers: Object.fromEntries(headers), sent: result };
    },
    async response(forwarded, { status = 200, headers = {}, cookies = {} } = {}) {
      const event = lambdaEvent(browserRequest({}), 'viewer-response');
      event.Records[0].cf.request = forwarded.sent;
      event.Records[0].cf.response = {
        status: String(status),
        statusDescription: 'as it is',
        headers: lambdaHeaders(headers)
      };
      const lines = Object.entries(cookies).map(([name, value]) => ({
        key: 'Set-Cookie',
        value: name + '=' + value + '; Path=/'
      }));
      if (lines.length > 0) {
        event.Records[0].cf.response.headers['set-cookie'] = lines;
      }
      return fromLambdaResponse(plain(await lambda['viewer-response'].handler(event)));
    }
  };
}

export const EDGES = [
  ['CloudFront Function', createFunctionEdge],
  ['Lambda@Edge', createLambdaEdge]
];

// Registers `name` as a test of each packaging.
export function onEachEdge(test, name, run) {
  for (const [packaging, createEdge] of EDGES) {
    test(packaging + ': ' + name, () => run(createEdge));
  }
}
