// Makes greenlight-edge.yaml: puts the code of edge/dist into greenlight-edge.src.yaml, with the stack's parameters
// where the code has its configuration.
//
//   node deploy/cloudformation/build.mjs                        write greenlight-edge.yaml
//   node deploy/cloudformation/build.mjs --check                exit 1 if the one that is there is another
//   node deploy/cloudformation/build.mjs --dist DIR --out FILE  code from elsewhere, result to elsewhere
//
// `@code(FILE)` in the source becomes that file's code, and `@hash(FILE)` what it hashes to. Must never change what the
// code does: it replaces the line `const CONFIG = …` and, for Lambda, the lines that import and export, and refuses
// whatever else it does not know. The edge's own build is edge/build.mjs; what the result must have is checked by
// scripts/check_template.py.

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const HERE = dirname(fileURLToPath(import.meta.url));

// What the line `const CONFIG = …` says in the stack. `${…}` are parameters of the template, which allows no character
// in them that would need an escape within a string of JavaScript.
const CONFIG = {
  'cloudfront-function/viewer-request.js': {
    prefix: '${ReleasePrefix}',
    fallback: '${Fallback}',
    key: '${PointerName}',
  },
  'lambda/viewer-request/index.mjs': {
    prefix: '${ReleasePrefix}',
    fallback: '${Fallback}',
    parameter: '/${PointerName}',
    regions: ['${Regions}'],
    edge_ttl_seconds: '${EdgeTtlSeconds}',
  },
};

class Refusal extends Error {}

/** The template, from its source and the folder with the edge's code. */
export function build(source, dist) {
  const loaded = new Map();
  const load = (file) => {
    if (!loaded.has(file)) {
      const text = readFileSync(join(dist, file), 'utf8');
      loaded.set(file, file.endsWith('.mjs') ? toCommonJs(text, file) : text);
    }
    return loaded.get(file);
  };
  const lines = source.split('\n').map((line) => {
    const marker = /^( *)(\w+): '@code\((\S+)\)'$/.exec(line);
    if (!marker) return line.replace(/@hash\((\S+?)\)/g, (_, file) => hash(load(file)));
    const [, indent, key, file] = marker;
    return `${indent}${key}:${inline(load(file), file, indent)}`;
  });
  const title = '# Written by build.mjs from greenlight-edge.src.yaml and edge/dist: change those.';
  return [title, '#', ...lines].join('\n');
}

