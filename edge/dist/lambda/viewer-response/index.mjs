// Built by edge/build.mjs from edge/src/lambda/viewer-response.js, where it is explained.
const DECISION = 'x-greenlight-decision';
const VERSION = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}(?![\s\S])/;
function isVersion(text) {
 return typeof text === 'string' && VERSION.test(text);
}
function isCount(value) {
 return Number.isInteger(value) && value >= 0;
}
function isVersionOrNone(value) {
 return value === undefined || value === null || isVersion(value);
}
function parsePointer(text) {
 try {
  const found = JSON.parse(text);
  return found.v === 1 && isVersion(found.active) && isVersionOrNone(found.previous)
   && isVersionOrNone(found.candidate) && isCount(found.weight) && found.weight <= 100
   && isCount(found.epoch) && isCount(found.pin_seconds) ? found : null;
 } catch (error) {
  return null;
 }
}
function isKnown(pointer, release) {
 return !!release && [pointer.active, pointer.previous, pointer.candidate].indexOf(release) >= 0;
}
const PIN = 'greenlight-pin';
const VISITOR = 'greenlight-visitor';
const PREVIEW = 'greenlight-preview';
const VALUE_MAX = 512;
const PIN_VALUE = /^([A-Za-z0-9][A-Za-z0-9._+-]{0,127})~(0|[1-9][0-9]{0,18})(?![\s\S])/;
function cookieAttributes(seconds) {
 return 'Path=/; Max-Age=' + seconds + '; Secure; HttpOnly; SameSite=Lax';
}
function parsePin(text) {
 const found = PIN_VALUE.exec(text);
 return found && { release: found[1], epoch: Number(found[2]) };
}
const COOKIE_VALUE = /^[A-Za-z0-9._+~-]*(?![\s\S])/;
function isCookie(cookie) {
 return Array.isArray(cookie) && [PIN, PREVIEW, VISITOR].indexOf(cookie[0]) >= 0
  && typeof cookie[1] === 'string' && cookie[1].length <= VALUE_MAX && COOKIE_VALUE.test(cookie[1])
  && Number.isInteger(cookie[2]) && cookie[2] >= 0;
}
function decodeDecision(text) {
 try {
  const told = JSON.parse(text);
  return isVersion(told.r) && Array.isArray(told.c) && told.c.every(isCookie)
   ? { release: told.r, cookies: told.c, isPreview: told.p === true }
   : null;
 } catch (error) {
  return null;
 }
}
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
function turns(text) {
 const found = text.match(/[0-9]+|[A-Z]?[a-z]+|[A-Z]+/g);
 return found ? found.length : 0;
}
function isHexHash(token) {
 return /^[0-9a-f]{8,}(?![\s\S])/.test(token) && /[0-9]/.test(token) && /[a-f]/.test(token) && turns(token) >= 3;
}
function isBundled(path) {
 return /\.(m?js|css|map|woff2?|wasm)(?![\s\S])/.test(path) || path.indexOf('/assets/') >= 0;
}
function endsInHash(part) {
 const token = part.slice(-8);
 return /^[_-][A-Za-z0-9_-]{8}(?![\s\S])/.test(part.slice(-9)) && /[A-Z]/.test(token) && /[0-9]/.test(token)
  && turns(token) >= 4;
}
function isContentHashed(path) {
 const name = path.slice(path.lastIndexOf('/') + 1);
 if (UUID.test(name)) {
  return false;
 }
 const parts = name.split('.').slice(0, -1);
 for (let i = 0; i < parts.length; i++) {
  const part = i === 0 ? parts[i] : '-' + parts[i];
  if ((isBundled(path) && endsInHash(part)) || part.split(/[_-]/).slice(1).some(isHexHash)) {
   return true;
  }
 }
 return false;
}
function marksFor(decision, path, status) {
 const headers = { 'x-greenlight-release': decision ? decision.release : null };
 const isPreview = decision !== null && decision.isPreview;
 if (isPreview) {
  headers['x-robots-tag'] = 'noindex';
 }
 if (status < 400 && (isPreview || !isContentHashed(path))) {
  headers['cache-control'] = 'no-cache';
 }
 return headers;
}
const DESCRIPTIONS = { 302: 'Found', 400: 'Bad Request', 403: 'Forbidden', 503: 'Service Unavailable' };
function headerIn(headers, name) {
 const entries = headers[name];
 return entries && entries.length > 0 && entries[0].value || '';
}
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
function askedBy(record) {
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
function setHeader(headers, name, value) {
 headers[name] = [{ key: name, value: value }];
}
function addCookieLines(headers, lines) {
 if (lines.length > 0) {
  const added = lines.map((line) => ({ key: 'set-cookie', value: line }));
  headers['set-cookie'] = (headers['set-cookie'] || []).concat(added);
 }
}
function addCookies(headers, cookies) {
 addCookieLines(headers, cookies.map((cookie) => cookie[0] + '=' + cookie[1] + '; ' + cookieAttributes(cookie[2])));
}
function toResponse(answer) {
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
function mark(record) {
 const handed = headerIn(record.request.headers, DECISION);
 const decision = handed === undefined ? null : decodeDecision(handed);
 const marks = marksFor(decision, record.request.uri, Number(record.response.status));
 Object.keys(marks).forEach((name) => {
  if (marks[name] === null) {
   delete record.response.headers[name];
  } else {
   setHeader(record.response.headers, name, marks[name]);
  }
 });
 addCookies(record.response.headers, decision ? decision.cookies : []);
}
export async function handler(event) {
 const record = event.Records[0].cf;
 try {
  mark(record);
 } catch (error) {
  console.warn('greenlight: an answer could not be marked (' + error.name + ': ' + error.message + ')');
 }
 return record.response;
}
