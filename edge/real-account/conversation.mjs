// One HTTP request as a browser would send it, and its answer with the cookies taken apart.
//
// node:http rather than fetch, which sets Sec-Fetch-Mode itself and follows or hides what is to be seen here.

import http from 'node:http';
import https from 'node:https';

const TIMEOUT_MILLIS = 20000;
const ATTRIBUTES = ['Path=/', 'Secure', 'HttpOnly', 'SameSite=Lax'];

export function isReleased(text) {
  return /^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$/.test(text);
}

function parseCookie(line) {
  const [pair, ...attributes] = line.split(';').map((part) => part.trim());
  const at = pair.indexOf('=');
  return [pair.slice(0, at), { value: pair.slice(at + 1), attributes }];
}

// What a cookie of ours should say and doesn't.
export function missingAttributes(cookie) {
  const missing = ATTRIBUTES.filter((attribute) => !cookie.attributes.includes(attribute));
  return cookie.attributes.some((attribute) => /^Max-Age=\d+$/.test(attribute)) ? missing : [...missing, 'Max-Age'];
}

// Sends one request to `url`, or to another `path` there that goes out as it is written. Resolves to {status, headers,
// cookies}: of cookies the function's own alone.
export function send(url, { method = 'GET', headers = {}, path = url.pathname + url.search } = {}) {
  return new Promise((resolve, reject) => {
    const client = url.protocol === 'http:' ? http : https;
    const options = {
      method,
      path,
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port || undefined,
      headers,
      agent: false,
      timeout: TIMEOUT_MILLIS
    };
    const request = client.request(options, (answer) => {
      answer.resume();
      answer.on('error', reject);
      answer.on('end', () => {
        const { 'set-cookie': lines = [], ...rest } = answer.headers;
        const cookies = lines.map(parseCookie).filter(([name]) => name.startsWith('greenlight-'));
        resolve({ status: answer.statusCode, headers: rest, cookies: Object.fromEntries(cookies) });
      });
    });
    request.on('timeout', () => request.destroy(new Error('no answer within ' + TIMEOUT_MILLIS / 1000 + ' seconds')));
    request.on('error', reject);
    request.end();
  });
}
