'use strict';

// Several servers: what one knows, all come to know, and all come to the same.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { stage, url, eventually, linked, warning, freePort } = require('./support.js');

/** Two servers that work alone, and a third that links them once `write` is done. */
async function apart(t, options, write) {
  const here = stage(t);
  const a = await here.started('a', options);
  const b = await here.started('b', options);
  await write(a, b);
  const bridge = await here.started('bridge', { ...options, peers: [url(a), url(b)] });
  const all = [a, b, bridge];
  const settled = async (path, conflicts = 2) => {
    await eventually('all have both writes', async () => {
      const clocks = await Promise.all(all.map(async (server) => (await server.scan(path))[0]?.vectorClock ?? {}));
      return clocks.every((clock) => Object.keys(clock).length >= conflicts);
    });
    return Promise.all(all.map((server) => server.get(path)));
  };
  return { a, b, bridge, all, settled };
}

/** Writes on both, the second later by the clocks on the wall too. */
async function inTurn(path, [a, first], [b, second]) {
  const { timestamp } = await a.put(path, first);
  await eventually('the clock has moved on', () => Date.now() > timestamp);
  await b.put(path, second);
}

test('a write on one server is read on the other, and told to its subscribers', async (t) => {
  const here = stage(t);
  const a = await here.started('a');
  const b = await here.started('b', { peers: [url(a)] });
  const heard = [];
  await b.subscribe('test', (value, path) => heard.push([path, value]));
  const written = await a.put('test/key', { message: 'Hello P2P World!' });
  await eventually('it is read', async () => (await b.get('test/key'))?.message === 'Hello P2P World!');
  const [entry] = await b.scan('test/');
  assert.equal(entry.origin, a.serverID);
  assert.deepEqual(entry.vectorClock, written.vectorClock);
  assert.equal(entry.timestamp, written.timestamp);
  await eventually('it is told', () => heard.length === 1);
  await b.del('test/key');
  await eventually('the delete arrives', async () => (await a.get('test/key')) === null);
  await eventually('the delete is told', () => heard.length === 2);
  assert.deepEqual(heard, [['test/key', { message: 'Hello P2P World!' }], ['test/key', null]]);
  assert.deepEqual(await a.scan('test/'), []);
});

test('updates reach servers that are linked only by others, and late ones get everything', async (t) => {
  const here = stage(t);
  const line = [await here.started('0')];
  for (const name of ['1', '2', '3']) line.push(await here.started(name, { peers: [url(line.at(-1))] }));
  await line[0].put('from/first', 1);
  await line[3].put('from/last', 2);
  for (const server of line) {
    await eventually('both are there', async () => (await server.get('from/first')) === 1 && (await server.get('from/last')) === 2);
  }
  const late = await here.started('late', { peers: [url(line[2])] });
  await eventually('the late one has all', async () => (await late.scan('from/')).length === 2);
  assert.deepEqual(late.getVectorClock(), line[0].getVectorClock());
});

test('statistics tell who is linked, and who is not', async (t) => {
  const here = stage(t);
  const nobody = `http://localhost:${await freePort()}`;
  const a = await here.started('a', { serverID: 'kitchen' });
  const b = await here.started('b', { peers: [url(a), nobody] });
  await linked(b);
  await linked(a);
  const { connected, inbound, outbound, peers } = b.getConnectionStats();
  assert.deepEqual({ connected, inbound, outbound }, { connected: 1, inbound: 0, outbound: 1 });
  const kitchen = peers.find(({ state }) => state === 'connected');
  assert.equal(kitchen.id, a.nodeID);
  assert.equal(kitchen.name, 'kitchen');
  assert.equal(a.getConnectionStats().inbound, 1);
  await eventually('the other one is being tried', () => {
    const other = b.getConnectionStats().peers.find(({ state }) => state !== 'connected');
    return other?.state === 'backoff' && other.lastError !== null;
  });
});

