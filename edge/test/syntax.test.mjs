// The language: the built CloudFront Functions use nothing that cloudfront-js-2.0 isn't documented to have.
//
// "JavaScript runtime 2.0 features for CloudFront Functions" names what there is beyond ECMAScript 5.1. These lists
// are narrower than that page: what isn't needed isn't allowed. It also holds what edge/build.mjs relies on in src/.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'node:test';
import { parse } from 'acorn';

import { TARGETS } from '../build.mjs';
import { readDist } from './support/function-host.mjs';

const SRC = fileURLToPath(new URL('../src/', import.meta.url));

const NODES = new Set([
  'Program',
  'ImportDeclaration',
  'ImportDefaultSpecifier',
  'VariableDeclaration',
  'VariableDeclarator',
  'FunctionDeclaration',
  'ArrowFunctionExpression',
  'BlockStatement',
  'ExpressionStatement',
  'ReturnStatement',
  'IfStatement',
  'ForStatement',
  'TryStatement',
  'CatchClause',
  'Identifier',
  'Literal',
  'ArrayExpression',
  'ObjectExpression',
  'Property',
  'MemberExpression',
  'CallExpression',
  'UnaryExpression',
  'UpdateExpression',
  'BinaryExpression',
  'LogicalExpression',
  'ConditionalExpression',
  'AssignmentExpression',
  'AwaitExpression'
]);
const OPERATORS = new Set([
  '+',
  '-',
  '*',
  '/',
  '%',
  '!',
  '===',
  '!==',
  '<',
  '<=',
  '>',
  '>=',
  '&&',
  '||',
  '=',
  '|=',
  '++',
  '^',
  '>>>',
  'typeof',
  'delete'
]);
const GLOBALS = new Set([
  'Array',
  'Date',
  'JSON',
  'Math',
  'Number',
  'Object',
  'String',
  'decodeURIComponent',
  'encodeURIComponent',
  'undefined'
]);
// Methods by the name they are called by.
const METHODS = new Set([
  'Array.isArray',
  'Date.now',
  'JSON.parse',
  'JSON.stringify',
  'Math.floor',
  'Math.imul',
  'Number.isInteger',
  'Object.keys',
  'charAt',
  'charCodeAt',
  'exec',
  'every',
  'forEach',
  'indexOf',
  'join',
  'lastIndexOf',
  'map',
  'match',
  'push',
  'replace',
  'slice',
  'some',
  'split',
  'test',
  // crypto and cloudfront
  'createHash',
  'createHmac',
  'update',
  'digest',
  'kvs',
  'get',
  // our own, in what a request asked
  'header',
  'cookie'
]);

// Every node of `tree` with the nodes above it, nearest first.
function* walk(node, above = []) {
  yield [node, above];
  for (const child of Object.values(node)) {
    for (const one of Array.isArray(child) ? child : [child]) {
      if (one && typeof one.type === 'string') {
        yield* walk(one, [node, ...above]);
      }
    }
  }
}

const isFunction = (node) => /Function/.test(node.type);

function calledName(call) {
  const { callee } = call;
  if (callee.type === 'Identifier') {
    return null;
  }
  const { object, property } = callee;
  const isStatic = object.type === 'Identifier' && GLOBALS.has(object.name);
  return isStatic ? object.name + '.' + property.name : property.name;
}

