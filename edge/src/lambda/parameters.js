// SSM parameters: the pointer and the preview secret, each cached, read with the SDK that comes with the runtime.
//
// A log line names the parameter and the error's kind, never a value.

import { parsePointer } from '../core/pointer.js';
import { isSecret } from '../core/preview.js';
import { createCache } from './cache.js';

const SECRET_TTL_SECONDS = 60;

// Where to read: here, if the pointer is kept here.
export function regionOf(config) {
  const here = process.env.AWS_REGION;
  return config.regions.indexOf(here) >= 0 ? here : config.regions[0];
}

// Reads from SSM: `read(name, isSecret)` resolves to the value, or to null if there is no such parameter.
export function createReader(config) {
  let connecting = null;

  async function connect() {
    const sdk = await import('@aws-sdk/client-ssm');
    const client = new sdk.SSMClient({
      region: regionOf(config),
      // A second attempt at once: after Lambda has frozen an environment its open connections are dead.
      maxAttempts: 2,
      requestHandler: { connectionTimeout: 1000, requestTimeout: 1500, throwOnRequestTimeout: true }
    });
    return { client: client, GetParameterCommand: sdk.GetParameterCommand };
  }

  return async function read(name, isEncrypted) {
    connecting = connecting || connect();
    let ssm = null;
    try {
      ssm = await connecting;
    } catch (error) {
      connecting = null;
      throw error;
    }
    try {
      const found = await ssm.client.send(new ssm.GetParameterCommand({ Name: name, WithDecryption: isEncrypted }));
      return found.Parameter.Value;
    } catch (error) {
      if (error.name === 'ParameterNotFound') {
        return null;
      }
      throw error;
    }
  };
}

function acceptPointer(text) {
  const pointer = parsePointer(text);
  if (!pointer) {
    throw new Error(text === null ? 'there is no such parameter' : 'the parameter holds no pointer');
  }
  return pointer;
}

// Without a secret no preview is genuine: that is an answer, and kept like one.
function acceptSecret(text) {
  return isSecret(text) ? text : null;
}

// The pointer and the preview secret, as caches with `get`.
export function createParameters(config, services) {
  function cached(name, isEncrypted, ttlSeconds, accept) {
    return createCache({
      ttlMillis: ttlSeconds * 1000,
      read: () => services.read(name, isEncrypted),
      accept: accept,
      now: services.now,
      after: services.after,
      warn: (error) => services.warn('greenlight: ' + name + ' can not be read (' + error.name + ': ' + error.message
        + '); what was read before stays in use')
    });
  }
  return {
    pointer: cached(config.parameter, false, Math.max(1, config.edge_ttl_seconds), acceptPointer),
    secret: cached(config.parameter + '.preview-key', true, SECRET_TTL_SECONDS, acceptSecret)
  };
}

function after(millis, callback) {
  const timer = setTimeout(callback, millis);
  return () => clearTimeout(timer);
}

// What the functions need of the world: {read(name, isEncrypted), now() in milliseconds, after(millis, callback),
// warn(text)}.
export function awsServices(config) {
  return { read: createReader(config), now: Date.now, after: after, warn: console.warn };
}
