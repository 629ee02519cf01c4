// CloudFront Functions, viewer-request: reads the pointer from the KeyValueStore, and sends the request to its
// release or answers it.
//
// Keeps nothing between requests. It must never throw: a visitor would get CloudFront's own error page. Async
// functions hold no closures and await nothing inside an argument ("JavaScript runtime 2.0 features for
// CloudFront Functions": neither is supported). What is decided: ../core/decision.js.

import cf from 'cloudfront';
import { parsePointer } from '../core/pointer.js';
import { PREVIEW, VALUE_MAX } from '../core/cookies.js';
import { answer } from '../core/answer.js';
import { decide, needsSecret } from '../core/decision.js';
import { DECISION } from '../core/handover.js';

const CONFIG = {"prefix":"releases/","fallback":"spa","key":"storefront/production"};

// The value of `key`, or null: the store rejects for a key that it doesn't have.
async function valueOf(suffix) {
  try {
    const value = await cf.kvs().get(CONFIG.key + suffix, { format: 'string' });
    return value;
  } catch (error) {
    return null;
  }
}

// The query string without the preview parameter. Names and values are as the viewer sent them, and repeated
// ones stand side by side ("CloudFront Functions event structure").
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

// What the decision is made from.
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
