// Answers of the edge's own, which never reach the origin.
//
// In the shape that CloudFront Functions return ("CloudFront Functions event structure"); ../lambda/events.js
// turns them into Lambda@Edge's. Nobody may keep one.

import { cookieAttributes } from './cookies.js';

const TEXTS = {
  302: '',
  400: 'This path is not one that can be served.\n',
  403: 'This preview link is not valid (any more). Ask for a new one.\n',
  503: 'Not available at the moment. Try again in a few seconds.\n'
};

export function answer(status) {
  const headers = { 'cache-control': { value: 'no-store' }, 'content-type': { value: 'text/plain' } };
  if (status === 503) {
    headers['retry-after'] = { value: '5' };
  }
  return { statusCode: status, headers: headers, cookies: {}, body: { encoding: 'text', data: TEXTS[status] } };
}

// `location` is a path; two slashes in front would be another host's address. What isn't printable ASCII is
// encoded, since it stands in a header.
export function redirect(location, cookie) {
  const found = answer(302);
  found.headers.location = {
    value: location.replace(/^\/+/, '/').replace(/[^\x21-\x7e]+/g, encodeURIComponent)
  };
  found.cookies[cookie[0]] = { value: cookie[1], attributes: cookieAttributes(cookie[2]) };
  return found;
}
