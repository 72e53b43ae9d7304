/** Writes made offline: kept, sent in order, once, and never over what somebody else wrote meanwhile. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import { ClosedError, QueueError, createClient, fileQueue, memoryQueue } from '../src/node.js';
import { Proxy } from './proxy.js';
import { Server, directory, eventually, next } from './server.js';

/** A client behind a way that can be cut, and one that is always there. */
async function apart(t, queue = memoryQueue()) {
  const server = await Server.start(t);
  const proxy = await Proxy.to(t, server.url);
  const client = createClient({ url: proxy.url, queue, attempts: 1 });
  const other = createClient(server.url);
  t.after(() => Promise.all([client.close(), other.close()]));
  return { server, proxy, client, other };
}

async function outOfReach(client, proxy) {
  await proxy.refuse();
  await client.get('nothing').catch(() => {});
  assert.equal(client.state, 'offline');
}

test('writes made offline are counted, kept in order, and sent when the server is back', async (t) => {
  const { proxy, client, other } = await apart(t);
  await client.put('doc', { n: 0 });
  await outOfReach(client, proxy);
  const counts = [];
  client.on('pending', (count) => counts.push(count));
  const queued = [
    await client.queue.put('doc', { n: 1 }),
    await client.queue.patch('doc', { m: 2 }),
    await client.queue.put('new', 'x'),
    await client.queue.del('doc'),
    await client.queue.put('doc', { n: 3 }),
  ];
  assert.equal(client.pending, 5);
  assert.deepEqual(
    (await client.queue.items()).map(({ op, path }) => [op, path]),
    [
      ['put', 'doc'],
      ['patch', 'doc'],
      ['put', 'new'],
      ['delete', 'doc'],
      ['put', 'doc'],
    ],
  );
  const online = next(client, 'online');
  await proxy.listen();
  await online;
  const outcomes = await Promise.all(queued.map(({ outcome }) => outcome));
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    ['sent', 'sent', 'sent', 'sent', 'sent'],
  );
  assert.deepEqual([client.pending, counts], [0, [1, 2, 3, 4, 5, 4, 3, 2, 1, 0]]);
  assert.deepEqual([await other.get('doc'), await other.get('new')], [{ n: 3 }, 'x']);
  const past = await other.history('doc').toArray();
  assert.deepEqual(
    past.map(({ op, value }) => (op === 'put' ? value : op)),
    ['delete', { n: 1, m: 2 }, { n: 1 }, { n: 0 }],
  );
});

test('what somebody else wrote meanwhile is not overwritten: it is reported, kept, and settled by the program', async (t) => {
  const { proxy, client, other } = await apart(t);
  await client.put('a', 'base');
  await client.put('b', 'base');
  await outOfReach(client, proxy);
  const mine = await client.queue.put('a', 'mine');
  const onTop = await client.queue.put('a', 'mine, again');
  const gone = await client.queue.put('b', 'mine');
  // Never seen: whatever is there is not overwritten unseen.
  const blind = await client.queue.put('c', 'mine');
  const fine = await client.queue.put('d', 'mine');
  await other.put('a', 'theirs');
  await other.del('b');
  await other.put('c', 'theirs');
  const told = [];
  client.on('conflict', (conflict) => told.push(conflict.path));
  await proxy.listen();
  const outcomes = await Promise.all([mine, onTop, gone, blind, fine].map(({ outcome }) => outcome));
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    ['conflict', 'conflict', 'conflict', 'conflict', 'sent'],
  );
  assert.deepEqual(told, ['a', 'a', 'b', 'c']);
  assert.deepEqual(
    [await other.get('a'), await other.get('b'), await other.get('c')],
    ['theirs', undefined, 'theirs'],
  );
  assert.equal(client.pending, 0);

  const conflicts = await client.queue.conflicts();
  assert.deepEqual(
    conflicts.map(({ path, value, error, current }) => [path, value, error, current?.value]),
    [
      ['a', 'mine', 'precondition_failed', 'theirs'],
      ['a', 'mine, again', 'based_on_held', undefined],
      ['b', 'mine', 'precondition_failed', undefined],
      ['c', 'mine', 'precondition_failed', 'theirs'],
    ],
  );
  const [first, second, third, fourth] = conflicts;
  // A third state came in between: settling is conditional on what was shown, too.
  await other.put('a', 'theirs, later');
  assert.equal((await (await first.resolve('both')).outcome).state, 'conflict');
  assert.equal(await other.get('a'), 'theirs, later');
  const again = (await client.queue.conflicts()).find(({ value }) => value === 'both');
  assert.equal((await (await again.overwrite()).outcome).state, 'sent');
  assert.equal(await other.get('a'), 'both');
  await second.discard();
  assert.equal((await (await third.overwrite()).outcome).state, 'sent');
  await fourth.discard();
  assert.deepEqual([await other.get('b'), await client.queue.conflicts()], ['mine', []]);
});

