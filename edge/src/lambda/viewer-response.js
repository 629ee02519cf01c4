// Lambda@Edge, viewer-response: turns what viewer-request decided into cookies and headers.
//
// Runs after the cache, so nothing of it is stored with the object. CloudFront doesn't run it when the origin
// answered 400 or more ("Restrictions on all edge functions"). It must never throw, and never change status or
// body ("Restrictions on Lambda@Edge").

import { DECISION } from '../core/handover.js';
import { decodeDecision } from '../core/handover-reading.js';
import { marksFor } from '../core/caching.js';
import { addCookies, headerIn, setHeader } from './events.js';

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