// What is wrong with one node, or null.
function problem(node, above) {
  if (!NODES.has(node.type)) {
    return node.type;
  }
  if (node.operator && !OPERATORS.has(node.operator)) {
    return 'operator ' + node.operator;
  }
  switch (node.type) {
    case 'VariableDeclaration':
      return node.kind === 'var' || node.declarations.length > 1 ? 'var, or several in one declaration' : null;
    case 'VariableDeclarator':
      return node.id.type !== 'Identifier' ? 'destructuring' : null;
    case 'FunctionDeclaration':
    case 'ArrowFunctionExpression':
      if (node.generator || node.params.some((parameter) => parameter.type !== 'Identifier')) {
        return 'a generator, or a parameter that is more than a name';
      }
      if (node.async && (node.type !== 'FunctionDeclaration' || above[0].type !== 'Program')) {
        return 'an async function that is not at the top';
      }
      return above.some((one) => isFunction(one) && one.async) ? 'a closure in an async function' : null;
    case 'AwaitExpression': {
      const isAlone =
        above[0].type === 'VariableDeclarator' ||
        (above[0].type === 'AssignmentExpression' && above[1].type === 'ExpressionStatement');
      return isAlone ? null : 'an await within an expression';
    }
    case 'CatchClause':
      return node.param === null || node.param.type !== 'Identifier' ? 'catch without a name' : null;
    case 'Property':
      return node.shorthand || node.method || node.computed || node.kind !== 'init'
        ? 'a property that is more than name: value'
        : null;
    case 'MemberExpression':
    case 'CallExpression':
      if (node.optional) {
        return 'optional chaining';
      }
      if (node.type === 'CallExpression' && calledName(node) !== null && !METHODS.has(calledName(node))) {
        return 'the method ' + calledName(node);
      }
      return null;
    case 'AssignmentExpression':
      return ['Identifier', 'MemberExpression'].includes(node.left.type) ? null : 'destructuring';
    case 'Literal':
      return literalProblem(node);
    default:
      return null;
  }
}