test('what the server refuses is held with its reason, and does not stop what comes behind it', async (t) => {
  const { client } = await apart(t);
  const wrong = await client.queue.put('_reserved/x', 1);
  const large = await client.queue.put('large', 'x'.repeat(2 << 20));
  const good = await client.queue.put('good', 1);
  const outcomes = await Promise.all([wrong, large, good].map(({ outcome }) => outcome));
  assert.deepEqual(
    outcomes.map(({ state, refused }) => [state, refused?.error, refused?.status]),
    [
      ['refused', 'reserved_path', 400],
      ['refused', 'too_large', 413],
      ['sent', undefined, undefined],
    ],
  );
  await assert.rejects(client.queue.put('a//b', 1), { code: 'invalid_path' });
  await assert.rejects(client.queue.put('a', undefined), { code: 'invalid_json' });
  assert.deepEqual([(await client.queue.refused()).length, await client.queue.conflicts()], [2, []]);
});

test('a lost answer is no conflict: each write is done once', async (t) => {
  const config = join(await directory(t), 'rejoin.toml');
  await writeFile(config, '[conflict.path_strategies]\nmerged = "merge-fields"\n');
  for (const [kind, write, done] of [
    ['create', (queue) => queue.put('doc', { n: 1 }), { n: 1 }],
    ['replace', (queue) => queue.put('seen', { n: 1 }), { n: 1 }],
    ['patch', (queue) => queue.patch('seen', { m: 1 }), { n: 0, m: 1 }],
    ['delete', (queue) => queue.del('seen'), undefined],
    ['merge', (queue) => queue.put('merged/doc', { m: 1 }), { n: 0, m: 1 }],
  ]) {
    const server = await Server.start(t, { flags: ['--config', config] });
    const proxy = await Proxy.to(t, server.url);
    const client = createClient({ url: proxy.url, queue: memoryQueue(), attempts: 1 });
    const other = createClient(server.url);
    t.after(() => Promise.all([client.close(), other.close()]));
    await client.put('seen', { n: 0 });
    await client.put('merged/doc', { n: 0 });
    proxy.cut();
    proxy.mode = 'lose';
    const { outcome, path } = await write(client.queue);
    await eventually(() => proxy.lost > 0, 'the answer is lost');
    proxy.mode = 'pass';
    assert.equal((await outcome).state, 'sent', kind);
    assert.deepEqual(await other.get(path), done, kind);
    assert.ok((await other.history(path).toArray()).length <= 1, `${kind}: done once`);
    assert.deepEqual(await client.queue.conflicts(), []);
  }
});

test('a write that was done, whose answer was lost, and that somebody replaced since, is done', async (t) => {
  const { proxy, client, other } = await apart(t);
  await client.put('doc', 'base');
  proxy.cut();
  proxy.mode = 'lose';
  const first = await client.queue.put('doc', 'mine');
  await eventually(() => proxy.lost > 0, 'the answer is lost');
  const second = await client.queue.put('doc', 'mine, again');
  await other.put('doc', 'theirs');
  proxy.mode = 'pass';
  assert.equal((await first.outcome).state, 'sent');
  // The one on top of it did not see theirs.
  const { state, conflict } = await second.outcome;
  assert.deepEqual([state, conflict.current.value], ['conflict', 'theirs']);
  assert.equal(await other.get('doc'), 'theirs');
});

