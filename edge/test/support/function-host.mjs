// A host for the built CloudFront Functions: the modules they import, and nothing else of Node's.
//
// Runs the very file in dist/ in a context of its own that has the language's globals alone, as CloudFront's
// runtime does: a function that used Buffer, process or a timer would fail here. Only the import lines are
// replaced; test/syntax.test.mjs holds that there are no others.

import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

export const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));

// What the module `crypto` is promised to have, and no more.
function digesting(hash) {
  const self = {
    update(text) {
      hash.update(String(text));
      return self;
    },
    digest(encoding) {
      if (encoding !== 'hex') {
        throw new Error('only hex is promised');
      }
      return hash.digest('hex');
    }
  };
  return self;
}

const CRYPTO = {
  createHash: (algorithm) => digesting(createHash(algorithm)),
  createHmac: (algorithm, key) => digesting(createHmac(algorithm, key))
};

// A KeyValueStore: `values` by key. `asked` has every key that was read; `failure` makes each read fail.
export function createStore(values = {}) {
  const store = {
    values: new Map(Object.entries(values)),
    asked: [],
    failure: null,
    async get(key, options) {
      store.asked.push(key);
      if (options?.format !== 'string') {
        throw new Error('the function asked for another format than string');
      }
      if (store.failure) {
        throw store.failure;
      }
      if (!store.values.has(key)) {
        throw new Error('KeyNotFound');
      }
      return store.values.get(key);
    }
  };
  return store;
}

export function readDist(file) {
  return readFileSync(DIST + file, 'utf8');
}

export function withConfig(text, config) {
  return text.replace(/^const CONFIG = .*$/m, () => 'const CONFIG = ' + JSON.stringify(config) + ';');
}

// The function in dist/`file`: {handler}, and what else of its top level is asked for by name. `now` is the time in
// milliseconds.
export function loadFunction(file, { store = createStore(), config = null, now = Date.now, names = [] } = {}) {
  const text = config ? withConfig(readDist(file), config) : readDist(file);
  const body = text
    .replace("import cf from 'cloudfront';", 'const cf = modules.cloudfront;')
    .replace("import crypto from 'crypto';", 'const crypto = modules.crypto;');
  const wrapped =
    "(function (modules) { 'use strict'; " +
    body +
    '\nreturn { ' +
    ['handler', ...names].join(', ') +
    ' }; })';
  const context = vm.createContext({ Date: { now } });
  const load = new vm.Script(wrapped, { filename: file }).runInContext(context);
  return load({ cloudfront: { kvs: () => store }, crypto: CRYPTO });
}
