// Caching in browsers: which files may be kept without asking, and what viewer-response writes on an answer.
//
// Only a name that changes with the content may be kept. A name wrongly taken for one would show a visitor the
// old release for as long as the origin said; one wrongly not taken costs a 304. So in doubt it isn't one. (A service
// worker's script, sw.js or service-worker.js, has no hash by its nature, and so is never kept.)

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

// How often letters and digits take turns: words with numbers (Version2, IMG_2041, cafe2024) do so rarely.
function turns(text) {
  const found = text.match(/[0-9]+|[A-Z]?[a-z]+|[A-Z]+/g);
  return found ? found.length : 0;
}

// webpack and others: 8 or more lower-case hex digits.
function isHexHash(token) {
  return /^[0-9a-f]{8,}(?![\s\S])/.test(token) && /[0-9]/.test(token) && /[a-f]/.test(token) && turns(token) >= 3;
}

// Where bundlers put what they name so. Anywhere else, 8 such characters may be a part number or a photo's name.
function isBundled(path) {
  return /\.(m?js|css|map|woff2?|wasm)(?![\s\S])/.test(path) || path.indexOf('/assets/') >= 0;
}

// Vite, Rollup and esbuild: 8 characters of base64url or base32 after a separator, at the end of `part`.
function endsInHash(part) {
  const token = part.slice(-8);
  return /^[_-][A-Za-z0-9_-]{8}(?![\s\S])/.test(part.slice(-9)) && /[A-Z]/.test(token) && /[0-9]/.test(token)
    && turns(token) >= 4;
}

// Whether the file's name has a hash of its content: between separators, and before the extension.
export function isContentHashed(path) {
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (UUID.test(name)) {
    return false;
  }
  const parts = name.split('.').slice(0, -1);
  for (let i = 0; i < parts.length; i++) {
    const part = i === 0 ? parts[i] : '-' + parts[i];
    if ((isBundled(path) && endsInHash(part)) || part.split(/[_-]/).slice(1).some(isHexHash)) {
      return true;
    }
  }
  return false;
}

// The headers of an answer to `path`, by name; null removes one. `decision` is what viewer-request handed
// over, or null: an origin's own word on the release is never passed on.
export function marksFor(decision, path, status) {
  const headers = { 'x-greenlight-release': decision ? decision.release : null };
  const isPreview = decision !== null && decision.isPreview;
  if (isPreview) {
    headers['x-robots-tag'] = 'noindex';
  }
  if (status < 400 && (isPreview || !isContentHashed(path))) {
    headers['cache-control'] = 'no-cache';
  }
  return headers;
}
