// Lambda@Edge events: requests read, answers written ("Lambda@Edge event structure").
//
// Headers are arrays of {key, value} under lower-case names, the query string and the status are strings.

import { PREVIEW, VALUE_MAX, cookieAttributes } from '../core/cookies.js';

const DESCRIPTIONS = { 302: 'Found', 400: 'Bad Request', 403: 'Forbidden', 503: 'Service Unavailable' };

export function headerIn(headers, name) {
  const entries = headers[name];
  return entries && entries.length > 0 && entries[0].value || '';
}

// The first cookie of that name, unless it is longer than any of ours.
function cookieIn(headers, name) {
  const lines = (headers.cookie || []).map((entry) => entry.value);
  const pairs = lines.join(';').split(';').map((pair) => pair.trim());
  const found = pairs.find((pair) => pair.indexOf(name + '=') === 0);
  const value = found ? found.slice(name.length + 1) : '';
  return value.length <= VALUE_MAX ? value : '';
}

function isLink(parameter) {
  return parameter.split('=')[0] === PREVIEW;
}

// What the decision is made from.
export function askedBy(record) {
  const request = record.request;
  const parameters = (request.querystring || '').split('&');
  const link = parameters.find(isLink);
  return {
    method: request.method,
    path: request.uri,
    header: (name) => headerIn(request.headers, name),
    cookie: (name) => cookieIn(request.headers, name),
    link: link && link.slice(PREVIEW.length + 1),
    query: parameters.filter((parameter) => !isLink(parameter)).join('&'),
    requestId: record.config.requestId
  };
}

export function setHeader(headers, name, value) {
  headers[name] = [{ key: name, value: value }];
}

// `lines` beside the cookies that are set there already.
function addCookieLines(headers, lines) {
  if (lines.length > 0) {
    const added = lines.map((line) => ({ key: 'set-cookie', value: line }));
    headers['set-cookie'] = (headers['set-cookie'] || []).concat(added);
  }
}

export function addCookies(headers, cookies) {
  addCookieLines(headers, cookies.map((cookie) => cookie[0] + '=' + cookie[1] + '; ' + cookieAttributes(cookie[2])));
}

// Lambda@Edge's form of an answer from ../core/answer.js.
export function toResponse(answer) {
  const headers = {};
  Object.keys(answer.headers).forEach((name) => setHeader(headers, name, answer.headers[name].value));
  const set = answer.cookies;
  addCookieLines(headers, Object.keys(set).map((name) => name + '=' + set[name].value + '; ' + set[name].attributes));
  return {
    status: String(answer.statusCode),
    statusDescription: DESCRIPTIONS[answer.statusCode],
    headers: headers,
    body: answer.body.data
  };
}
