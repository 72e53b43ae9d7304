'use strict';

// Programs that were written for the server that this package continues: what they do goes on to mean what it meant.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { ConflictResolver, VectorClock } = require('rejoin');
const { stage, url, eventually, linked } = require('./support.js');

test('the name that a server was given is its serverID, before the start and after it', async (t) => {
  const here = stage(t);
  const server = await here.made('a', { serverID: 'kitchen', durability: 'memory' });
  assert.deepEqual([server.serverID, server.nodeID], ['kitchen', null]);
  await server.start();
  assert.equal(server.serverID, 'kitchen');
  assert.match(server.nodeID, /^[0-9a-f]{32}$/);
  const { vectorClock } = await server.put('a', 1);
  assert.deepEqual(Object.keys(vectorClock), [server.nodeID]);
  const other = await here.started('b', { peers: [url(server)] });
  await linked(other);
  const [peer] = other.getConnectionStats().peers;
  assert.deepEqual([peer.name, peer.id], ['kitchen', server.nodeID], 'peers know it by both');
  const unnamed = await here.started('c');
  assert.equal(unnamed.serverID, unnamed.nodeID);
});

test('peers cannot be changed behind the back of a server: addPeer and removePeer do, at any time', async (t) => {
  const here = stage(t);
  const [a, b, c] = [await here.started('a'), await here.started('b'), await here.made('c', { durability: 'memory' })];
  assert.throws(() => c.peers.push(url(a)), TypeError);
  assert.equal(c.addPeer(url(a)), true);
  await c.start();
  await linked(c);
  assert.throws(() => c.peers.push(url(b)), TypeError);
  assert.equal(c.addPeer(url(b)), true);
  assert.equal(c.addPeer(`${url(b)}/`), false, 'it is the same');
  await linked(c, 2);
  assert.deepEqual(c.peers, [url(a), url(b)]);
  await b.put('x', 1);
  await eventually('what the new peer has arrives', async () => (await c.get('x')) === 1);
  assert.equal(c.removePeer(url(b)), true);
  assert.equal(c.removePeer(url(b)), false);
  await eventually('the link ends', () => c.getConnectionStats().connected === 1);
  assert.deepEqual(c.peers, [url(a)]);
  assert.throws(() => c.addPeer('localhost:3001'), { name: 'OptionError', option: 'url' });

  const early = await here.made('d', { durability: 'memory' });
  const starting = early.start();
  assert.equal(early.addPeer(url(a)), true, 'also while it starts');
  await starting;
  await linked(early);
});

test('the option limits sets how large values may be', async (t) => {
  const here = stage(t);
  const server = await here.started('a', { limits: { valueBytes: 2_000_000, valueDepth: 3 } });
  const large = 'x'.repeat(1_900_000);
  await server.put('large', large);
  assert.equal((await server.get('large')).length, large.length);
  const headers = { 'content-type': 'application/json' };
  const put = await fetch(`${url(server)}/api/large`, { method: 'PUT', headers, body: JSON.stringify(`${large}!`) });
  assert.equal(put.status, 200, 'over HTTP as well');
  await assert.rejects(server.put('large', 'x'.repeat(2_000_000)), { code: 'too_large', hint: /limits\.valueBytes/ });
  await server.put('deep', [[[1]]]);
  await assert.rejects(server.put('deep', [[[[1]]]]), { code: 'too_deep', hint: /limits\.valueDepth/ });
});

test('runAntiEntropy compares the paths that begin with a prefix', async (t) => {
  const here = stage(t);
  const a = await here.started('a');
  const b = await here.started('b', { peers: [url(a)] });
  await linked(b);
  const part = await b.runAntiEntropy('users/');
  assert.deepEqual([part.prefix, part.peers, part.equal], ['users/', 1, 1]);
  const all = await b.runAntiEntropy();
  assert.deepEqual([all.prefix, all.peers, all.equal], ['', 1, 1]);
  await assert.rejects(b.runAntiEntropy('users//'), { code: 'invalid_path' });
});

/** What a server makes of one version written over another. */
async function written(server, path, first, later) {
  await server.put(path, first);
  return (await server.put(path, later)).value;
}

test('a version that saw the other comes to what a server makes of that write, in whatever order they are given', async (t) => {
  const strategies = ['last-write-wins', 'first-write-wins', 'merge-fields', 'vector-dominance', 'custom'];
  const conflict = {
    pathStrategies: Object.fromEntries(strategies.map((strategy) => [strategy, strategy])),
    customResolvers: { custom: () => assert.fail('there is nothing to resolve') },
  };
  const server = await stage(t).started('a', { conflict });
  const resolver = new ConflictResolver(conflict);
  const pairs = [
    [{ name: 'Alice', age: 30 }, { age: 31 }],
    [{ a: 1 }, { a: 2, b: 1 }],
    [{ a: 1 }, 'text'],
    ['text', { a: 1 }],
    [[1], [2]],
    [{ a: { b: 1 } }, { a: { c: 1 } }],
    [{ a: 1 }, null],
    [null, { a: 1 }],
    [1, 2],
  ];
  for (const strategy of strategies) {
    for (const [index, [first, later]] of pairs.entries()) {
      const path = `${strategy}/${index}`;
      const shown = await written(server, path, first, later);
      const versions = [
        // By its clock the older one is newer: causality counts.
        { value: first, timestamp: 2000, origin: 'a', vectorClock: { a: 1 } },
        { value: later, timestamp: 1000, origin: 'b', vectorClock: { a: 1, b: 1 } },
      ];
      for (const [local, remote] of [versions, [...versions].reverse()]) {
        const outcome = resolver.resolve(path, local, remote);
        assert.deepEqual(outcome.value, shown, `${path}: ${JSON.stringify([first, later])}`);
        assert.ok(new VectorClock(outcome.vectorClock).isIdentical({ a: 1, b: 1 }), 'its clock covers both');
      }
    }
  }
});

test('what is given to a resolver or a clock stays as it is', () => {
  const resolver = new ConflictResolver({ pathStrategies: { users: 'merge-fields' } });
  const local = { value: { name: 'Alice' }, timestamp: 1, origin: 'a', vectorClock: { a: 1 } };
  for (const vectorClock of [{ b: 1 }, { a: 1, b: 1 }]) {
    const remote = { value: { age: 30 }, timestamp: 2, origin: 'b', vectorClock };
    const [before, behind] = [structuredClone(local), structuredClone(remote)];
    assert.deepEqual(resolver.resolve('users/alice', local, remote).value, { name: 'Alice', age: 30 });
    assert.deepEqual([local, remote], [before, behind]);
  }
  const mine = new VectorClock({ a: 1 });
  const kept = mine;
  const merged = mine.merge({ b: 2 }).increment('a');
  assert.deepEqual([kept.toJSON(), merged.toJSON()], [{ a: 1 }, { a: 2, b: 2 }]);
});
