// Previews: a token that shows one browser a release before anyone else sees it.
//
// `<expires>~<release>~<signature>`, signed by the service with a secret that the edge shares. A release that
// the pointer doesn't name is served to nobody else, so nothing here may take a token half checked. Tokens and
// secrets never go into a log or an answer's text.

import crypto from 'crypto';

const TOKEN = /^([1-9][0-9]{0,11})~([A-Za-z0-9][A-Za-z0-9._+-]{0,127})~([0-9a-f]{64})(?![\s\S])/;
const SECRET = /^[0-9a-f]{64}(?![\s\S])/;

// The token that `text` holds, or null if it can't be one or its time is over at `now` (unix seconds).
export function parseToken(text, now) {
  const found = TOKEN.exec(text);
  if (!found || found[1] <= now) {
    return null;
  }
  const signed = found[2] + '\n' + found[1];
  return { text: text, seconds: found[1] - now, release: found[2], signed: signed, signature: found[3] };
}

export function isSecret(text) {
  return SECRET.test(text);
}

// Whether the service signed `token`, if there is one. Takes as long for a wrong signature as for the right one.
export function isGenuine(token, secret) {
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