function hash(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/**
 * What follows a key at `indent` and evaluates to the code. Only the configuration goes through Fn::Sub: what looks like
 * one of its variables in the code (a template literal) stays as it is.
 */
function inline(text, file, indent) {
  const lines = text.trimEnd().split('\n');
  const at = lines.flatMap((line, index) => (line.startsWith('const CONFIG = ') ? [index] : []));
  if (!(file in CONFIG)) {
    // Without settings there may be such a line, but nothing in it.
    if (at.some((index) => lines[index] !== 'const CONFIG = {};')) {
      throw new Refusal(`${file}: has a configuration that build.mjs does not know`);
    }
    return ` ${block(lines, `${indent}  `, file)}`;
  }
  if (at.length !== 1) {
    throw new Refusal(`${file}: ${at.length} lines begin with \`const CONFIG = \`, not one`);
  }
  checkConfig(lines[at[0]], file);
  const inner = `${indent}        `;
  const pieces = [
    block(lines.slice(0, at[0]), inner, file),
    configuration(CONFIG[file], inner),
    // The empty line ends that of the configuration.
    block(['', ...lines.slice(at[0] + 1)], inner, file),
  ];
  const items = pieces.map((piece, index) => `${indent}    ${index === 0 ? '- -' : '  -'} ${piece}`);
  return [``, `${indent}  Fn::Join:`, `${indent}    - ''`, ...items].join('\n');
}

function configuration(settings, indent) {
  // A number stands without quotation marks.
  const json = JSON.stringify(settings).replace('"${EdgeTtlSeconds}"', '${EdgeTtlSeconds}');
  if (!json.includes('${Regions}')) return `Fn::Sub: 'const CONFIG = ${json};'`;
  return [
    'Fn::Sub:',
    `${indent}  - 'const CONFIG = ${json};'`,
    `${indent}  - Regions: !Join ['","', !Ref PointerRegions]`,
  ].join('\n');
}

/** Whether what the edge was built with has the fields that the stack fills in, and no other. */
function checkConfig(line, file) {
  const json = /^const CONFIG = (\{.*\});$/.exec(line);
  let built;
  try {
    built = JSON.parse(json[1]);
  } catch {
    throw new Refusal(`${file}: its configuration can't be read: ${line}`);
  }
  const names = (object) => Object.keys(object).sort().join(', ');
  if (names(built) !== names(CONFIG[file])) {
    throw new Refusal(`${file}: is configured by ${names(built)}, and build.mjs knows ${names(CONFIG[file])}`);
  }
}

/** A literal block of YAML; the lines after its first one. */
function block(lines, indent, file) {
  for (const line of lines) {
    // Anything else either ends a literal block or is changed by reading it.
    if (/[^\x20-\x7e\t]/.test(line)) throw new Refusal(`${file}: a character that is not printable ASCII: ${line}`);
  }
  // The number says how far the block is indented, which a reader can't tell from a line that begins with a space.
  return ['|2', ...lines.map((line) => (line === '' ? '' : indent + line))].join('\n');
}

/**
 * CloudFormation writes inline code to index.js, which Lambda takes for CommonJS (CloudFormation Template Reference,
 * "AWS::Lambda::Function Code"): the same code with `require` and `exports`.
 */
export function toCommonJs(text, file = 'the code') {
  const exported = [];
  const lines = text.split('\n').map((original) => {
    // A package of Lambda's own is found by `require` wherever the code lies.
    const line = original.replace(/\bimport\((['"][^'"]+['"])\)/g, 'Promise.resolve(require($1))');
    let found = /^import \{([^}]*)\} from (['"][^'"]+['"]);?$/.exec(line);
    if (found) return `const {${found[1].replace(/ as /g, ': ')}} = require(${found[2]});`;
    found = /^import \* as (\w+) from (['"][^'"]+['"]);?$/.exec(line);
    if (found) return `const ${found[1]} = require(${found[2]});`;
    found = /^import (\w+) from ['"]([^'"]+)['"];?$/.exec(line);
    // What `require` gives of a module of Node's own is its default export; of a package it may be anything.
    if (found && isBuiltin(found[2])) return `const ${found[1]} = require('${found[2]}');`;
    found = /^export ((?:async )?function|const) (\w+)(.*)$/.exec(line);
    if (found) {
      exported.push([found[2], found[2]]);
      return noModule(`${found[1]} ${found[2]}${found[3]}`, file);
    }
    found = /^export \{([^}]*)\};?$/.exec(line);
    if (found) {
      for (const name of found[1].split(',').map((part) => part.trim()).filter(Boolean)) {
        const [local, outer = local] = name.split(' as ');
        exported.push([outer, local]);
      }
      return '';
    }
    return noModule(line, file);
  });
  if (!exported.some(([outer]) => outer === 'handler')) throw new Refusal(`${file}: exports no handler`);
  const tail = exported.map(([outer, local]) => `exports.${outer} = ${local};`);
  return [`'use strict';`, ...lines.join('\n').trimEnd().split('\n'), ...tail, ''].join('\n');
}

/** The line, if nothing in it is a module's. */
function noModule(line, file) {
  if (/^\s*(import|export)\b|\bimport\s*[.(]/.test(line)) {
    throw new Refusal(`${file}: can't be made CommonJS: ${line}`);
  }
  return line;
}

function main() {
  const { values } = parseArgs({
    options: {
      check: { type: 'boolean', default: false },
      dist: { type: 'string', default: resolve(HERE, '../../edge/dist') },
      out: { type: 'string', default: join(HERE, 'greenlight-edge.yaml') },
    },
  });
  const built = build(readFileSync(join(HERE, 'greenlight-edge.src.yaml'), 'utf8'), values.dist);
  if (!values.check) {
    writeFileSync(values.out, built);
    return;
  }
  let committed = '';
  try {
    committed = readFileSync(values.out, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  if (committed !== built) {
    const name = relative(process.cwd(), values.out);
    const command = 'node deploy/cloudformation/build.mjs';
    throw new Refusal(`${name} is not what its source and edge/dist make: run \`${command}\` and commit it`);
  }
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    main();
  } catch (error) {
    if (!(error instanceof Refusal) && error.code !== 'ENOENT') throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