function literalProblem(node) {
  if (node.bigint !== undefined || (typeof node.value === 'number' && !/^(0x[0-9a-f]+|[0-9]+)$/.test(node.raw))) {
    return 'a number other than a plain whole one';
  }
  if (!node.regex) {
    return null;
  }
  if (!/^g?$/.test(node.regex.flags)) {
    return 'a flag of a pattern';
  }
  const { pattern } = node.regex;
  // Perl's $ also matches before a closing newline; look-behind, names and properties are newer than 5.1.
  return /\$|\(\?<|\(\?!(?!\[\\s\\S\]\))|\\[pPkbBu]/.test(pattern) ? 'the pattern ' + pattern : null;
}

// The names that are used but declared nowhere.
function freeNames(tree) {
  const declared = new Set();
  const used = new Set();
  for (const [node, above] of walk(tree)) {
    if (node.type === 'VariableDeclarator' || node.type === 'FunctionDeclaration') {
      declared.add(node.id.name);
    }
    if (node.type === 'ImportDefaultSpecifier') {
      declared.add(node.local.name);
    }
    if (isFunction(node)) {
      node.params.forEach((parameter) => declared.add(parameter.name));
    }
    if (node.type === 'CatchClause' && node.param) {
      declared.add(node.param.name);
    }
    const isName =
      node.type === 'Identifier' &&
      !(above[0].type === 'MemberExpression' && above[0].property === node && !above[0].computed) &&
      !(above[0].type === 'Property' && above[0].key === node);
    if (isName) {
      used.add(node.name);
    }
  }
  return [...used].filter((name) => !declared.has(name));
}

function problems(text) {
  const tree = parse(text, { ecmaVersion: 2022, sourceType: 'module' });
  const found = [];
  for (const [node, above] of walk(tree)) {
    const wrong = problem(node, above);
    if (wrong) {
      found.push(wrong);
    }
  }
  return [
    ...found,
    ...freeNames(tree)
      .filter((name) => !GLOBALS.has(name))
      .map((name) => 'the global ' + name)
  ];
}

for (const target of TARGETS.filter(({ kind }) => kind === 'function')) {
  test(target.file + ' is within what cloudfront-js-2.0 has', () => {
    assert.deepEqual(problems(readDist(target.file)), []);
  });

  test(target.file + ' imports by the two lines that hosts replace, and exports nothing', () => {
    const text = readDist(target.file);
    const imports = text.split('\n').filter((line) => /^\s*(import|export)\b/.test(line));
    const allowed = ["import cf from 'cloudfront';", "import crypto from 'crypto';"];
    assert.deepEqual(
      imports,
      allowed.filter((line) => imports.includes(line))
    );
    assert.match(text, /^(async )?function handler\(event\) \{$/m);
  });
}

test('what is outside of it is noticed', () => {
  for (const [text, expected] of [
    ['const a = `x`;', 'TemplateLiteral'],
    ['const a = [...b];', 'SpreadElement'],
    ['const { a } = JSON;', 'destructuring'],
    ['const [a] = JSON;', 'destructuring'],
    ['const a = JSON?.b;', 'ChainExpression'],
    ['const a = JSON ?? 1;', 'operator ??'],
    ['class A {}', 'ClassDeclaration'],
    ['for (const a of Object.keys(JSON)) { a; }', 'ForOfStatement'],
    ['function a(b = 1) { return b; }', 'a generator, or a parameter that is more than a name'],
    ['function a(...b) { return b; }', 'a generator, or a parameter that is more than a name'],
    ['const a = { b() { return 1; } };', 'FunctionExpression'],
    ['try { JSON; } catch { JSON; }', 'catch without a name'],
    ['const a = async () => 1;', 'an async function that is not at the top'],
    ['async function a() { return [1].map((b) => b); }', 'a closure in an async function'],
    ['async function a() { return await JSON; }', 'an await within an expression'],
    ['const a = /x$/;', 'the pattern x$'],
    ['const a = /(?<b>x)/;', 'the pattern (?<b>x)'],
    ['const a = /(?<=b)x/;', 'the pattern (?<=b)x'],
    ['const a = /x/u;', 'a flag of a pattern'],
    ["const a = 'x'.at(0);", 'the method at'],
    ['const a = Object.fromEntries(JSON);', 'the method Object.fromEntries'],
    ['const a = Buffer;', 'the global Buffer'],
    ['const a = process;', 'the global process'],
    ['const a = 1n;', 'a number other than a plain whole one'],
    ['var a = 1;', 'var, or several in one declaration'],
    ['const a = { b };', 'a property that is more than name: value'],
    ['const a = 1, b = 2;', 'var, or several in one declaration']
  ]) {
    assert.ok(problems(text).includes(expected), text + ' gives ' + JSON.stringify(problems(text)));
  }
});

test('every built file is one module: no name is declared twice, and it parses', () => {
  for (const target of TARGETS) {
    parse(readDist(target.file), { ecmaVersion: 2022, sourceType: 'module' });
  }
});

const sources = readdirSync(SRC, { recursive: true })
  .map(String)
  .filter((file) => file.endsWith('.js'));

test('src/ keeps to what the concatenation relies on', () => {
  assert.ok(sources.length > 10);
  for (const file of sources) {
    const text = readFileSync(SRC + file, 'utf8');
    const lines = text.split('\n');
    assert.match(lines[0], /^\/\/ /, file + ' opens with what it owns');
    const comments = [];
    const tree = parse(text, { ecmaVersion: 2022, sourceType: 'module', onComment: comments, locations: true });
    for (const comment of comments) {
      const line = lines[comment.loc.start.line - 1];
      assert.ok(
        comment.type === 'Line' && line.trim().startsWith('//'),
        file + ': a comment has a line of its own: ' + line
      );
    }
    for (const [node, above] of walk(tree)) {
      assert.notEqual(node.type, 'TemplateElement', file);
      if (node.type === 'ImportDeclaration') {
        assert.equal(node.loc.start.line, node.loc.end.line, file + ': an import stands on one line');
        assert.match(lines[node.loc.start.line - 1], /^import .* from '[^']+';$/, file);
      }
      if (/^Export/.test(node.type)) {
        assert.ok(
          node.type === 'ExportNamedDeclaration' && node.declaration,
          file + ': only declarations are exported'
        );
      }
      assert.ok(
        !(node.type === 'Literal' && typeof node.value === 'string') || node.loc.start.line === node.loc.end.line,
        file
      );
      assert.ok(above.length < 1000);
    }
  }
});

test('every file of the function opens with what it owns and stays small', () => {
  const roots = ['../build.mjs', '../settings.mjs'].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  for (const path of [...sources.map((file) => SRC + file), ...roots]) {
    assert.ok(readFileSync(path, 'utf8').split('\n').length <= 400, path);
  }
});
