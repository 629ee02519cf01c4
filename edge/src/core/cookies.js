// The three cookies: their names, their attributes, and what a pin says.
//
// A cookie is [name, value, seconds to keep it]; 0 seconds clears it. On a page's answer nobody but
// viewer-response sets one.

export const PIN = 'greenlight-pin';
export const VISITOR = 'greenlight-visitor';
// Also the query parameter of a preview link.
export const PREVIEW = 'greenlight-preview';

// Longer values are as if they weren't there: none of ours comes near it.
export const VALUE_MAX = 512;

const PIN_VALUE = /^([A-Za-z0-9][A-Za-z0-9._+-]{0,127})~(0|[1-9][0-9]{0,18})(?![\s\S])/;

export function cookieAttributes(seconds) {
  return 'Path=/; Max-Age=' + seconds + '; Secure; HttpOnly; SameSite=Lax';
}

// What a pin cookie says: {release, epoch}, or null.
export function parsePin(text) {
  const found = PIN_VALUE.exec(text);
  return found && { release: found[1], epoch: Number(found[2]) };
}
