// Lambda@Edge, viewer-request: reads the pointer from SSM, cached, and sends the request to its release or
// answers it.
//
// It must never throw, and never ask SSM once a request. What is decided: ../core/decision.js.

import { answer } from '../core/answer.js';
import { decide, needsSecret } from '../core/decision.js';
import { DECISION } from '../core/handover.js';
import { askedBy, setHeader, toResponse } from './events.js';
import { awsServices, createParameters } from './parameters.js';

const CONFIG = {"prefix":"releases/","fallback":"spa","parameter":"/storefront/production/release","regions":["us-east-1"],"edge_ttl_seconds":5};

// `services` as awsServices gives them.
export function createHandler(config, services) {
  const parameters = createParameters(config, services);
  return async function handle(event) {
    try {
      const record = event.Records[0].cf;
      const asked = askedBy(record);
      const pointer = await parameters.pointer.get();
      const now = Math.floor(services.now() / 1000);
      const secret = needsSecret(asked, now) ? await parameters.secret.get() : null;
      const decided = decide(config, pointer, secret, asked, now);
      if (decided.statusCode) {
        return toResponse(decided);
      }
      record.request.uri = decided.path;
      setHeader(record.request.headers, DECISION, JSON.stringify(decided.told));
      return record.request;
    } catch (error) {
      services.warn('greenlight: a request could not be routed (' + error.name + ': ' + error.message + ')');
      return toResponse(answer(503));
    }
  };
}

export const handler = createHandler(CONFIG, awsServices(CONFIG));
