/** Reading and writing: what a value goes through between a program and a node. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  ConflictError,
  ConnectionError,
  InvalidArgumentError,
  InvalidRequestError,
  NotFoundError,
  PreconditionFailedError,
  createClient,
} from '../src/index.js';
import { Proxy } from './proxy.js';
import { Server } from './server.js';

test('values are written, read, changed and deleted', async (t) => {
  const server = await Server.start(t, { durability: 'disk' });
  const client = createClient(server.url);
  t.after(() => client.close());

  const written = await client.put('users/alice', { name: 'Alice', age: 41 });
  assert.equal(written.applied, true);
  assert.equal(written.durable, 'disk');
  const entry = await client.entry('users/alice');
  for (const member of ['path', 'value', 'etag', 'version', 'timestamp', 'vectorClock']) {
    assert.deepEqual(entry[member], written[member], member);
  }
  await client.patch('users/alice', { age: 42, city: 'Rome' });
  assert.deepEqual(await client.get('users/alice'), { name: 'Alice', age: 42, city: 'Rome' });

  assert.equal((await client.del('users/alice')).deleted, true);
  assert.equal(await client.del('users/alice'), undefined);
  assert.equal(await client.get('users/alice'), undefined);
  assert.equal(await client.explain('never/written'), undefined);
});

test('null, false, 0, "" and [] are values; absent is undefined', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  for (const value of [null, false, 0, '', [], {}]) {
    await client.put('odd', value);
    assert.deepEqual(await client.get('odd'), value);
  }
  for (const none of [undefined, () => {}, Symbol('x')]) {
    await assert.rejects(async () => client.put('odd', none), { code: 'invalid_json' });
  }
});

test('paths are plain text; what would be another URL is refused before it is sent', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  for (const path of ['users/alice@example.com/inbox', 'données/é', 'a b/c?d#e%20f', '日本/語', 'x/+&=;,']) {
    await client.put(path, path);
    assert.equal(await client.get(path), path);
    assert.deepEqual(await client.scan(path).toArray(), [{ path, value: path }]);
  }
  for (const path of ['', '/a', 'a//b', 'a/', 'a/../b', '.', '\ud800', 7]) {
    await assert.rejects(
      async () => client.get(path),
      (error) => error instanceof InvalidArgumentError && error.code === 'invalid_path',
    );
  }
  await assert.rejects(
    client.put('_reserved/x', 1),
    (error) => error instanceof InvalidRequestError && error.code === 'reserved_path',
  );
});

test('conditions say when a write is done, and what is there instead', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  const first = await client.put('doc', 1, { ifNoneMatch: '*' });
  const second = await client.put('doc', 2, { ifMatch: first.etag });
  await assert.rejects(client.put('doc', 3, { ifMatch: first.etag }), (error) => {
    assert.ok(error instanceof PreconditionFailedError);
    assert.deepEqual([error.status, error.code, error.ambiguous], [412, 'precondition_failed', false]);
    assert.deepEqual([error.current.value, error.current.etag], [2, second.etag]);
    assert.ok(error.hint);
    return true;
  });
  await assert.rejects(client.put('doc', 3, { ifNoneMatch: '*' }), PreconditionFailedError);
  await assert.rejects(client.put('none', 3, { ifMatch: '*' }), (error) => error.current === undefined);
  assert.equal(await client.get('doc'), 2);
});

test('a context replaces exactly what was read; what competes is listed and resolved', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  const read = await client.put('doc', 'base');
  await client.put('doc', 'theirs', { context: read.context });
  await client.put('doc', 'mine', { context: read.context });
  const [conflict, ...others] = await client.conflicts('', { state: 'open' }).toArray();
  assert.equal(others.length, 0);
  assert.deepEqual(conflict.versions.map((version) => version.value).sort(), ['mine', 'theirs']);
  assert.equal((await client.explain('doc')).conflicts, 1);

  await client.put('doc', 'mine too', { context: read.context });
  await assert.rejects(client.resolve('doc', { value: 'both', context: conflict.context }), ConflictError);
  const theirs = conflict.versions.find((version) => version.value === 'theirs');
  await client.resolve('doc', { keep: theirs.version });
  assert.equal(await client.get('doc'), 'theirs');
  assert.deepEqual(await client.conflicts('', { state: 'open' }).toArray(), []);
});

test('history is read newest first, and goes back', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  for (const value of [1, 2, 3]) await client.put('doc', value);
  const past = await client.history('doc').toArray();
  assert.deepEqual(
    past.map((version) => version.value),
    [2, 1],
  );
  await client.revert('doc', past[1].version);
  assert.equal(await client.get('doc'), 1);
  assert.equal((await client.history('doc', { limit: 1, values: false }).toArray())[0].value, undefined);
  await assert.rejects(
    client.revert('doc', `${past[1].version}9`),
    (error) => error instanceof NotFoundError && error.code === 'no_such_version',
  );
});

test('a scan streams everything, or as much as is wanted', async (t) => {
  const server = await Server.start(t, { durability: 'memory' });
  const client = createClient(server.url);
  t.after(() => client.close());
  const operations = Array.from({ length: 2_500 }, (_, n) => ({
    path: `n/${String(n).padStart(5, '0')}`,
    value: { n, even: n % 2 === 0 },
  }));
  const results = await client.load(operations).toArray();
  assert.deepEqual(
    [results.length, results.at(-1).operation, results.at(-1).path],
    [2_500, 2_499, 'n/02499'],
  );
  assert.deepEqual(
    await client
      .load(
        [
          { op: 'delete', path: 'nothing' },
          { path: 'n/00000', value: { n: 0, even: true } },
        ],
        { results: 'refused' },
      )
      .toArray()
      .then((refused) => refused.map(({ operation, error }) => [operation, error])),
    [[0, 'not_found']],
  );

  const all = await client.scan('n/').toArray();
  assert.deepEqual(
    all.map(({ value }) => value.n),
    operations.map(({ value }) => value.n),
  );
  assert.equal(await client.count('n/'), 2_500);
  assert.equal((await client.scan('n/', { limit: 1_500 }).toArray()).length, 1_500);
  assert.deepEqual(
    (await client.scan('n/', { where: ['even==true', 'n>=2490'], fields: 'n' }).toArray()).map(
      ({ value }) => value,
    ),
    [{ n: 2490 }, { n: 2492 }, { n: 2494 }, { n: 2496 }, { n: 2498 }],
  );
  assert.deepEqual(
    (await client.scan('n/', { reverse: true, limit: 2, keysOnly: true }).toArray()).map(({ path }) => path),
    ['n/02499', 'n/02498'],
  );
  const page = await client.scanPage('n/', { limit: 3 });
  assert.equal((await client.scanPage('n/', { limit: 3, cursor: page.cursor })).items[0].path, 'n/00003');
  // Leaving early ends the request.
  for await (const item of client.scan('n/')) {
    assert.equal(item.path, 'n/00000');
    break;
  }
});

test('a batch does each write, or all or none', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  const answer = await client.batch([
    { path: 'a', value: { balance: 10 } },
    { op: 'patch', path: 'a', value: { name: 'A' }, ifMatch: '*' },
    { op: 'delete', path: 'nothing' },
  ]);
  assert.deepEqual(
    [answer.applied, answer.refused, answer.results.map(({ status }) => status)],
    [2, 1, [201, 200, 404]],
  );
  await assert.rejects(
    client.batch(
      [
        { path: 'b', value: 1 },
        { path: 'a', value: 1, ifNoneMatch: '*' },
      ],
      { atomic: true },
    ),
    (error) => {
      assert.ok(error instanceof PreconditionFailedError);
      assert.equal(error.problem.operation, 1);
      return true;
    },
  );
  assert.equal(await client.get('b'), undefined);
  await client.batch(
    [
      { op: 'patch', path: 'a', value: { balance: 7 } },
      { op: 'patch', path: 'b', value: { balance: 3 } },
    ],
    { atomic: true },
  );
  assert.deepEqual(
    [await client.get('a'), await client.get('b')],
    [{ balance: 7, name: 'A' }, { balance: 3 }],
  );
  await assert.rejects(client.batch([{ path: 'a', valeu: 1 }]), { code: 'invalid_operation' });
});

test('values that JavaScript cannot hold pass through a parser of the program', async (t) => {
  const server = await Server.start(t);
  // Numbers as text, as a library for exact numbers would keep them.
  const client = createClient({
    url: server.url,
    parse: (text) => JSON.parse(text.replace(/([:,[])(\d{16,})/g, '$1"$2n"')),
    stringify: (value) => JSON.stringify(value).replace(/"(\d+)n"/g, '$1'),
  });
  t.after(() => client.close());
  await client.put('big', { n: '12345678901234567890n' });
  assert.deepEqual(await client.get('big'), { n: '12345678901234567890n' });
  assert.equal(await (await fetch(`${server.url}/api/big`)).text(), '{"n":12345678901234567890}');
});

test('a write waits for other nodes when it is told to', async (t) => {
  const a = await Server.start(t);
  const b = await Server.start(t, { flags: ['--peer', a.url] });
  const client = createClient(a.url);
  const elsewhere = createClient(b.url);
  t.after(() => Promise.all([client.close(), elsewhere.close()]));
  await client.put('warm', 1, { ack: { nodes: 1, timeout: 20_000 } });
  const written = await client.put('doc', 1, { ack: 1 });
  assert.deepEqual(
    [written.receipt.wanted, written.receipt.complete, written.receipt.holders.length],
    [1, true, 1],
  );
  const short = await client.put('doc', 2, { ack: { nodes: 2, timeout: 100 } });
  assert.equal(short.receipt.complete, false);
  // Read your writes, on any node: the session's token goes along.
  for (let n = 0; n < 20; n += 1) {
    await client.put('doc', n);
    elsewhere.session.resume(client.session.token);
    assert.equal(await elsewhere.get('doc'), n);
  }
});

test('a scan whose connection is lost goes on behind its last item, forwards and backwards', async (t) => {
  const server = await Server.start(t, { durability: 'memory' });
  const proxy = await Proxy.to(t, server.url);
  const client = createClient(proxy.url);
  t.after(() => client.close());
  // More than what sockets hold, so that the end is not on its way yet when the connection is cut.
  const filler = 'x'.repeat(20_000);
  const count = 1_500;
  await client
    .load(
      Array.from({ length: count }, (_, n) => ({
        path: `n/${String(n).padStart(4, '0')}`,
        value: { n, filler },
      })),
    )
    .toArray();
  for (const reverse of [false, true]) {
    const before = proxy.connections;
    const told = [];
    for await (const { value } of client.scan('n/', { reverse })) {
      told.push(value.n);
      if (told.length === 10 || told.length === 700) proxy.cut();
    }
    const all = Array.from({ length: count }, (_, n) => n);
    assert.deepEqual(told, reverse ? all.reverse() : all);
    assert.ok(proxy.connections >= before + 2, 'it was cut, and went on');
  }
  // Nobody there any more: an end that is none is told as what it is.
  await assert.rejects(async () => {
    let at = 0;
    for await (const item of client.scan('n/')) {
      at += 1;
      if (at === 10) await proxy.refuse();
      assert.ok(item.path);
    }
  }, ConnectionError);
});

test('a value ends when its time has come, and followers hear of it', async (t) => {
  const server = await Server.start(t);
  const client = createClient(server.url);
  t.after(() => client.close());
  const live = await client.live('sessions').ready();
  const ended = new Promise((resolve) => {
    live.on('change', ({ path, value, previous }) => value === undefined && resolve([path, previous]));
  });
  await client.put('sessions/a', 1, { ttl: 1_000 });
  await client.batch([{ path: 'sessions/b', value: 2, ttl: '10m' }]);
  assert.deepEqual(await ended, ['sessions/a', 1]);
  assert.deepEqual(
    [await client.get('sessions/a'), await client.get('sessions/b'), live.size],
    [undefined, 2, 1],
  );
});
