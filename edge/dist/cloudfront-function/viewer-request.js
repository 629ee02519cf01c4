// Built by edge/build.mjs from edge/src/cloudfront-function/viewer-request.js, where it is explained.
import cf from 'cloudfront';
import crypto from 'crypto';
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
const TEXTS = {
 302: '',
 400: 'This path is not one that can be served.\n',
 403: 'This preview link is not valid (any more). Ask for a new one.\n',
 503: 'Not available at the moment. Try again in a few seconds.\n'
};
function answer(status) {
 const headers = { 'cache-control': { value: 'no-store' }, 'content-type': { value: 'text/plain' } };
 if (status === 503) {
  headers['retry-after'] = { value: '5' };
 }
 return { statusCode: status, headers: headers, cookies: {}, body: { encoding: 'text', data: TEXTS[status] } };
}
function redirect(location, cookie) {
 const found = answer(302);
 found.headers.location = {
  value: location.replace(/^\/+/, '/').replace(/[^\x21-\x7e]+/g, encodeURIComponent)
 };
 found.cookies[cookie[0]] = { value: cookie[1], attributes: cookieAttributes(cookie[2]) };
 return found;
}
const UNSAFE = /[\/\\\x00]|^\.\.?(?![\s\S])/;
function decodePath(path) {
 try {
  const decoded = path.split('/').map(decodeURIComponent);
  const isSafe = decoded.every((once) => !UNSAFE.test(once) && !UNSAFE.test(decodeURIComponent(once)));
  return isSafe && path.charAt(0) === '/' ? decoded.join('/') : null;
 } catch (error) {
  return null;
 }
}
function splitPath(prefix, path, decoded) {
 const start = prefix.length + 1;
 const end = decoded.indexOf('/', start);
 if (decoded.indexOf('/' + prefix) !== 0 || end < 0) {
  return { release: null, path: path, decoded: decoded };
 }
 const inside = path.split('/').slice(prefix.split('/').length + 1);
 return { release: decoded.slice(start, end), path: '/' + inside.join('/'), decoded: decoded.slice(end) };
}
function withFallback(path, decoded, fallback) {
 const last = decoded.slice(decoded.lastIndexOf('/') + 1);
 if (decoded.indexOf('/.well-known/') === 0 || last.indexOf('.') >= 0) {
  return path;
 }
 if (path === '/' || fallback === 'spa') {
  return '/index.html';
 }
 return fallback === 'index' ? path + (last ? '/index.html' : 'index.html') : path;
}
function originPath(config, method, release, split) {
 const isRead = method === 'GET' || method === 'HEAD';
 return '/' + config.prefix.split('/').map(encodeURIComponent).join('/') + encodeURIComponent(release)
  + (isRead ? withFallback(split.path, split.decoded, config.fallback) : split.path);
}
const VISITOR_ID = /^[0-9a-f]{32}(?![\s\S])/;
function isVisitor(text) {
 return VISITOR_ID.test(text);
}
function newVisitor(requestId) {
 return crypto.createHash('sha256').update(String(requestId)).digest('hex').slice(0, 32);
}
function bucketOf(visitor, candidate) {
 const text = visitor + '~' + candidate;
 let hash = 0x811c9dc5;
 for (let i = 0; i < text.length; i++) {
  hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
 }
 hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
 hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
 return ((hash ^ (hash >>> 16)) >>> 0) % 10000;
}
const TOKEN = /^([1-9][0-9]{0,11})~([A-Za-z0-9][A-Za-z0-9._+-]{0,127})~([0-9a-f]{64})(?![\s\S])/;
const SECRET = /^[0-9a-f]{64}(?![\s\S])/;
function parseToken(text, now) {
 const found = TOKEN.exec(text);
 if (!found || found[1] <= now) {
  return null;
 }
 const signed = found[2] + '\n' + found[1];
 return { text: text, seconds: found[1] - now, release: found[2], signed: signed, signature: found[3] };
}
function isSecret(text) {
 return SECRET.test(text);
}
function isGenuine(token, secret) {
 if (!token || !isSecret(secret)) {
  return false;
 }
 const expected = crypto.createHmac('sha256', secret).update('greenlight-preview\n' + token.signed).digest('hex');
 let difference = 0;
 for (let i = 0; i < 64; i++) {
  difference |= expected.charCodeAt(i) ^ token.signature.charCodeAt(i);
 }
 return difference === 0;
}
const VISITOR_SECONDS = 2592000;
const EMBEDDED = ['iframe', 'frame', 'embed', 'object', 'fencedframe'];
function shownToken(asked, now) {
 try {
  return parseToken(asked.link === undefined ? asked.cookie(PREVIEW) : decodeURIComponent(asked.link), now);
 } catch (error) {
  return null;
 }
}
function needsSecret(asked, now) {
 return shownToken(asked, now) !== null;
}
function followLink(asked, token, secret) {
 const back = asked.path + (asked.query ? '?' + asked.query : '');
 if (asked.link === 'off') {
  return redirect(back, [PREVIEW, '', 0]);
 }
 return isGenuine(token, secret) ? redirect(back, [PREVIEW, token.text, token.seconds]) : answer(403);
}
function pinned(pointer, asked) {
 const pin = parsePin(asked.cookie(PIN));
 return pin && pin.epoch >= pointer.epoch && isKnown(pointer, pin.release) ? pin.release : null;
}
function isNavigation(asked, pin) {
 const mode = asked.header('sec-fetch-mode');
 if (asked.method !== 'GET' && asked.method !== 'HEAD') {
  return false;
 }
 if (!mode) {
  return asked.header('accept').indexOf('text/html') >= 0;
 }
 return mode === 'navigate' && !(pin && EMBEDDED.indexOf(asked.header('sec-fetch-dest')) >= 0);
}
function byWeight(pointer, asked, cookies) {
 if (!pointer.candidate || pointer.weight === 0) {
  return pointer.active;
 }
 if (pointer.weight === 100) {
  return pointer.candidate;
 }
 let visitor = asked.cookie(VISITOR);
 if (!isVisitor(visitor)) {
  visitor = newVisitor(asked.requestId);
  cookies.push([VISITOR, visitor, VISITOR_SECONDS]);
 }
 return bucketOf(visitor, pointer.candidate) < pointer.weight * 100 ? pointer.candidate : pointer.active;
}
function choose(pointer, asked, cookies) {
 const pin = pinned(pointer, asked);
 if (!isNavigation(asked, pin)) {
  return pin || pointer.active;
 }
 const release = byWeight(pointer, asked, cookies);
 if (pin && asked.header('sec-purpose').indexOf('prefetch') >= 0) {
  return release === pin ? pin : null;
 }
 if (pointer.pin_seconds > 0) {
  cookies.push([PIN, release + '~' + pointer.epoch, pointer.pin_seconds]);
 } else if (asked.cookie(PIN)) {
  cookies.push([PIN, '', 0]);
 }
 return release;
}
function decide(config, pointer, secret, asked, now) {
 if (!pointer) {
  return answer(503);
 }
 const decoded = decodePath(asked.path);
 if (!decoded) {
  return answer(400);
 }
 const token = shownToken(asked, now);
 if (token && secret === undefined) {
  return answer(503);
 }
 if (asked.link !== undefined) {
  return followLink(asked, token, secret);
 }
 const preview = isGenuine(token, secret) ? token.release : null;
 const cookies = [];
 if (asked.cookie(PREVIEW) && !preview) {
  cookies.push([PREVIEW, '', 0]);
 }
 let split = splitPath(config.prefix, asked.path, decoded);
 let release = split.release;
 if (!isKnown(pointer, release) && !(preview && release === preview)) {
  split = { path: asked.path, decoded: decoded };
  release = preview || choose(pointer, asked, cookies);
  if (!release) {
   return answer(503);
  }
 }
 return {
  path: originPath(config, asked.method, release, split),
  told: { r: release, c: cookies, p: preview ? true : undefined }
 };
}
const DECISION = 'x-greenlight-decision';
const CONFIG = {"prefix":"releases/","fallback":"spa","key":"storefront/production"};
async function valueOf(suffix) {
 try {
  const value = await cf.kvs().get(CONFIG.key + suffix, { format: 'string' });
  return value;
 } catch (error) {
  return null;
 }
}
function queryWithoutLink(query) {
 const kept = [];
 Object.keys(query).forEach((name) => {
  if (name !== PREVIEW) {
   (query[name].multiValue || [query[name]]).forEach((entry) => kept.push(name + '=' + entry.value));
  }
 });
 return kept.join('&');
}
function valueIn(entries, name) {
 return entries && entries[name] && entries[name].value || '';
}
function askedBy(event) {
 const request = event.request;
 const query = request.querystring || {};
 const link = query[PREVIEW];
 return {
  method: request.method,
  path: request.uri,
  header: (name) => valueIn(request.headers, name),
  cookie: (name) => {
   const value = valueIn(request.cookies, name);
   return value.length <= VALUE_MAX ? value : '';
  },
  link: link && link.value,
  query: link && queryWithoutLink(query),
  requestId: event.context.requestId
 };
}
async function handler(event) {
 try {
  const now = Math.floor(Date.now() / 1000);
  const asked = askedBy(event);
  let text = await valueOf('');
  let pointer = parsePointer(text);
  if (!pointer) {
   text = await valueOf('.last-good');
   pointer = parsePointer(text);
  }
  let secret = null;
  if (needsSecret(asked, now)) {
   secret = await valueOf('.preview-key');
  }
  const decided = decide(CONFIG, pointer, secret, asked, now);
  if (decided.statusCode) {
   return decided;
  }
  event.request.uri = decided.path;
  event.request.headers[DECISION] = { value: JSON.stringify(decided.told) };
  return event.request;
 } catch (error) {
  return answer(503);
 }
}
