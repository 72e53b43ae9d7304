/** Following: nothing is missed, whatever happens to connections, server and reader. Both ways to the feed. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import { UnauthorizedError, createClient } from '../src/index.js';
import { Proxy } from './proxy.js';
import { Server, eventually, next } from './server.js';

assert.equal(
  typeof globalThis.WebSocket,
  'function',
  'run as `npm test`: Node 20 needs --experimental-websocket',
);

/** The two ways: over a WebSocket, and over HTTP as where there is none. */
const WAYS = [
  ['over a WebSocket', undefined],
  ['over HTTP', null],
];

/** What a reader of events believes there is. */
function believe(map, event) {
  if (event.event === 'resync') map.clear();
  if (event.event !== 'change') return;
  if (event.op === 'put') map.set(event.path, event.value);
  else map.delete(event.path);
}

async function scanned(url, prefix) {
  const client = createClient(url);
  const items = await client.scan(prefix).toArray();
  await client.close();
  return new Map(items.map(({ path, value }) => [path, value]));
}

for (const [way, WebSocket] of WAYS) {
  test(`the current values, then what happens, ${way}`, async (t) => {
    const server = await Server.start(t);
    const client = createClient({ url: server.url, WebSocket });
    t.after(() => client.close());
    await client.put('users/alice', { age: 41 });
    await client.put('users2/other', 1);
    const subscription = client.subscribe('users');
    const events = subscription[Symbol.asyncIterator]();
    const one = async () => (await events.next()).value;
    const first = await one();
    assert.deepEqual(
      [first.event, first.path, first.op, first.value],
      ['change', 'users/alice', 'put', { age: 41 }],
    );
    const end = await one();
    assert.deepEqual([end.event, end.count], ['snapshot-end', 1]);
    assert.equal(subscription.token, end.token);
    await subscription.ready;
    await client.put('users2/other', 2);
    const written = await client.put('users/bob', null);
    const change = await one();
    assert.deepEqual(
      [change.path, change.op, change.value, change.etag, change.version],
      ['users/bob', 'put', null, written.etag, written.version],
    );
    await client.del('users/bob');
    assert.deepEqual([(await one()).op], ['delete']);
    // An ancestor's change concerns those below it.
    await client.put('users', 0);
    assert.equal((await one()).path, 'users');
    await events.return();
    assert.deepEqual(await subscription.closed, { error: undefined });
    assert.deepEqual(await events.next(), { done: true, value: undefined });
  });

  test(`from now on, and later from a token, ${way}`, async (t) => {
    const server = await Server.start(t);
    const client = createClient({ url: server.url, WebSocket });
    t.after(() => client.close());
    await client.put('a', 'before');
    const told = [];
    const live = client.subscribe('', (event) => told.push(event), { since: 'now' });
    await live.ready;
    const token = live.token;
    await client.put('a', 1);
    await client.put('b', 2);
    await eventually(() => told.length === 2, 'both are told');
    live.close();
    await client.del('a');
    const rest = [];
    for await (const event of client.subscribe([], { since: token })) {
      rest.push([event.path, event.op]);
      if (rest.length === 2) break;
    }
    // The newest of each path.
    assert.deepEqual(rest, [
      ['b', 'put'],
      ['a', 'delete'],
    ]);
  });

  test(`no gap and no missed delete while the server is killed and connections are cut, ${way}`, async (t) => {
    const server = await Server.start(t);
    const proxy = await Proxy.to(t, server.url);
    const reader = createClient({ url: proxy.url, WebSocket });
    const writer = createClient({ url: server.url, attempts: 1 });
    t.after(() => Promise.all([reader.close(), writer.close()]));
    const map = new Map();
    const seen = { resync: 0, interrupted: 0, change: 0 };
    const live = reader.live('n');
    let stale = 0;
    live.on('change', () => {
      stale += 1;
    });
    const subscription = reader.subscribe('n', (event) => {
      seen[event.event] = (seen[event.event] ?? 0) + 1;
      believe(map, event);
    });
    await subscription.ready;

    let writing = true;
    t.after(() => {
      writing = false;
    });
    let written = 0;
    const writers = (async () => {
      while (writing) {
        const path = `n/${Math.floor(Math.random() * 40)}`;
        try {
          if (Math.random() < 0.35) await writer.del(path);
          else await writer.put(path, written);
          written += 1;
        } catch {
          await wait(5);
        }
      }
    })();
    for (let round = 0; round < 6; round += 1) {
      const before = written;
      const told = seen.change;
      await eventually(() => written > before + 25, 'writes are done');
      await eventually(() => seen.change > told, 'the reader follows');
      const cutOff = seen.interrupted;
      if (round % 2 === 0) {
        await server.kill();
        await server.up();
      }
      // What was told may have been read ahead of a stream: a connection that is not there yet cannot be cut.
      await eventually(() => {
        if (seen.interrupted === cutOff) proxy.cut();
        return seen.interrupted > cutOff;
      }, 'the reader is cut off');
    }
    writing = false;
    await writers;
    await writer.put('n/last', 'done');
    await eventually(
      () => map.get('n/last') === 'done' && live.get('n/last') === 'done',
      'the last write is told',
    );
    const now = await scanned(server.url, 'n/');
    assert.deepEqual(map, now);
    assert.deepEqual(
      new Map(live.entries().map(({ path, value }) => [path, value])),
      new Map([...now].sort(([a], [b]) => (a < b ? -1 : 1))),
    );
    assert.ok(seen.interrupted >= 6, `it was cut off ${seen.interrupted} times`);
    assert.ok(seen['snapshot-end'] === 1 && seen.resync === 0, 'it went on, and did not begin anew');
    assert.ok(stale > 0);
  });

  test(`a server that is another one now says resync, and the view has no ghosts, ${way}`, async (t) => {
    const a = await Server.start(t);
    const b = await Server.start(t);
    const setUp = createClient({ url: a.url, WebSocket });
    await setUp.batch([
      { path: 'doc/ghost', value: 1 },
      { path: 'doc/kept', value: 1 },
    ]);
    await setUp.close();
    const other = createClient({ url: b.url, WebSocket });
    t.after(() => other.close());
    await other.put('doc/kept', 2);
    const client = createClient({ urls: [a.url, b.url], WebSocket });
    t.after(() => client.close());
    const live = await client.live('doc').ready();
    assert.equal(live.size, 2);
    const told = [];
    live.on('change', ({ path, value }) => told.push([path, value]));
    const resync = new Promise((resolve) => {
      live.on('resync', resolve);
    });
    await a.kill();
    assert.match((await resync).reason, /Forget what you hold/);
    await eventually(() => live.size === 1, 'the ghost is gone');
    assert.deepEqual(told, [
      ['doc/ghost', undefined],
      ['doc/kept', 2],
    ]);
  });

  test(`a slow reader is told the newest values, and holds a bounded number, ${way}`, async (t) => {
    const server = await Server.start(t, { durability: 'memory' });
    const client = createClient({ url: server.url, WebSocket });
    t.after(() => client.close());
    const subscription = client.subscribe('n', { since: 'now' });
    const events = subscription[Symbol.asyncIterator]();
    const first = events.next();
    await subscription.ready;
    await client.put('n/first', 0);
    await first;
    // 16 MiB over 40 paths, while nobody reads.
    const filler = 'x'.repeat(4_000);
    for (let round = 0; round < 4; round += 1) {
      const operations = Array.from({ length: 1_000 }, (_, n) => ({
        path: `n/${n % 40}`,
        value: { n: round * 1_000 + n, filler },
      }));
      await client.load(operations).toArray();
    }
    await client.put('n/last', 1);
    const newest = new Map();
    let told = 0;
    for (;;) {
      const { value: event } = await events.next();
      assert.equal(event.event, 'change', JSON.stringify(event));
      told += 1;
      const before = newest.get(event.path);
      assert.ok(before === undefined || before <= event.value.n, 'never an older one after a newer one');
      newest.set(event.path, event.value.n);
      if (event.path === 'n/last') break;
    }
    for (let n = 0; n < 40; n += 1) assert.equal(newest.get(`n/${n}`), 3_960 + n);
    assert.ok(told < 3_900, `${told} events of 4,001 writes`);
  });

  test(`with a token, also one that is renewed, ${way}`, async (t) => {
    const server = await Server.start(t, { env: { REJOIN_AUTH_TOKEN: 'ri/ght==' } });
    const given = ['wrong'];
    const client = createClient({ url: server.url, WebSocket, token: () => given.shift() ?? 'ri/ght==' });
    t.after(() => client.close());
    const subscription = client.subscribe('a');
    const events = subscription[Symbol.asyncIterator]();
    // Over a WebSocket the first attempt is told as one that failed.
    let event = (await events.next()).value;
    while (event.event === 'interrupted') event = (await events.next()).value;
    assert.equal(event.event, 'snapshot-end');
    await client.put('a', 1);
    assert.equal((await events.next()).value.value, 1);

    const stranger = createClient({ url: server.url, WebSocket, token: 'wrong' });
    t.after(() => stranger.close());
    await assert.rejects(
      (async () => {
        for await (const told of stranger.subscribe('a')) assert.equal(told.event, 'interrupted');
      })(),
      UnauthorizedError,
    );
    await assert.rejects(stranger.live('a').ready(), UnauthorizedError);
    const failed = next(stranger, 'error');
    const { error } = await stranger.subscribe('a', () => {}).closed;
    assert.ok(error instanceof UnauthorizedError && (await failed) === error);
  });
}