test('an anti-entropy round is done when it resolves', async (t) => {
  const here = stage(t);
  const a = await here.started('a', { sync: { antiEntropyInterval: null } });
  const b = await here.started('b', { peers: [url(a)], sync: { antiEntropyInterval: null } });
  await a.put('a', 1);
  await linked(b);
  await eventually('it is there', async () => (await b.get('a')) === 1);
  const report = await b.runAntiEntropy('');
  assert.equal(report.peers, 1);
  assert.equal(report.equal, 1);
  assert.equal((await a.runAntiEntropy()).peers, 1);
});

test('servers compare what they have from time to time, by themselves', async (t) => {
  const here = stage(t);
  const a = await here.started('a');
  const b = await here.started('b', { peers: [url(a)], sync: { antiEntropyInterval: 1000 } });
  await linked(b);
  const rounds = async () => (await (await fetch(`${url(b)}/api/status`)).json()).convergence.lastRoundAt;
  const first = await eventually('there was a round', rounds);
  await eventually('there was another', async () => (await rounds()) !== first);
});

test('last-write-wins: concurrent writes come to the newest everywhere', async (t) => {
  const { settled } = await apart(t, {}, (a, b) => inTurn('x', [a, 'first'], [b, 'second']));
  assert.deepEqual(await settled('x'), ['second', 'second', 'second']);
});

test('first-write-wins: concurrent writes come to the oldest everywhere', async (t) => {
  const options = { conflict: { pathStrategies: { settings: 'first-write-wins' } } };
  const { settled } = await apart(t, options, (a, b) => inTurn('settings/x', [a, 'first'], [b, 'second']));
  assert.deepEqual(await settled('settings/x'), ['first', 'first', 'first']);
});

test('merge-fields: concurrent writes of different fields are all kept', async (t) => {
  const options = { conflict: { pathStrategies: { users: 'merge-fields' } } };
  const { settled } = await apart(t, options, (a, b) =>
    inTurn('users/x', [a, { name: 'Ann', age: 30 }], [b, { age: 31, mail: 'ann@example.com' }]));
  for (const value of await settled('users/x')) assert.deepEqual(value, { name: 'Ann', age: 31, mail: 'ann@example.com' });
});

test('a write that saw another replaces it, whatever the clocks say', async (t) => {
  const here = stage(t);
  const a = await here.started('a');
  const b = await here.started('b', { peers: [url(a)] });
  await a.put('x', 'first');
  await eventually('b has it', async () => (await b.get('x')) === 'first');
  await b.put('x', 'second');
  await eventually('a has it', async () => (await a.get('x')) === 'second');
  assert.deepEqual(a.getVersionHistory('x').map(({ value, outcome }) => [value, outcome]), [['first', 'replaced']]);
});

/** The resolver of the README. */
const least = (path, localData, remoteData) => {
  const minStock = Math.min(localData.value.stock, remoteData.value.stock);
  const result = localData.timestamp >= remoteData.timestamp ? { ...localData } : { ...remoteData };
  result.value = { ...result.value, stock: minStock };
  return result;
};

test('custom: the function of the README decides on every server, also when it is registered late', async (t) => {
  const options = { conflict: { pathStrategies: { inventory: 'custom' } } };
  const { all, settled } = await apart(t, options, async (a, b) => {
    a.registerConflictResolver('inventory', least);
    await inTurn('inventory/apples', [a, { stock: 3 }], [b, { stock: 7 }]);
  });
  for (const server of all) server.registerConflictResolver('inventory', least);
  for (const value of await settled('inventory/apples')) assert.deepEqual(value, { stock: 3 });
  await eventually('links are made anew with the same strategies', () =>
    all.every((server) => server.getConnectionStats().peers.some(({ state, policyDiffers }) => state === 'connected' && !policyDiffers)));
});

