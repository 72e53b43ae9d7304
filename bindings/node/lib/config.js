'use strict';

// Options: defaults, and a check of everything that is given, by name.

const { OptionError, shown, warn } = require('./errors.js');

/** Names of strategies, with what each is called inside. */
const STRATEGIES = new Map([
  ['last-write-wins', 'last-write-wins'],
  ['first-write-wins', 'first-write-wins'],
  ['merge-fields', 'merge-fields'],
  ['custom', 'custom'],
  // The first server's name for it: causality decides wherever it can, in every strategy.
  ['vector-dominance', 'last-write-wins'],
]);

const DURABILITIES = ['disk', 'os', 'memory'];
const ANTI_ENTROPY_INTERVAL_MIN_MS = 1000;
const SERVER_NAME_BYTES_MAX = 64;
const VERSIONS_MAX = 2 ** 32 - 1;
// What a message between nodes may carry: see crates/replica/src/config.rs.
const VALUE_BYTES_PROTOCOL_MAX = 16 * 1024 * 1024;
const VALUE_DEPTH_PROTOCOL_MAX = 126;

/** The options that a server has when none is given. */
function getDefaultConfig() {
  return {
    port: 3000,
    host: '127.0.0.1',
    dbPath: './db',
    peers: [],
    serverID: null,
    sync: {
      antiEntropyInterval: 60000,
      maxMessageAge: 300000,
      maxVersions: 10,
    },
    conflict: {
      defaultStrategy: 'last-write-wins',
      pathStrategies: {},
      customResolvers: {},
    },
    durability: 'disk',
    authToken: null,
    clusterSecret: null,
    allowedHosts: [],
    allowedOrigins: [],
    limits: {
      valueBytes: 1048576,
      valueDepth: 64,
    },
  };
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

function check(holds, option, problem, value) {
  if (!holds) throw new OptionError(option, `${problem}, not ${shown(value)}`);
}

function integer(value, option, min, max) {
  check(Number.isInteger(value) && value >= min && value <= max, option, `must be a whole number from ${min} to ${max}`, value);
  return value;
}

function text(value, option) {
  check(typeof value === 'string' && value !== '', option, 'must be a text that is not empty', value);
  check(!/\p{Surrogate}|\u0000/u.test(value), option, 'must be a text of whole characters, without NUL', value);
  return value;
}

const optionalText = (value, option) => (value === null ? null : text(value, option));

function texts(value, option) {
  check(Array.isArray(value), option, 'must be an array of texts', value);
  return value.map((item, index) => text(item, `${option}[${index}]`));
}

/** The URL of a peer. */
function checkPeer(value, option) {
  let url;
  try {
    url = typeof value === 'string' ? new URL(value) : undefined;
  } catch {
    url = undefined;
  }
  check(url?.protocol === 'http:' || url?.protocol === 'ws:', option, 'must be the URL of a peer such as "http://localhost:3001"', value);
  return value;
}

/** A strategy by its name inside. */
function checkStrategy(value, option) {
  const names = [...STRATEGIES.keys()].map((name) => `"${name}"`).join(', ');
  check(STRATEGIES.has(value), option, `must be one of ${names}`, value);
  return STRATEGIES.get(value);
}

function checkResolver(value, option) {
  check(typeof value === 'function', option, 'must be a function (path, localData, remoteData) => data', value);
  return value;
}

/** Whether the engine takes a text as a path: see crates/replica/src/path.rs. */
function isPath(text) {
  const segments = text.split('/');
  return (
    Buffer.byteLength(text) <= 2048 &&
    segments.length <= 64 &&
    !/^(?:scan|history|status|_.*)$/.test(segments[0]) &&
    segments.every((segment) => !['', '.', '..'].includes(segment) && Buffer.byteLength(segment) <= 512) &&
    !/[\u0000-\u001f\u007f-\u009f]|\p{Surrogate}/u.test(text)
  );
}

/** A path that rules itself and what is below it; the empty one rules everything that has no other. */
function checkPath(value, option) {
  check(typeof value === 'string', option, 'must be a path such as "users"', value);
  const path = value.endsWith('/') ? value.slice(0, -1) : value;
  check(path === '' || isPath(path), option, 'must be a path such as "users" or "users/admins"', value);
  return path;
}

/** The members of an object by path. */
function byPath(value, option, checkMember) {
  check(isObject(value), option, 'must be an object by path', value);
  const members = new Map();
  for (const [path, member] of Object.entries(value)) {
    const name = `${option}.${path}`;
    members.set(checkPath(path, name), checkMember(member, name));
  }
  return members;
}

/** Every option, checked; those that are not given, or `undefined`, have their defaults. */
function checkConfig(options = {}) {
  check(isObject(options), 'options', 'must be an object', options);
  const defaults = getDefaultConfig();
  const merged = {};
  for (const [name, value] of Object.entries(defaults)) {
    const given = options[name];
    if (isObject(value)) {
      check(given === undefined || isObject(given), name, 'must be an object', given);
      merged[name] = { ...value };
      for (const member of Object.keys(given ?? {})) {
        if (!(member in value)) unknown(`${name}.${member}`);
        else if (given[member] !== undefined) merged[name][member] = given[member];
      }
    } else {
      merged[name] = given === undefined ? value : given;
    }
  }
  for (const name of Object.keys(options)) if (!(name in defaults)) unknown(name);

  const { sync, conflict, limits } = merged;
  const interval = sync.antiEntropyInterval;
  check(
    interval === null || (Number.isFinite(interval) && interval >= ANTI_ENTROPY_INTERVAL_MIN_MS),
    'sync.antiEntropyInterval',
    `must be null or at least ${ANTI_ENTROPY_INTERVAL_MIN_MS} milliseconds`,
    interval,
  );
  check(
    Number.isFinite(sync.maxMessageAge) && sync.maxMessageAge >= 0,
    'sync.maxMessageAge',
    'must be a number of milliseconds (it has no effect: exact causality takes the place of a message cache)',
    sync.maxMessageAge,
  );
  check(Array.isArray(merged.peers), 'peers', 'must be an array of URLs', merged.peers);
  check(
    merged.serverID === null ||
      (typeof merged.serverID === 'string' && merged.serverID !== '' && Buffer.byteLength(merged.serverID) <= SERVER_NAME_BYTES_MAX),
    'serverID',
    `must be a text of 1 to ${SERVER_NAME_BYTES_MAX} bytes`,
    merged.serverID,
  );
  optionalText(merged.serverID, 'serverID');
  check(DURABILITIES.includes(merged.durability), 'durability', `must be one of ${DURABILITIES.join(', ')}`, merged.durability);
  return {
    port: integer(merged.port, 'port', 1, 65535),
    host: text(merged.host, 'host'),
    dbPath: text(merged.dbPath, 'dbPath'),
    peers: merged.peers.map((peer, index) => checkPeer(peer, `peers[${index}]`)),
    serverID: merged.serverID,
    antiEntropyInterval: interval === null ? null : Math.round(interval),
    maxVersions: integer(sync.maxVersions, 'sync.maxVersions', 0, VERSIONS_MAX),
    defaultStrategy: checkStrategy(conflict.defaultStrategy, 'conflict.defaultStrategy'),
    pathStrategies: byPath(conflict.pathStrategies, 'conflict.pathStrategies', checkStrategy),
    customResolvers: byPath(conflict.customResolvers, 'conflict.customResolvers', checkResolver),
    durability: merged.durability,
    authToken: optionalText(merged.authToken, 'authToken'),
    clusterSecret: optionalText(merged.clusterSecret, 'clusterSecret'),
    allowedHosts: texts(merged.allowedHosts, 'allowedHosts'),
    allowedOrigins: texts(merged.allowedOrigins, 'allowedOrigins'),
    valueBytesMax: integer(limits.valueBytes, 'limits.valueBytes', 1, VALUE_BYTES_PROTOCOL_MAX),
    valueDepthMax: integer(limits.valueDepth, 'limits.valueDepth', 1, VALUE_DEPTH_PROTOCOL_MAX),
  };
}

// A misspelt option should be seen; one of an older or newer version should not stop a program.
function unknown(name) {
  warn('REJOIN_OPTION', `option "${name}" is not one of createServer's; it has no effect`);
}

module.exports = { getDefaultConfig, checkConfig, checkPeer, checkStrategy, checkResolver, checkPath };