test('a queued write keeps its key: the one that is sent again is the one that was sent', async (t) => {
  const server = await Server.start(t);
  const proxy = await Proxy.to(t, server.url);
  const keys = new Map();
  const noting = async (url, init) => {
    const key = init.headers['idempotency-key'];
    if (key) keys.set(init.body ?? init.method, [...(keys.get(init.body ?? init.method) ?? []), key]);
    return fetch(url, init);
  };
  const file = join(await directory(t), 'queue');
  const open = () => createClient({ url: proxy.url, fetch: noting, attempts: 1, queue: fileQueue(file) });
  const client = open();
  await client.get('doc');
  proxy.cut();
  proxy.mode = 'lose';
  await client.queue.put('doc', 'mine');
  await eventually(() => proxy.lost > 0, 'the answer is lost');
  await client.close();
  // Others have replaced it, and the program starts anew.
  const other = createClient(server.url);
  t.after(() => other.close());
  await other.put('doc', 'theirs');
  proxy.mode = 'pass';
  const reopened = open();
  t.after(() => reopened.close());
  await eventually(
    () => reopened.pending === 0 && reopened.queue.pending === 0 && keys.get('"mine"').length > 1,
    'it is sent',
  );
  await eventually(async () => (await reopened.queue.items()).length === 0, 'it is sent');
  assert.equal(new Set(keys.get('"mine"')).size, 1);
  assert.deepEqual(await reopened.queue.conflicts(), []);
  assert.equal(await other.get('doc'), 'theirs');
  assert.equal((await other.history('doc').toArray()).length, 1, 'done once');
});

const child = new URL('./queue-child.js', import.meta.url).pathname;