test('custom: what the function gets, and only for versions that did not see each other', async (t) => {
  const calls = [];
  const resolver = (path, local, remote) => {
    calls.push({ path, local, remote });
    return { ...remote, value: 'resolved' };
  };
  const options = { conflict: { customResolvers: { x: resolver } } };
  const { a, b, settled } = await apart(t, options, async (a, b) => {
    await a.put('x/y', 0);
    await inTurn('x/y', [a, 'first'], [b, 'second']);
    assert.equal(calls.length, 0, 'nothing was concurrent yet');
  });
  assert.deepEqual(await settled('x/y'), ['resolved', 'resolved', 'resolved']);
  for (const { path, local, remote } of calls) {
    assert.equal(path, 'x/y');
    assert.deepEqual([local.value, remote.value], ['first', 'second']);
    assert.deepEqual([local.origin, remote.origin], [a.serverID, b.serverID]);
    assert.ok(local.timestamp < remote.timestamp);
    assert.ok(local.vectorClock[a.serverID] > 0 && local.vectorClock[b.serverID] > 0);
  }
  const count = calls.length;
  for (let n = 0; n < 100; n++) await a.get('x/y');
  assert.equal(calls.length, count, 'a result is remembered');
  const settledBy = await a.put('x/y', 'settled');
  assert.equal(settledBy.value, 'settled');
});

test('custom: a function that throws shows the newest version, with a warning', async (t) => {
  const options = { conflict: { customResolvers: { x: () => { throw new Error('out of order'); } } } };
  const warned = warning('REJOIN_RESOLVER');
  const { settled } = await apart(t, options, (a, b) => inTurn('x', [a, 'first'], [b, 'second']));
  assert.deepEqual(await settled('x'), ['second', 'second', 'second']);
  assert.match((await warned).message, /out of order/);
});

test('custom: a delete is null to the function, and null from it deletes', async (t) => {
  const seen = [];
  const resolver = (path, local, remote) => {
    seen.push([local.value, remote.value]);
    return { ...remote, value: null };
  };
  const options = { conflict: { customResolvers: { x: resolver } } };
  const { all, settled } = await apart(t, options, async (a, b) => {
    await a.put('x', 'first');
    await a.del('x');
    await b.put('x', 'second');
  });
  await eventually('the conflict is resolved everywhere', async () => {
    await settled('x', 0);
    return all.every((server) => Object.keys(server.getVectorClock()).length === 2);
  });
  assert.deepEqual(await Promise.all(all.map((server) => server.get('x'))), [null, null, null]);
  assert.ok(seen.every((values) => values.includes(null) && values.includes('second')), JSON.stringify(seen));
});

test('custom: an event loop that is busy holds nothing up for ever', async (t) => {
  const options = { conflict: { customResolvers: { x: least } } };
  const warned = warning('REJOIN_RESOLVER');
  const { all, settled } = await apart(t, options, async (a, b) => {
    await inTurn('x/1', [a, { stock: 1 }], [b, { stock: 2 }]);
    await inTurn('y', [a, 1], [b, 2]);
  });
  await eventually('all have both writes', () => all.every((server) => Object.keys(server.getVectorClock()).length === 2));
  const reads = all.map((server) => server.get('x/1'));
  // They are handed over now; from here on the event loop is busy for longer than a resolver is waited for.
  await null;
  const until = Date.now() + 2500;
  while (Date.now() < until);
  for (const { stock } of await Promise.all(reads)) assert.equal(stock, 2, 'the newest is shown meanwhile');
  assert.match((await warned).message, /event loop was busy/);
  assert.deepEqual(await settled('y'), [2, 2, 2], 'other paths are as quick as ever');
  // A function that was late is asked again after ten seconds.
  await eventually('it is resolved in the end', async () => (await Promise.all(all.map((server) => server.get('x/1')))).every(({ stock }) => stock === 1));
});

