'use strict';

// Two servers write the same paths without knowing of each other; then they meet. What comes of it depends on the strategy
// of the path, and is the same on both. Run it with: node examples/conflict-example.js

const { createServer } = require('rejoin');
const { example, freePorts, until, check } = require('./stage.js');

const conflict = {
  defaultStrategy: 'last-write-wins',
  pathStrategies: { users: 'merge-fields', settings: 'first-write-wins', inventory: 'custom' },
};

/** Of two stock levels the lower one is the safe one. The same on every server, and nothing but its arguments counts. */
function lowerStock(path, localData, remoteData) {
  const minStock = Math.min(localData.value.stock, remoteData.value.stock);
  const result = localData.timestamp >= remoteData.timestamp ? { ...localData } : { ...remoteData };
  result.value = { ...result.value, stock: minStock };
  return result;
}

example(async (directory) => {
  const [port1, port2] = await freePorts(2);
  const server1 = createServer({ port: port1, dbPath: directory('server1'), conflict });
  let server2 = createServer({ port: port2, dbPath: directory('server2'), conflict });
  for (const server of [server1, server2]) {
    server.registerConflictResolver('inventory', lowerStock);
    await server.start();
  }

  console.log('Both servers write, first server 1, then server 2. They do not know of each other.\n');
  const writes = {
    'notes/today': ['written first', 'written last'],
    'settings/theme': ['dark', 'light'],
    'users/alice': [{ name: 'Alice', age: 30 }, { age: 31, mail: 'alice@example.com' }],
    'inventory/apples': [{ stock: 3, place: 'cellar' }, { stock: 7, place: 'kitchen' }],
  };
  let timestamp = 0;
  for (const [path, [value]] of Object.entries(writes)) ({ timestamp } = await server1.put(path, value));
  await until('the clock has moved on', () => Date.now() > timestamp);
  for (const [path, [, value]] of Object.entries(writes)) await server2.put(path, value);

  console.log('They meet: server 2 starts again, with server 1 as its peer.');
  await server2.close();
  server2 = createServer({ port: port2, dbPath: directory('server2'), conflict, peers: [`http://localhost:${port1}`] });
  server2.registerConflictResolver('inventory', lowerStock);
  await server2.start();
  const clocks = () => [server1, server2].map((server) => Object.keys(server.getVectorClock()).length);
  await until('both have the writes of both', () => clocks().every((nodes) => nodes === 2));

  for (const [name, server] of [['server 1', server1], ['server 2', server2]]) {
    console.log(`\nOn ${name}:`);
    check('last-write-wins shows the newer note', await server.get('notes/today'), 'written last');
    check('first-write-wins keeps the older setting', await server.get('settings/theme'), 'dark');
    check('merge-fields has the fields of both, and of age the newer', await server.get('users/alice'), { age: 31, mail: 'alice@example.com', name: 'Alice' });
    check('the custom resolver took the lower stock', await server.get('inventory/apples'), { stock: 3, place: 'kitchen' });
  }

  console.log('\nWhat lost is not gone:');
  await server1.put('notes/today', 'both notes were read');
  const lost = server1.getVersionHistory('notes/today').find(({ outcome }) => outcome === 'lost');
  check('the older note is in the history', lost.value, 'written first');

  await server1.close();
  await server2.close();
});
