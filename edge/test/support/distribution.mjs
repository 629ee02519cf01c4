// A small distribution on a port of this machine: viewer-request, an origin with files, viewer-response.
//
// As CloudFront does it for what real-account/check.mjs asks: ranges, conditional requests, HEAD, and no
// viewer-response for an error of the origin. `spoil` changes one thing, for a check to find.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const IMMUTABLE = { 'cache-control': 'public, max-age=31536000, immutable' };

function cookiesOf(header) {
  const pairs = (header || '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.includes('='));
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

// What S3 would say to `request` for the object at `uri`.
function originAnswer(files, uri, request) {
  const body = files.get(decodeURIComponent(uri));
  if (body === undefined) {
    return { status: 404, headers: {}, body: 'NoSuchKey' };
  }
  const headers = {
    ...IMMUTABLE,
    etag: '"' + createHash('md5').update(body).digest('hex') + '"',
    'content-type': 'text/html'
  };
  if (request.headers['if-none-match'] === headers.etag) {
    return { status: 304, headers, body: '' };
  }
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range || '');
  if (range) {
    const [start, end] = [Number(range[1]), Number(range[2])];
    return {
      status: 206,
      headers: { ...headers, 'content-range': 'bytes ' + start + '-' + end + '/' + body.length },
      body: body.slice(start, end + 1)
    };
  }
  return { status: 200, headers, body };
}

// Starts one. `files` by key with a leading slash. `spoil` may have:
//   request(asked) → asked       what viewer-request gets to see
//   isUnmarked(status, request)  where viewer-response doesn't run
//   origin(answer, request)      what the origin says
//   answer(answer, request)      what the viewer gets
export async function startDistribution(edge, files, spoil = {}) {
  const server = createServer((request, response) => {
    answerTo(request)
      .catch((error) => ({ status: 500, headers: {}, cookies: {}, body: error.stack }))
      .then((found) => {
        const answer = spoil.answer ? spoil.answer(found, request) : found;
        const lines = Object.entries(answer.cookies).map(([name, { value, attributes }]) =>
          [name + '=' + value, ...attributes].join('; ')
        );
        response.writeHead(answer.status, { ...answer.headers, ...(lines.length > 0 ? { 'set-cookie': lines } : {}) });
        response.end(answer.body);
      });
  });

  async function answerTo(request) {
    const at = request.url.indexOf('?');
    const { cookie, ...headers } = request.headers;
    const asked = {
      method: request.method,
      path: at < 0 ? request.url : request.url.slice(0, at),
      query: at < 0 ? '' : request.url.slice(at + 1),
      headers,
      cookies: cookiesOf(cookie)
    };
    const forwarded = await edge.request(spoil.request ? spoil.request(asked) : asked);
    if (forwarded.status) {
      return forwarded;
    }
    const found = originAnswer(files, forwarded.uri, request);
    const origin = spoil.origin ? spoil.origin(found, request) : found;
    if (origin.status >= 400 || (spoil.isUnmarked && spoil.isUnmarked(origin.status, request))) {
      return { ...origin, cookies: {} };
    }
    return { ...(await edge.response(forwarded, origin)), body: origin.body };
  }

  // A test that fails before it stops the server must still end.
  server.unref();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: 'http://127.0.0.1:' + server.address().port + '/',
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections?.();
      })
  };
}
