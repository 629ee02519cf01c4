// The decision of an edge that only ever serves the active release.
//
// For routing behind the cache, where an answer belongs to whoever asks for the path next: no visitor, pin or
// preview may have a say. A path that names a known release is that release's, as in decision.js.

import { isKnown } from './pointer.js';
import { decodePath, originPath, splitPath } from './path.js';
import { answer } from './answer.js';

// An answer (it has a statusCode), or where to go: {path}.
export function decideActive(config, pointer, method, path) {
  if (!pointer) {
    return answer(503);
  }
  const decoded = decodePath(path);
  if (!decoded) {
    return answer(400);
  }
  const split = splitPath(config.prefix, path, decoded);
  return isKnown(pointer, split.release)
    ? { path: originPath(config, method, split.release, split) }
    : { path: originPath(config, method, pointer.active, { path: path, decoded: decoded }) };
}
