// CloudFront Functions, viewer-response: turns what viewer-request decided into cookies and headers.
//
// Runs after the cache, so nothing of it is stored with the object. CloudFront doesn't run it when the origin
// answered 400 or more ("Restrictions on all edge functions"), nor on viewer-request's own answers. It must
// never throw, and never change status or body.

import { cookieAttributes } from '../core/cookies.js';
import { DECISION } from '../core/handover.js';
import { decodeDecision } from '../core/handover-reading.js';
import { marksFor } from '../core/caching.js';

function setCookies(response, cookies) {
  if (cookies.length > 0 && !response.cookies) {
    response.cookies = {};
  }
  cookies.forEach((cookie) => {
    response.cookies[cookie[0]] = { value: cookie[1], attributes: cookieAttributes(cookie[2]) };
  });
}

function handler(event) {
  const response = event.response;
  try {
    const handed = event.request.headers[DECISION];
    const decision = handed ? decodeDecision(handed.value) : null;
    const marks = marksFor(decision, event.request.uri, response.statusCode);
    Object.keys(marks).forEach((name) => {
      if (marks[name] === null) {
        delete response.headers[name];
      } else {
        response.headers[name] = { value: marks[name] };
      }
    });
    setCookies(response, decision ? decision.cookies : []);
  } catch (error) {
    // An answer without marks is better than none.
  }
  return response;
}
