// The hand-over, read: what viewer-request told viewer-response.
//
// Checked like a stranger's word: on a behaviour without our viewer-request it would be one.

import { isVersion } from './pointer.js';
import { PIN, PREVIEW, VALUE_MAX, VISITOR } from './cookies.js';

const COOKIE_VALUE = /^[A-Za-z0-9._+~-]*(?![\s\S])/;

function isCookie(cookie) {
  return Array.isArray(cookie) && [PIN, PREVIEW, VISITOR].indexOf(cookie[0]) >= 0
    && typeof cookie[1] === 'string' && cookie[1].length <= VALUE_MAX && COOKIE_VALUE.test(cookie[1])
    && Number.isInteger(cookie[2]) && cookie[2] >= 0;
}

// {release, cookies, isPreview}, or null for anything that viewer-request didn't write.
export function decodeDecision(text) {
  try {
    const told = JSON.parse(text);
    return isVersion(told.r) && Array.isArray(told.c) && told.c.every(isCookie)
      ? { release: told.r, cookies: told.c, isPreview: told.p === true }
      : null;
  } catch (error) {
    return null;
  }
}
