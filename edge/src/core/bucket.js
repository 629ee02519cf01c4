// Visitors: which of 10,000 buckets one is in, and a name for one that is new.
//
// The bucket depends on the visitor and the candidate alone: a weight that grows only ever moves visitors over
// to the candidate, and each candidate meets another part of them first. It must never depend on the weight.

import crypto from 'crypto';

const VISITOR_ID = /^[0-9a-f]{32}(?![\s\S])/;

export function isVisitor(text) {
  return VISITOR_ID.test(text);
}

// A name for a visitor without one. CloudFront's request id is unique, and hashed it tells nobody anything.
export function newVisitor(requestId) {
  return crypto.createHash('sha256').update(String(requestId)).digest('hex').slice(0, 32);
}

// 0 to 9999: FNV-1a with MurmurHash3's finaliser, since FNV-1a alone leaves its low bits too regular.
export function bucketOf(visitor, candidate) {
  const text = visitor + '~' + candidate;
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % 10000;
}