test('custom: a function may ask the server what is at hand', async (t) => {
  let asked;
  const options = { conflict: { customResolvers: { x: (path, local, remote) => asked(path, local, remote) } } };
  const answers = [];
  asked = (path, local, remote) => {
    answers.push([first.getVersionHistory(path).length, Object.keys(first.getVectorClock()).length > 0, first.getConnectionStats().connected >= 0]);
    return remote;
  };
  let first;
  const { settled } = await apart(t, options, async (a, b) => {
    first = a;
    await inTurn('x', [a, 'first'], [b, 'second']);
  });
  assert.deepEqual(await settled('x'), ['second', 'second', 'second']);
  assert.ok(answers.length > 0 && answers.every(([, clock, stats]) => clock && stats));
});

test('what was written during a partition is merged when it heals; deletes stay deletes', async (t) => {
  const here = stage(t);
  const disk = { durability: 'os' };
  const a = await here.started('a', disk);
  const bridge = await here.started('bridge', { ...disk, peers: [url(a)] });
  const b = await here.started('b', { ...disk, peers: [url(bridge)] });
  for (const path of ['kept', 'deleted']) await a.put(path, 'before');
  await eventually('all is everywhere', async () => (await b.scan('')).length === 2);
  await bridge.close();
  await a.put('from/a', 1);
  await a.del('deleted');
  await b.put('from/b', 2);
  assert.equal(await b.get('from/a'), null);

  const healed = await here.made('bridge', { ...disk, port: bridge.port, peers: [url(a)] });
  await healed.start();
  const expected = ['from/a', 'from/b', 'kept'];
  for (const server of [a, healed, b]) {
    await eventually('both sides have all', async () => (await server.scan('')).length === 3 && (await server.get('from/a')) && (await server.get('from/b')));
    assert.deepEqual((await server.scan('')).map(({ path }) => path), expected);
  }
});

test('servers with different secrets do not talk; a token is shown to peers and wanted from clients', async (t) => {
  const here = stage(t);
  const a = await here.started('a', { clusterSecret: 'a secret that is long enough', authToken: 'token' });
  const b = await here.started('b', { clusterSecret: 'a secret that is long enough', authToken: 'token', peers: [url(a)] });
  const stranger = await here.started('stranger', { clusterSecret: 'quite another secret', authToken: 'token', peers: [url(a)] });
  await a.put('x', 1);
  await eventually('the friend has it', async () => (await b.get('x')) === 1);
  await eventually('the stranger is refused', () => stranger.getConnectionStats().peers[0].state === 'rejected');
  assert.equal(await stranger.get('x'), null);
  assert.equal((await fetch(`${url(a)}/api/x`)).status, 401);
  assert.equal((await fetch(`${url(a)}/api/x`, { headers: { authorization: 'Bearer token' } })).status, 200);
});

test('fourteen servers in one process', async (t) => {
  const here = stage(t);
  const servers = [];
  const timed = async (work) => {
    const started = performance.now();
    await work();
    return Math.round(performance.now() - started);
  };
  for (let n = 0; n < 14; n++) {
    // A tree with a few cross links, on disk.
    const peers = n === 0 ? [] : [servers[(n - 1) >> 1], ...(n > 6 ? [servers[n - 4]] : [])].map(url);
    servers.push(await here.made(String(n), { peers }));
  }
  const start = await timed(() => Promise.all(servers.map((server) => server.start())));
  await Promise.all(servers.map((server) => linked(server)));
  const visible = [];
  for (const writer of [0, 7, 13]) {
    visible.push(await timed(async () => {
      await servers[writer].put(`from/${writer}`, writer);
      await Promise.all(servers.map((server) => eventually('it is everywhere', async () => (await server.get(`from/${writer}`)) === writer)));
    }));
  }
  const close = await timed(() => Promise.all(servers.map((server) => server.close())));
  t.diagnostic(`14 servers: started in ${start} ms, a write everywhere in ${visible.join(', ')} ms, closed in ${close} ms`);
  // The figures are for a quiet machine; these bounds only tell a hang from a slow machine.
  assert.ok(start < 60_000 && close < 30_000 && visible.every((ms) => ms < 20_000));
});
