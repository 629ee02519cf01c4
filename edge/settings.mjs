// The settings of a configured copy: the flags of `build.mjs --out`, read and checked.
//
// The same limits as the service's own, so that what it writes is what the edge reads. Every problem is named
// at once, each with what to do. A setting goes into a function's CONFIG line, and nowhere else.

export const HELP = `node build.mjs                 write dist/
node build.mjs --check         exit 1 unless dist/ is what src/ gives
node build.mjs --out DIR …     write configured copies to DIR:

  --key KEY                the pointer's key in the KeyValueStore: writes the CloudFront Functions
  --parameter NAME         the pointer's SSM parameter: writes the Lambda@Edge functions
  --regions A,B            with --parameter: where that parameter is kept; the first is the one that edges in
                           other regions read
  --edge-ttl-seconds N     with --parameter: how long an edge keeps the pointer, 1 to 3600 (default 5);
                           no more than the component's own edge_ttl_seconds
  --prefix P               what the S3 prefix has before {release}/ (default releases/)
  --fallback F             spa, index or none: the component's edge.fallback (default spa)`;

const FLAGS = ['out', 'prefix', 'fallback', 'key', 'parameter', 'regions', 'edge-ttl-seconds'];

function isWhole(pattern, text) {
  return pattern.test(text) && !text.includes('\n');
}

function prefixProblem(prefix) {
  if (prefix.includes('{')) {
    return 'is only what comes before {release}/, such as releases/';
  }
  if (prefix === '') {
    return null;
  }
  if (prefix.startsWith('/') || !prefix.endsWith('/')) {
    return 'is empty, or ends in / and does not begin with it, such as releases/';
  }
  const segments = prefix.slice(0, -1).split('/');
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    return 'has an empty segment, . or ..';
  }
  if (prefix.length > 512 || !isWhole(/^[A-Za-z0-9!_.*'()@=+,:~ /-]+$/, prefix)) {
    return "has at most 512 of: letters, digits, space and !_.*'()@=+,:~-/";
  }
  return null;
}

function keyProblem(key) {
  if (!isWhole(/^[A-Za-z0-9_.:/-]{1,500}$/, key)) {
    return 'is a key such as storefront/production: 1 to 500 letters, digits and _.:/-';
  }
  return /\.(last-good|preview-key)$/.test(key) ? 'ends in the suffix of what stands beside a pointer' : null;
}

function parameterProblem(name) {
  const bare = name.replace(/^\/+/, '').toLowerCase();
  if (!isWhole(/^[A-Za-z0-9_.\/-]+$/, name) || bare === '' || name.endsWith('/') || name.includes('//')) {
    return 'is a parameter such as /storefront/production/release: letters, digits and _.-/';
  }
  if (name.length > 999 || name.split('/').length > 16) {
    return 'has at most 999 characters and 15 levels';
  }
  if (name.includes('/') && !name.startsWith('/')) {
    return 'has a path, so it begins with /';
  }
  if (bare.startsWith('aws') || bare.startsWith('ssm')) {
    return 'begins with aws or ssm, which AWS keeps for itself';
  }
  return bare.endsWith('.preview-key') ? 'ends in .preview-key, which is for a pointer\'s preview secret' : null;
}

function regionsProblem(text) {
  const regions = text.split(',');
  if (!regions.every((region) => isWhole(/^[a-z]+(-[a-z]+)+-[0-9]{1,2}$/, region))) {
    return 'is a list such as us-east-1,eu-west-1, without spaces';
  }
  return new Set(regions).size < regions.length ? 'names a region twice' : null;
}

function ttlProblem(text) {
  const good = isWhole(/^[0-9]{1,4}$/, text) && Number(text) >= 1 && Number(text) <= 3600;
  return good ? null : 'is a whole number, 1 to 3600 (an edge never asks SSM once a request)';
}

function fallbackProblem(text) {
  return ['spa', 'index', 'none'].includes(text) ? null : 'is spa, index or none';
}

const CHECKS = {
  prefix: prefixProblem,
  fallback: fallbackProblem,
  key: keyProblem,
  parameter: parameterProblem,
  regions: regionsProblem,
  'edge-ttl-seconds': ttlProblem
};

// The flags as given, by name, and what is wrong with how they are given.
function readFlags(args) {
  const flags = {};
  const problems = [];
  for (let i = 0; i < args.length; i += 1) {
    const [, name, , inline] = /^--([^=]*)(=(.*))?$/s.exec(args[i]) || [];
    if (name === undefined || !FLAGS.includes(name)) {
      problems.push('there is no ' + args[i] + (name === 'check' ? ' together with other flags' : ''));
      continue;
    }
    if (name in flags) {
      problems.push('--' + name + ' is given twice');
    }
    if (inline === undefined && (i + 1 >= args.length || args[i + 1].startsWith('--'))) {
      problems.push('--' + name + ' needs a value');
      continue;
    }
    if (inline === undefined) {
      i += 1;
    }
    flags[name] = inline === undefined ? args[i] : inline;
  }
  return { flags, problems };
}

function together(flags) {
  const problems = [];
  if (!flags.out) {
    problems.push('--out DIR is needed: where to write');
  }
  if (flags.key === undefined && flags.parameter === undefined) {
    problems.push('--key is needed for CloudFront Functions, --parameter for Lambda@Edge (or both)');
  }
  if (flags.parameter !== undefined && flags.regions === undefined) {
    problems.push('--parameter needs --regions: where it is kept');
  }
  for (const name of ['regions', 'edge-ttl-seconds']) {
    if (flags[name] !== undefined && flags.parameter === undefined) {
      problems.push('--' + name + ' goes with --parameter');
    }
  }
  return problems;
}

// {out, configs: {function?, lambda?}, problems}. Use nothing of it while there are problems.
export function readSettings(args) {
  const { flags, problems } = readFlags(args);
  for (const name of Object.keys(CHECKS)) {
    const problem = flags[name] === undefined ? null : CHECKS[name](flags[name]);
    if (problem) {
      problems.push('--' + name + ' ' + problem);
    }
  }
  problems.push(...together(flags));

  const { prefix = 'releases/', fallback = 'spa', key, parameter } = flags;
  const configs = {};
  if (key !== undefined) {
    configs.function = { prefix, fallback, key };
  }
  if (parameter !== undefined) {
    const regions = (flags.regions || '').split(',');
    configs.lambda = { prefix, fallback, parameter, regions, edge_ttl_seconds: Number(flags['edge-ttl-seconds'] || 5) };
  }
  return { out: flags.out, configs, problems };
}
