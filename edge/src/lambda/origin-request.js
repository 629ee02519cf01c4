// Lambda@Edge, origin-request: sends what the cache doesn't have to the active release, and nothing else.
//
// For `edge.mode: origin`. What comes back is cached under the viewer's own path, so a flip needs an
// invalidation once every edge has let go of the old pointer. It knows no share of visitors, pin or preview,
// since their answers would be cached for everyone.

import { decideActive } from '../core/active.js';
import { answer } from '../core/answer.js';
import { toResponse } from './events.js';
import { awsServices, createParameters } from './parameters.js';

const CONFIG = {"prefix":"releases/","fallback":"spa","parameter":"/storefront/production/release","regions":["us-east-1"],"edge_ttl_seconds":5};

// `services` as awsServices gives them.
export function createHandler(config, services) {
  const parameters = createParameters(config, services);
  return async function handle(event) {
    try {
      const request = event.Records[0].cf.request;
      const pointer = await parameters.pointer.get();
      const decided = decideActive(config, pointer, request.method, request.uri);
      if (decided.statusCode) {
        return toResponse(decided);
      }
      request.uri = decided.path;
      return request;
    } catch (error) {
      services.warn('greenlight: a request could not be routed (' + error.name + ': ' + error.message + ')');
      return toResponse(answer(503));
    }
  };
}

export const handler = createHandler(CONFIG, awsServices(CONFIG));
