'use strict';

// Seven servers, each linked to a few others: updates go over several hops, many at once, and a network that falls apart
// grows together again. Run it with: node examples/complex-network.js
//
//   1 ── 2 ── 3
//   │    │    │          4 is the only way from the upper half to the lower one.
//   └─── 4 ───┘
//        │
//   5 ── 6 ── 7

const { createServer } = require('rejoin');
const { example, freePorts, until, check } = require('./stage.js');

/** Who dials whom; one direction of each link is enough. */
const DIALS = { 1: [], 2: [1], 3: [2], 4: [1, 2, 3], 5: [], 6: [4, 5], 7: [6] };
const NAMES = Object.keys(DIALS);

example(async (directory) => {
  const found = await freePorts(NAMES.length);
  const ports = Object.fromEntries(NAMES.map((name, index) => [name, found[index]]));
  const make = (name) => createServer({
    port: ports[name],
    dbPath: directory(name),
    serverID: `server ${name}`,
    peers: DIALS[name].map((peer) => `http://localhost:${ports[peer]}`),
    conflict: { pathStrategies: { counts: 'merge-fields' } },
  });
  const servers = Object.fromEntries(NAMES.map((name) => [name, make(name)]));
  const everywhere = (what, names, holds) => until(what, async () => (await Promise.all(names.map((name) => holds(servers[name])))).every(Boolean));

  await Promise.all(NAMES.map((name) => servers[name].start()));
  const links = (name) => DIALS[name].length + NAMES.filter((other) => DIALS[other].includes(Number(name))).length;
  await until('all links are up', () => NAMES.every((name) => servers[name].getConnectionStats().connected === links(name)));
  console.log('Seven servers');
  check('each is linked to some of the others', NAMES.map((name) => servers[name].getConnectionStats().connected), [2, 3, 2, 4, 1, 3, 1]);

  console.log('\nA write on server 1');
  const started = performance.now();
  await servers[1].put('news/first', { text: 'over three hops' });
  await everywhere('it is everywhere', NAMES, async (server) => (await server.get('news/first')) !== null);
  console.log(`  everywhere after ${Math.round(performance.now() - started)} ms`);
  check('server 7, three links away, has it', await servers[7].get('news/first'), { text: 'over three hops' });

  console.log('\nAll servers write at once: 50 paths each, and one field each of a shared path');
  const writes = NAMES.flatMap((name) => [
    servers[name].put('counts/all', { [`server${name}`]: 50 }),
    ...Array.from({ length: 50 }, (_, n) => servers[name].put(`parallel/${name}/${n}`, { by: name, n })),
  ]);
  await Promise.all(writes);
  await everywhere('all writes are everywhere', NAMES, async (server) =>
    (await server.scan('parallel/')).length === 350 && Object.keys(await server.get('counts/all')).length === 7);
  check('each server has all 350', (await servers[5].scan('parallel/')).length, 350);
  check('no field of the shared path was lost', Object.keys(await servers[3].get('counts/all')).length, 7);
  check('all have the same vector clock', new Set(NAMES.map((name) => JSON.stringify(servers[name].getVectorClock()))).size, 1);

  console.log('\nServer 4 goes away: two halves that do not see each other');
  await servers[4].close();
  const [upper, lower] = [['1', '2', '3'], ['5', '6', '7']];
  await servers[1].put('halves/upper', 'written above');
  await servers[7].put('halves/lower', 'written below');
  await servers[2].put('news/first', { text: 'changed above' });
  await servers[5].del('parallel/1/0');
  await everywhere('each half goes on', upper, async (server) => (await server.get('halves/upper')) !== null && (await server.get('news/first')).text === 'changed above');
  await everywhere('each half goes on', lower, async (server) => (await server.get('halves/lower')) !== null && (await server.get('parallel/1/0')) === null);
  check('the upper half knows nothing of the lower', await servers[3].get('halves/lower'), null);
  check('nor the lower of the upper', await servers[6].get('halves/upper'), null);

  console.log('\nServer 4 comes back with what it had');
  servers[4] = make('4');
  await servers[4].start();
  await everywhere('the halves have grown together', NAMES, async (server) =>
    (await server.scan('halves/')).length === 2 && (await server.get('parallel/1/0')) === null && (await server.get('news/first')).text === 'changed above');
  for (const name of NAMES) {
    const server = servers[name];
    check(`server ${name} has both halves, and what was deleted stays deleted`, [
      (await server.scan('halves/')).map(({ path }) => path),
      await server.get('parallel/1/0'),
      (await server.scan('parallel/')).length,
    ], [['halves/lower', 'halves/upper'], null, 349]);
  }
  check('all have the same vector clock again', new Set(NAMES.map((name) => JSON.stringify(servers[name].getVectorClock()))).size, 1);

  await Promise.all(NAMES.map((name) => servers[name].close()));
});