/** A program that writes into a queue and says so; killed at any moment. */
function program(url, file, from, count) {
  const process_ = spawn(process.execPath, [child, url, file, String(from), String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged = [];
  createInterface({ input: process_.stdout }).on('line', (line) => acknowledged.push(line));
  return { process: process_, acknowledged, ended: once(process_, 'exit') };
}

test('what was acknowledged outlives kill -9 of the program, offline and while it is sent', async (t) => {
  const server = await Server.start(t);
  const proxy = await Proxy.to(t, server.url);
  const file = join(await directory(t), 'queue');
  const other = createClient(server.url);
  t.after(() => other.close());
  const acknowledged = new Set();
  let from = 0;
  for (let round = 0; round < 6; round += 1) {
    const isOffline = round % 2 === 0;
    if (isOffline) await proxy.refuse();
    else await proxy.listen();
    const run = program(proxy.url, file, from, 400);
    await eventually(() => run.acknowledged.length > 20 + round * 7, 'writes are acknowledged');
    run.process.kill('SIGKILL');
    await run.ended;
    for (const line of run.acknowledged) acknowledged.add(line);
    from += 400;
  }
  await proxy.listen();
  const client = createClient({ url: proxy.url, queue: fileQueue(file) });
  await client.queue.ready;
  await eventually(() => client.pending === 0, 'everything is sent');
  assert.deepEqual(await client.queue.conflicts(), []);
  await client.close();
  const there = new Map((await other.scan('q/').toArray()).map(({ path, value }) => [path, value]));
  for (const line of acknowledged) assert.equal(there.get(`q/${line}`), Number(line), line);
  assert.ok(acknowledged.size > 150, `${acknowledged.size} writes`);
  // Done once each: a path that was written twice would have a past.
  for (const path of there.keys()) assert.deepEqual(await other.history(path).toArray(), [], path);
});

test('the order of writes to one path outlives the program too', async (t) => {
  const { proxy, client, other } = await apart(t);
  const file = join(await directory(t), 'queue');
  await proxy.refuse();
  const before = createClient({ url: proxy.url, queue: fileQueue(file), attempts: 1 });
  for (let n = 0; n < 5; n += 1) await before.queue.put('doc', n);
  await before.close();
  const after = createClient({ url: proxy.url, queue: fileQueue(file), attempts: 1 });
  t.after(() => after.close());
  await after.queue.ready;
  assert.equal(after.pending, 5);
  await after.queue.put('doc', 5);
  await proxy.listen();
  await eventually(() => after.pending === 0, 'everything is sent');
  assert.deepEqual(
    (await other.history('doc').toArray()).map(({ value }) => value),
    [4, 3, 2, 1, 0],
  );
  assert.equal(await other.get('doc'), 5);
  void client;
});

test('held writes outlive the program', async (t) => {
  const { client, other, server } = await apart(t);
  const file = join(await directory(t), 'queue');
  await other.put('doc', 'theirs');
  const before = createClient({ url: server.url, queue: fileQueue(file) });
  assert.equal((await (await before.queue.put('doc', 'mine')).outcome).state, 'conflict');
  await before.close();
  const after = createClient({ url: server.url, queue: fileQueue(file) });
  t.after(() => after.close());
  const told = await next(after, 'conflict');
  assert.deepEqual([told.value, told.current.value], ['mine', 'theirs']);
  await told.resolve('both');
  await eventually(async () => (await other.get('doc')) === 'both', 'it is settled');
  void client;
});

test('a torn last line is taken away; damage before it is told', async (t) => {
  const file = join(await directory(t), 'queue');
  const url = 'http://127.0.0.1:9';
  const before = createClient({ url, queue: fileQueue(file) });
  for (let n = 0; n < 3; n += 1) await before.queue.put(`q/${n}`, n);
  await before.close();
  const whole = await readFile(file);
  for (const tail of ['1234', '00000000 {"add":{"id":"x"}}\n', 'deadbeef {"add":', '\0\0\0\0\0\0']) {
    await writeFile(file, Buffer.concat([whole, Buffer.from(tail)]));
    const client = createClient({ url, queue: fileQueue(file) });
    assert.equal((await client.queue.items()).length, 3, JSON.stringify(tail));
    await client.close();
    assert.deepEqual(await readFile(file), whole, 'the file is whole again');
  }
  // Every cut of a journal is one of its beginnings.
  for (let length = 0; length < whole.length; length += 17) {
    await writeFile(file, whole.subarray(0, length));
    const client = createClient({ url, queue: fileQueue(file) });
    const lines = whole.subarray(0, length).toString().split('\n').length - 1;
    assert.equal((await client.queue.items()).length, lines);
    await client.close();
  }
  const damaged = Buffer.from(whole);
  damaged[20] ^= 1;
  await writeFile(file, damaged);
  const client = createClient({ url, queue: fileQueue(file) });
  t.after(() => client.close());
  const told = await next(client, 'error');
  assert.ok(told instanceof QueueError && told.code === 'queue_damaged' && told.message.includes('Line 1'));
  await assert.rejects(client.queue.put('a', 1), { code: 'queue_damaged' });
  assert.deepEqual(await readFile(file), damaged, 'nothing was changed');
});

test('a file belongs to one process at a time, and is free again when that one is gone', async (t) => {
  const file = join(await directory(t), 'queue');
  const url = 'http://127.0.0.1:9';
  const run = program(url, file, 0, 1);
  await eventually(() => run.acknowledged.length === 1, 'it has the file');
  const second = createClient({ url, queue: fileQueue(file) });
  t.after(() => second.close());
  await assert.rejects(second.queue.put('a', 1), { code: 'queue_in_use' });
  run.process.kill('SIGKILL');
  await run.ended;
  const third = createClient({ url, queue: fileQueue(file) });
  assert.equal((await third.queue.items()).length, 1);
  // Also within one process.
  const fourth = createClient({ url, queue: fileQueue(file) });
  t.after(() => fourth.close());
  await assert.rejects(fourth.queue.ready, { code: 'queue_in_use' });
  await third.close();
  await assert.rejects(third.queue.put('a', 1), ClosedError);
});

test('the file of a queue does not grow for ever', async (t) => {
  const { client, server } = await apart(t);
  const file = join(await directory(t), 'queue');
  const writer = createClient({ url: server.url, queue: fileQueue(file) });
  t.after(() => writer.close());
  for (let n = 0; n < 40; n += 1) {
    await (
      await writer.queue.put('doc', 'x'.repeat(20_000), { unconditional: true })
    ).outcome;
  }
  assert.ok((await readFile(file)).length < 300_000);
  void client;
});

test('a queue that is full says so, and a client without one does too', async (t) => {
  const client = createClient({ url: 'http://127.0.0.1:9', queue: memoryQueue() });
  t.after(() => client.close());
  const half = 'x'.repeat(20 << 20);
  for (let n = 0; n < 3; n += 1) await client.queue.put('large', half);
  await assert.rejects(client.queue.put('large', half), { code: 'queue_full' });
  assert.equal(client.pending, 3);
  const without = createClient('http://127.0.0.1:9');
  assert.throws(() => without.queue, { code: 'no_queue' });
});

test('a token that is refused stops the queue visibly, and a better one lets it go on', async (t) => {
  const server = await Server.start(t, { env: { REJOIN_AUTH_TOKEN: 'right' } });
  let token = 'wrong';
  const client = createClient({ url: server.url, token: () => token, queue: memoryQueue() });
  t.after(() => client.close());
  const told = next(client, 'error');
  const queued = await client.queue.put('a', 1);
  assert.equal((await told).code, 'unauthorized');
  assert.deepEqual([client.pending, client.queue.stuck.code], [1, 'unauthorized']);
  token = 'right';
  client.queue.flush();
  assert.equal((await queued.outcome).state, 'sent');
  assert.equal(client.queue.stuck, undefined);
});

test('a write on top of a queued one goes over what that one leaves, sent or not, and nothing else', async (t) => {
  const { client, other } = await apart(t);
  const first = await client.queue.put('doc', 1);
  await first.outcome;
  const second = await client.queue.put('doc', 2, { after: first.id });
  const third = await client.queue.put('doc', 3, { after: second.id });
  assert.deepEqual([(await second.outcome).state, (await third.outcome).state], ['sent', 'sent']);
  await other.put('doc', 'theirs');
  assert.equal(await client.get('doc'), 'theirs');
  // Seen since, but not what this one is made on.
  assert.equal((await (await client.queue.put('doc', 4, { after: third.id })).outcome).state, 'conflict');
  assert.equal(await other.get('doc'), 'theirs');
});

test('two that share a store and cannot lock it do each write once', async (t) => {
  const server = await Server.start(t);
  const proxy = await Proxy.to(t, server.url);
  const other = createClient(server.url);
  await proxy.refuse();
  const store = Object.assign(memoryQueue(), { isShared: true });
  const asking = new Set();
  const open = (name) =>
    createClient({
      url: proxy.url,
      queue: store,
      attempts: 1,
      fetch: (...request) => {
        if (proxy.mode === 'hold') asking.add(name);
        return fetch(...request);
      },
    });
  const one = open('one');
  for (let n = 0; n < 60; n += 1) await one.queue.put(`doc/${n % 20}`, n);
  const two = open('two');
  t.after(() => Promise.all([one.close(), two.close(), other.close()]));
  await two.queue.ready;
  assert.equal(two.pending, 60);
  const conflicts = [];
  const sent = new Map([
    [one, 0],
    [two, 0],
  ]);
  for (const client of [one, two]) {
    client.on('conflict', (conflict) => conflicts.push(conflict));
    client.on('sent', () => sent.set(client, sent.get(client) + 1));
  }
  // Neither gets an answer before both have asked: one of them could be done with all before the other begins.
  proxy.mode = 'hold';
  await proxy.listen();
  await eventually(() => {
    one.queue.flush();
    two.queue.flush();
    return asking.size === 2;
  }, 'both are sending');
  proxy.release();
  await eventually(async () => (await store.items()).length === 0, 'everything is sent');
  assert.ok(
    [...sent.values()].every((count) => count > 0),
    `both have sent: ${[...sent.values()]}`,
  );
  assert.deepEqual(
    conflicts.map(({ path, value, error }) => [path, value, error]),
    [],
  );
  for (let n = 0; n < 20; n += 1) {
    const past = await other.history(`doc/${n}`).toArray();
    assert.deepEqual([await other.get(`doc/${n}`), ...past.map(({ value }) => value)], [n + 40, n + 20, n]);
  }
});

test('what is queued is what was given and seen when it was asked for', async (t) => {
  const { server, client, other } = await apart(t);
  await client.put('doc', { n: 0 });
  const value = { n: 1 };
  const queued = client.queue.put('doc', value);
  value.n = 2;
  assert.equal((await (await queued).outcome).state, 'sent');
  assert.deepEqual(await other.get('doc'), { n: 1 });
  // Another write of this path is still on its way into the queue when theirs is seen.
  const slow = Object.assign(memoryQueue(), { gate: undefined });
  const append = slow.append.bind(slow);
  slow.append = async (item) => {
    await slow.gate;
    return append(item);
  };
  const careful = createClient({ url: server.url, queue: slow });
  t.after(() => careful.close());
  await careful.get('doc');
  let open;
  slow.gate = new Promise((resolve) => {
    open = resolve;
  });
  const first = careful.queue.put('else', 1);
  const second = careful.queue.put('doc', 'mine');
  await other.put('doc', 'theirs');
  assert.equal(await careful.get('doc'), 'theirs');
  open();
  await first;
  assert.equal((await (await second).outcome).state, 'conflict');
  assert.equal(await other.get('doc'), 'theirs');
});
