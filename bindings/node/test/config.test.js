'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { createServer, getDefaultConfig, P2PServer, OptionError } = require('rejoin');
const { warning } = require('./support.js');

test('the defaults are a valid configuration, new each time', () => {
  const config = getDefaultConfig();
  assert.equal(config.sync.antiEntropyInterval, 60000);
  assert.equal(config.sync.maxMessageAge, 300000);
  assert.equal(config.sync.maxVersions, 10);
  assert.equal(config.conflict.defaultStrategy, 'last-write-wins');
  config.conflict.pathStrategies.users = 'merge-fields';
  assert.deepEqual(getDefaultConfig().conflict.pathStrategies, {});
  const server = createServer(getDefaultConfig());
  assert.ok(server instanceof P2PServer);
  assert.equal(server.port, 3000);
  assert.equal(server.dbPath, './db');
  assert.deepEqual(server.peers, []);
  assert.equal(server.serverID, null, 'without a name, the id is it, which is in the database');
  assert.deepEqual(config.limits, { valueBytes: 1048576, valueDepth: 64 });
  assert.doesNotThrow(() => createServer());
});

test('the options of the README are taken as they are', () => {
  const server = createServer({
    port: 3000,
    dbPath: './db',
    peers: ['http://localhost:3001', 'http://192.0.2.7:3000'],
    serverID: 'kitchen',
    sync: { antiEntropyInterval: 60000, maxMessageAge: 300000, maxVersions: 10 },
    conflict: {
      defaultStrategy: 'vector-dominance',
      pathStrategies: { users: 'merge-fields', settings: 'first-write-wins', inventory: 'custom' },
      customResolvers: { inventory: (path, local) => local },
    },
  });
  assert.deepEqual(server.peers, ['http://localhost:3001', 'http://192.0.2.7:3000']);
  assert.equal(server.serverID, 'kitchen', 'a name is known before the start');
});

test('wrong types and values throw at construction and name the option', () => {
  const wrong = {
    port: [0, 65536, 3000.5, '3000', null, NaN],
    dbPath: ['', 7, null, 'a\u0000b', 'a\ud800'],
    peers: ['http://localhost:3001', null, {}],
    'peers[0]': [['localhost:3001'], [''], [7], [null], ['ftp://localhost'], ['http://']],
    serverID: ['', 7, 'x'.repeat(65), '\udc00'],
    limits: [null, 7],
    'limits.valueBytes': [{ limits: { valueBytes: 0 } }, { limits: { valueBytes: 17 * 1024 * 1024 } }, { limits: { valueBytes: '1MiB' } }],
    'limits.valueDepth': [{ limits: { valueDepth: 0 } }, { limits: { valueDepth: 127 } }],
    'sync.antiEntropyInterval': [{ sync: { antiEntropyInterval: 999 } }, { sync: { antiEntropyInterval: '60000' } }, { sync: { antiEntropyInterval: NaN } }],
    'sync.maxMessageAge': [{ sync: { maxMessageAge: -1 } }, { sync: { maxMessageAge: '1' } }],
    'sync.maxVersions': [{ sync: { maxVersions: -1 } }, { sync: { maxVersions: 1.5 } }, { sync: { maxVersions: '10' } }],
    sync: [null, 7, []],
    conflict: [null, 'last-write-wins'],
    'conflict.defaultStrategy': [{ conflict: { defaultStrategy: 'newest' } }, { conflict: { defaultStrategy: null } }],
    'conflict.pathStrategies': [{ conflict: { pathStrategies: ['users'] } }, { conflict: { pathStrategies: null } }],
    'conflict.pathStrategies.users': [{ conflict: { pathStrategies: { users: 'merge' } } }, { conflict: { pathStrategies: { users: 7 } } }],
    ...Object.fromEntries(
      ['a//b', '/a', 'a//', '..', 'a/./b', '_x', 'status', 'scan/x', 'a\u0000', '\ud800', 'x'.repeat(513), 'x/'.repeat(65)].map((path) => [
        `conflict.pathStrategies.${path}`,
        [{ conflict: { pathStrategies: { [path]: 'merge-fields' } } }],
      ]),
    ),
    'conflict.customResolvers.inventory': [{ conflict: { customResolvers: { inventory: 'least' } } }],
    durability: ['ram', null],
    host: ['', 7],
    authToken: ['', 7],
    allowedHosts: ['localhost', null],
    options: [7, [], null].map((options) => ({ whole: options })),
  };
  for (const [option, values] of Object.entries(wrong)) {
    for (const value of values) {
      const nested = ['sync.', 'conflict.', 'limits.'].some((group) => option.startsWith(group));
      const options = option === 'options' ? value.whole : nested ? value : { [option.replace(/\[.*/, '')]: value };
      assert.throws(
        () => createServer(options),
        (error) => error instanceof OptionError && error instanceof TypeError && error.option === option && error.message.includes(option),
        `${option}: ${JSON.stringify(value)}`,
      );
    }
  }
  assert.doesNotThrow(() => createServer({ sync: { antiEntropyInterval: null } }));
  assert.doesNotThrow(() => createServer({ sync: { antiEntropyInterval: 1000 }, port: undefined }));
});

test('an option that does not exist is warned about and has no effect', async () => {
  for (const [options, name] of [[{ prot: 3000 }, 'prot'], [{ sync: { interval: 1 } }, 'sync.interval']]) {
    const warned = warning('REJOIN_OPTION');
    createServer(options);
    assert.match((await warned).message, new RegExp(`"${name}"`));
  }
});
