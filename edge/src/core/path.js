// Paths: which are refused, which name a release, and what the origin is asked for.
//
// Everything is judged by what a path means once decoded, and goes out as it came: nothing here may decode
// what is sent on. The query string is never looked at. Which release it is to be: decision.js.

// A segment that could lead out of its release, or be read differently by the next in line.
const UNSAFE = /[\/\\\x00]|^\.\.?(?![\s\S])/;

// `path` decoded, or null if it is to be refused. A second decoding is looked at too: an origin or a proxy that
// decodes once more must not find anything new.
export function decodePath(path) {
  try {
    const decoded = path.split('/').map(decodeURIComponent);
    const isSafe = decoded.every((once) => !UNSAFE.test(once) && !UNSAFE.test(decodeURIComponent(once)));
    return isSafe && path.charAt(0) === '/' ? decoded.join('/') : null;
  } catch (error) {
    return null;
  }
}

// The path within a release, and the release that it names, if `prefix` and something like a release come first:
// {release (null or '' if there is none), path (as it came), decoded}.
export function splitPath(prefix, path, decoded) {
  const start = prefix.length + 1;
  const end = decoded.indexOf('/', start);
  if (decoded.indexOf('/' + prefix) !== 0 || end < 0) {
    return { release: null, path: path, decoded: decoded };
  }
  const inside = path.split('/').slice(prefix.split('/').length + 1);
  return { release: decoded.slice(start, end), path: '/' + inside.join('/'), decoded: decoded.slice(end) };
}

// The file that a page's address stands for. S3 behind an origin access control knows no directory index,
// and CustomErrorResponses would serve a page without its release's name on it.
function withFallback(path, decoded, fallback) {
  const last = decoded.slice(decoded.lastIndexOf('/') + 1);
  if (decoded.indexOf('/.well-known/') === 0 || last.indexOf('.') >= 0) {
    return path;
  }
  if (path === '/' || fallback === 'spa') {
    return '/index.html';
  }
  return fallback === 'index' ? path + (last ? '/index.html' : 'index.html') : path;
}

// What the origin is asked for: `split` in `release`. encodeURIComponent makes %2B of a version's '+', which S3
// would read as a space.
export function originPath(config, method, release, split) {
  const isRead = method === 'GET' || method === 'HEAD';
  return '/' + config.prefix.split('/').map(encodeURIComponent).join('/') + encodeURIComponent(release)
    + (isRead ? withFallback(split.path, split.decoded, config.fallback) : split.path);
}
