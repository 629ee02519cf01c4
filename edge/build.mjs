#!/usr/bin/env node
// Builds what CloudFront runs from what people read: one file a function, without imports of our own.
//
//   node build.mjs                 writes dist/
//   node build.mjs --check         says whether dist/ is what src/ gives; writes nothing
//   node build.mjs --out DIR …     writes copies with your settings (--help lists them)
//
// The bundler is a concatenation: each module once, after what it imports, without its imports, exports and
// whole-line comments, and half as far indented. That is sound because src/ keeps to it: imports stand on one line
// at the top, comments have lines of their own, no text spans lines, and no two modules share a top-level name
// (test/syntax.test.mjs holds all of it). The settings' flags are in settings.mjs.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { HELP, readSettings } from './settings.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

// "Quotas on CloudFront Functions": 10 KB, not adjustable.
export const SIZE_MAX_BYTES = 10240;

// What is built: from where, to where, and which settings it takes (none: it has no CONFIG line).
export const TARGETS = [
  { entry: 'cloudfront-function/viewer-request.js', file: 'cloudfront-function/viewer-request.js', kind: 'function' },
  { entry: 'cloudfront-function/viewer-response.js', file: 'cloudfront-function/viewer-response.js', kind: 'function' },
  { entry: 'lambda/viewer-request.js', file: 'lambda/viewer-request/index.mjs', kind: 'lambda' },
  { entry: 'lambda/viewer-response.js', file: 'lambda/viewer-response/index.mjs', kind: 'lambda' },
  { entry: 'lambda/origin-request.js', file: 'lambda/origin-request/index.mjs', kind: 'lambda' }
];

const IMPORT = /^import .* from '([^']+)';$/;
const CONFIG_LINE = /^const CONFIG = \{.*\};$/gm;

// The text that CloudFront gets of `target`.
export function bundle(target) {
  const entry = join(HERE, 'src', target.entry);
  const outside = [];
  const bodies = [];
  const seen = new Set();

  function add(path) {
    if (seen.has(path)) {
      return;
    }
    seen.add(path);
    const body = [];
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      const imported = IMPORT.exec(line);
      if (imported && imported[1].startsWith('.')) {
        add(resolve(dirname(path), imported[1]));
      } else if (imported) {
        if (!outside.includes(line)) {
          outside.push(line);
        }
      } else if (line.trim() !== '' && !line.trim().startsWith('//')) {
        const kept = path === entry ? line : line.replace(/^export /, '');
        body.push(kept.replace(/^ +/, (indent) => indent.slice(indent.length / 2)));
      }
    }
    bodies.push(body.join('\n'));
  }

  add(entry);
  const title = '// Built by edge/build.mjs from edge/src/' + target.entry + ', where it is explained.';
  return [title, ...outside, ...bodies].join('\n') + '\n';
}

// `text` with the settings of `config` in its CONFIG line. A text without one takes no settings.
export function configured(text, config) {
  return text.replace(CONFIG_LINE, () => 'const CONFIG = ' + JSON.stringify(config) + ';');
}

// What is wrong with `text` as a file of `target`, or null.
export function problemOf(target, text) {
  if ((text.match(CONFIG_LINE) || []).length > 1) {
    return 'has more than one CONFIG line';
  }
  if (target.kind !== 'function') {
    return null;
  }
  if (Buffer.byteLength(text) >= SIZE_MAX_BYTES) {
    return 'has ' + Buffer.byteLength(text) + ' bytes; a CloudFront Function must have less than ' + SIZE_MAX_BYTES
      + ' (a shorter key or prefix helps)';
  }
  if (text.includes('${') || text.includes('`')) {
    return 'has a template literal; CloudFormation would take it for a variable of its own';
  }
  return null;
}

// The files of `targets` as [path below the directory, text], each checked.
export function build(targets, configFor) {
  return targets.map((target) => {
    const config = configFor(target);
    const text = config ? configured(bundle(target), config) : bundle(target);
    const problem = problemOf(target, text);
    if (problem) {
      throw new Error(target.file + ' ' + problem);
    }
    return [target.file, text];
  });
}

function write(directory, files) {
  for (const [file, text] of files) {
    const path = join(directory, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    console.log(relative(process.cwd(), path) + '  ' + Buffer.byteLength(text) + ' bytes');
  }
}

function committed(file) {
  try {
    return readFileSync(join(HERE, 'dist', file), 'utf8');
  } catch (error) {
    return null;
  }
}

function main(args) {
  if (args.includes('--help')) {
    console.log(HELP);
    return 0;
  }
  if (args.length === 0) {
    write(join(HERE, 'dist'), build(TARGETS, () => null));
    return 0;
  }
  if (args.length === 1 && args[0] === '--check') {
    const stale = build(TARGETS, () => null).filter(([file, text]) => committed(file) !== text);
    for (const [file] of stale) {
      console.error('edge/dist/' + file + ' is not what edge/src gives');
    }
    console.error(stale.length > 0 ? 'run `node edge/build.mjs` and commit what it writes' : 'edge/dist is up to date');
    return stale.length > 0 ? 1 : 0;
  }
  const settings = readSettings(args);
  if (settings.problems.length > 0) {
    for (const problem of settings.problems) {
      console.error('build.mjs: ' + problem);
    }
    console.error('`node build.mjs --help` says what there is');
    return 2;
  }
  const targets = TARGETS.filter((target) => settings.configs[target.kind]);
  write(settings.out, build(targets, (target) => settings.configs[target.kind]));
  return 0;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = main(process.argv.slice(2));
  } catch (error) {
    console.error('build.mjs: ' + error.message);
    process.exitCode = 1;
  }
}