test('one socket carries many subscriptions, and closes behind the last one', async (t) => {
  const server = await Server.start(t, { durability: 'memory' });
  const proxy = await Proxy.to(t, server.url);
  const client = createClient(proxy.url);
  t.after(() => client.close());
  const seen = new Map();
  const all = Array.from({ length: 300 }, (_, n) =>
    client.subscribe(`n/${n}`, (event) => {
      if (event.event === 'change') seen.set(n, event.value);
    }),
  );
  await Promise.all(all.map((subscription) => subscription.ready));
  assert.equal(proxy.connections, 2, 'a socket has 250');
  const direct = createClient(server.url);
  t.after(() => direct.close());
  await direct.load(Array.from({ length: 300 }, (_, n) => ({ path: `n/${n}`, value: n }))).toArray();
  await eventually(() => seen.size === 300, 'each hears of its own');
  assert.ok([...seen].every(([n, value]) => n === value));
  for (const subscription of all) subscription.close();
  await Promise.all(all.map((subscription) => subscription.closed));
  const status = async () => (await direct.status()).subscriptions;
  await eventually(async () => (await status()) === 0, 'the server has none left');
});

test('a network without WebSockets is noticed', async (t) => {
  const server = await Server.start(t);
  class Blocked extends EventTarget {
    constructor() {
      super();
      setTimeout(() => this.onerror?.(new Event('error')));
    }

    close() {}
  }
  const client = createClient({ url: server.url, WebSocket: Blocked });
  t.after(() => client.close());
  await client.put('a', 1);
  const told = [];
  for await (const event of client.subscribe('a')) {
    told.push(event.event);
    if (event.event === 'snapshot-end') break;
  }
  assert.deepEqual(told, ['interrupted', 'change', 'snapshot-end']);
});

