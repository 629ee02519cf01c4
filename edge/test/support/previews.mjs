// Preview tokens, made as the service makes them.

import { createHmac } from 'node:crypto';

import { SECRET, START } from './edges.mjs';

export const NOW = START / 1000;

export function sign(release, expires, secret = SECRET) {
  return createHmac('sha256', secret)
    .update('greenlight-preview\n' + release + '\n' + expires)
    .digest('hex');
}

export function tokenFor(release, { expires = NOW + 600, secret = SECRET } = {}) {
  return expires + '~' + release + '~' + sign(release, expires, secret);
}
