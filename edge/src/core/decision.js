// The decision: which release a request gets.
//
//   pointer readable? ─no→ 503          path safe? ─no→ 400
//     └ preview link → 302, or 403 if it isn't genuine
//     └ path names a release → that one
//     └ preview cookie → its release
//     └ navigation → by weight, and a new pin
//     └ anything else → its page's pin, else active
//
// Pure: pointer, secret, time and request come in, an answer or a rewritten path goes out. It must never serve
// a release that the pointer doesn't name, unless a genuine preview does.
//
// What a request `asked`, as the adapters in ../cloudfront-function and ../lambda read it:
//   method, path     as they came
//   header(name), cookie(name)    '' when missing, and for a cookie that is too long
//   link             the value of the preview parameter, undefined without one
//   query            with a link: the rest of the query string, as it came
//   requestId        CloudFront's

import { isKnown } from './pointer.js';
import { decodePath, originPath, splitPath } from './path.js';
import { PIN, PREVIEW, VISITOR, parsePin } from './cookies.js';
import { bucketOf, isVisitor, newVisitor } from './bucket.js';
import { isGenuine, parseToken } from './preview.js';
import { answer, redirect } from './answer.js';

const VISITOR_SECONDS = 2592000;
const EMBEDDED = ['iframe', 'frame', 'embed', 'object', 'fencedframe'];

// The preview token that `asked` shows: a link's before a cookie's.
function shownToken(asked, now) {
  try {
    return parseToken(asked.link === undefined ? asked.cookie(PREVIEW) : decodeURIComponent(asked.link), now);
  } catch (error) {
    return null;
  }
}

// Whether the preview secret has to be read before `decide`.
export function needsSecret(asked, now) {
  return shownToken(asked, now) !== null;
}

// A link gives its token to the browser as a cookie; the link `off` takes it away.
function followLink(asked, token, secret) {
  const back = asked.path + (asked.query ? '?' + asked.query : '');
  if (asked.link === 'off') {
    return redirect(back, [PREVIEW, '', 0]);
  }
  return isGenuine(token, secret) ? redirect(back, [PREVIEW, token.text, token.seconds]) : answer(403);
}

// The release of the page that asks, while its epoch is current. A newer epoch than this edge has seen yet is
// one too: the pointer reaches the edges one after the other.
function pinned(pointer, asked) {
  const pin = parsePin(asked.cookie(PIN));
  return pin && pin.epoch >= pointer.epoch && isKnown(pointer, pin.release) ? pin.release : null;
}

// Whether a new page is opened. A frame belongs to the page that asks for it: a new pin would take that page's
// own assets away from it.
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
  // Fetched ahead of time while a page is open: its pin has to stay, so only a page of its own release can be had
  // early. Without the others the browser asks again when they are opened.
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

// What `asked` gets at `now` (unix seconds): an answer (it has a statusCode), or where to go: {path, told}, the
// latter for viewer-response (handover.js). `secret` is null where there is none, undefined while it can't be
// read: then nobody knows whether a preview is genuine, and who shows one must not get another release instead.
export function decide(config, pointer, secret, asked, now) {
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