test('a path that is silent is given up', async (t) => {
  // A socket whose other side vanished says nothing: the ping finds out. Faster than 15 s by a check from outside.
  const server = await Server.start(t);
  const proxy = await Proxy.to(t, server.url);
  const client = createClient({ url: proxy.url, timeout: 300, attempts: 1 });
  t.after(() => client.close());
  const told = [];
  const subscription = client.subscribe('a', (event) => told.push(event.event));
  await subscription.ready;
  proxy.mode = 'silent';
  await assert.rejects(client.get('a'), { code: 'timed_out' });
  assert.equal(client.state, 'offline');
  await eventually(() => told.includes('interrupted'), 'the socket is given up');
  proxy.mode = 'pass';
  proxy.cut();
  const direct = createClient(server.url);
  t.after(() => direct.close());
  await direct.put('a', 1);
  await eventually(() => told.at(-1) === 'change', 'it goes on');
});

test('a listener that fails ends its subscription and nothing else', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  const failed = next(client, 'error');
  const other = [];
  client.subscribe('a', (event) => other.push(event.event));
  const subscription = client.subscribe('a', () => {
    throw new Error('of the program');
  });
  assert.equal((await failed).message, 'of the program');
  await subscription.closed;
  await client.put('a', 1);
  await eventually(() => other.includes('change'), 'the other one goes on');
});
