/** Refusals of proxies, in their own words: what is final, tried again or set aside does not depend on who refused. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  ConnectionLostError,
  ForbiddenError,
  InvalidRequestError,
  UnauthorizedError,
  UnavailableError,
  createClient,
  fileQueue,
  memoryQueue,
} from '../src/node.js';
import { Front } from './front.js';
import { Server, directory, eventually, next } from './server.js';

/** A client behind a proxy, and one that is not. Tests that look at many statuses share a server. */
async function behind(t, options = {}, server = undefined) {
  server ??= await Server.start(t);
  const front = await Front.to(t, server.url);
  const client = createClient({
    url: front.url,
    queue: memoryQueue(),
    attempts: 1,
    WebSocket: null,
    ...options,
  });
  const direct = createClient(server.url);
  t.after(() => Promise.all([client.close(), direct.close()]));
  return { server, front, client, direct };
}

const isWrite = (request) => request.method !== 'GET' && request.method !== 'HEAD';

/** A proxy that refuses writes to one path above a size. */
const tooMuch = (status, headers) => (request) =>
  isWrite(request) && request.url.includes('/big') && Number(request.headers['content-length'] ?? 0) > 100
    ? { status, headers }
    : undefined;

test('a write that a proxy refuses in its own words is set aside and reported, and those behind it go on', async (t) => {
  const server = await Server.start(t);
  for (const status of [400, 403, 404, 405, 413, 414, 422, 431, 451, 501]) {
    const { front, client, direct } = await behind(t, {}, server);
    front.refuse = tooMuch(status);
    const told = [];
    client.on('refused', (refused) => told.push(refused));
    client.on('conflict', ({ path }) => assert.fail(`${status}: there is no conflict at ${path}`));
    const before = await client.queue.put(`${status}/before`, 1);
    const big = await client.queue.put(`${status}/big`, 'x'.repeat(200));
    const later = await client.queue.put(`${status}/big`, 'small');
    const after = await client.queue.put(`${status}/after`, 1);
    const outcomes = await Promise.all([before, big, later, after].map(({ outcome }) => outcome));
    assert.deepEqual(
      outcomes.map(({ state }) => state),
      ['sent', 'refused', 'sent', 'sent'],
      String(status),
    );
    assert.equal(client.pending, 0);
    assert.equal(client.queue.stuck, undefined);
    assert.deepEqual(
      [
        await direct.get(`${status}/before`),
        await direct.get(`${status}/big`),
        await direct.get(`${status}/after`),
      ],
      [1, 'small', 1],
    );
    const [refused, ...more] = await client.queue.refused();
    assert.deepEqual(more, []);
    assert.deepEqual(
      [refused.path, refused.op, refused.value, refused.status, refused.error],
      [`${status}/big`, 'put', 'x'.repeat(200), status, 'refused_on_the_way'],
    );
    assert.match(refused.message, new RegExp(`${status}`));
    assert.ok(refused.hint.length > 10);
    assert.deepEqual(
      told.map(({ path, status }) => [path, status]),
      [[`${status}/big`, status]],
    );
    assert.deepEqual(await client.queue.conflicts(), []);
    await client.close();
  }
});

test('a write that was set aside outlives the program, and is made again, changed or dropped by it', async (t) => {
  const { front, client, direct } = await behind(t);
  void client;
  const file = join(await directory(t), 'queue');
  front.refuse = tooMuch(413);
  const first = createClient({ url: front.url, queue: fileQueue(file), attempts: 1 });
  const large = 'x'.repeat(200);
  for (const path of ['big/1', 'big/2', 'big/3', 'big/4']) {
    const { outcome } = await first.queue.put(path, large);
    assert.equal((await outcome).state, 'refused', path);
  }
  await first.close();

  const second = createClient({ url: front.url, queue: fileQueue(file), attempts: 1 });
  t.after(() => second.close());
  const [one, two, three, four] = await second.queue.refused();
  assert.deepEqual([one.path, one.status, four.path], ['big/1', 413, 'big/4']);
  // It is refused again as long as the proxy is as it was.
  const { outcome: again } = await one.retry();
  assert.equal((await again).state, 'refused');
  const { outcome: smaller } = await two.resolve('smaller');
  assert.equal((await smaller).state, 'sent');
  await three.discard();
  front.refuse = () => undefined;
  // What somebody else wrote meanwhile is not overwritten unseen.
  await direct.put('big/4', 'theirs');
  const { outcome: over } = await four.retry();
  const { state, conflict } = await over;
  assert.deepEqual([state, conflict.current.value], ['conflict', 'theirs']);
  const [left, ...none] = await second.queue.refused();
  assert.deepEqual([left.path, none], ['big/1', []]);
  const { outcome } = await left.retry();
  assert.equal((await outcome).state, 'sent');
  assert.deepEqual(await second.queue.refused(), []);
  assert.deepEqual(
    [
      await direct.get('big/1'),
      await direct.get('big/2'),
      await direct.get('big/3'),
      await direct.get('big/4'),
    ],
    [large, 'smaller', undefined, 'theirs'],
  );
});

test('what a proxy refuses for the moment is sent later, in order, and not set aside', async (t) => {
  const server = await Server.start(t);
  for (const [index, [status, headers]] of [
    [429, {}],
    [429, { 'retry-after': '1' }],
    [503, { 'retry-after': new Date(Date.now() + 1_000).toUTCString() }],
    [502, {}],
    [504, {}],
    [500, {}],
    [408, {}],
  ].entries()) {
    const { front, client, direct } = await behind(t, {}, server);
    let left = 3;
    front.refuse = (request) =>
      isWrite(request) && left > 0 ? { status, headers: ((left -= 1), headers) } : undefined;
    client.on('refused', ({ path }) => assert.fail(`${status}: ${path} is refused`));
    const writes = [];
    for (let n = 0; n < 4; n += 1) writes.push(await client.queue.put(`doc/${index}`, n));
    const outcomes = await Promise.all(writes.map(({ outcome }) => outcome));
    assert.deepEqual(
      outcomes.map(({ state }) => state),
      ['sent', 'sent', 'sent', 'sent'],
      String(status),
    );
    assert.equal(left, 0);
    const past = await direct.history(`doc/${index}`).toArray();
    assert.deepEqual([await direct.get(`doc/${index}`), past.map(({ value }) => value)], [3, [2, 1, 0]]);
    await client.close();
  }
});

test('a write that never gets an answer, while others do, does not stop the queue for ever', async (t) => {
  // As where a node refuses before it has read the body, and the proxy before it makes 502 of that.
  const { front, client, direct } = await behind(t);
  front.refuse = tooMuch(502);
  const big = await client.queue.put('big', 'x'.repeat(200));
  const after = await client.queue.put('after', 1);
  const { state, refused } = await big.outcome;
  assert.deepEqual([state, refused.status, refused.error], ['refused', 502, 'connection_lost']);
  assert.equal((await after.outcome).state, 'sent');
  assert.equal(front.refused.length, 6, 'it was tried several times');
  // Perhaps it was done, and only the answers were lost: that is no conflict with oneself.
  front.refuse = () => undefined;
  await direct.put('big', 'x'.repeat(200));
  const { outcome } = await refused.retry();
  assert.equal((await outcome).state, 'sent');
});

test('what stands in the way of everything stops the queue visibly, and nothing is set aside', async (t) => {
  const server = await Server.start(t);
  for (const [index, [refusal, code]] of [
    [{ status: 403 }, 'refused_on_the_way'],
    [{ status: 401 }, 'refused_on_the_way'],
    [{ status: 404 }, 'refused_on_the_way'],
    [{ status: 511 }, 'refused_on_the_way'],
    // A page to sign in at.
    [{ status: 200, body: '<html>Accept our terms</html>' }, 'unexpected_answer'],
    [
      { status: 200, headers: { 'content-type': 'application/json' }, body: '{"ok":true}' },
      'unexpected_answer',
    ],
    [{ status: 204, body: '' }, 'unexpected_answer'],
  ].entries()) {
    const { front, client, direct } = await behind(t, {}, server);
    front.refuse = () => refusal;
    client.on('refused', ({ path }) => assert.fail(`${refusal.status}: ${path} is set aside`));
    const failed = refusal.status === 511 ? undefined : next(client, 'error');
    const write = await client.queue.put(`doc/${index}`, 1);
    const gone = await client.queue.del('other');
    if (failed) assert.equal((await failed).code, code);
    await eventually(() => client.queue.stuck, 'the queue says that it is stuck');
    assert.equal(client.pending, 2);
    front.refuse = () => undefined;
    assert.deepEqual([(await write.outcome).state, (await gone.outcome).state], ['sent', 'sent']);
    assert.equal(await direct.get(`doc/${index}`), 1);
    await client.close();
  }
});

test('words of a proxy are not taken for those of a node', async (t) => {
  const { front, client, direct } = await behind(t);
  const page = { 'content-type': 'application/json' };
  await direct.put('doc', 1);
  await client.get('doc');
  // Of a delete, 404 and 412 of a node mean that it is gone.
  for (const [status, body] of [
    [404, '{"error":"Not Found","message":"no route"}'],
    [412, '{"error":"Precondition Failed","message":"if-match"}'],
    [412, undefined],
    [409, undefined],
    [410, undefined],
  ]) {
    front.refuse = (request) =>
      request.method === 'DELETE' ? { status, body, headers: body ? page : {} } : undefined;
    const { outcome } = await client.queue.del('doc');
    const { state, refused } = await outcome;
    assert.deepEqual([state, refused.status], ['refused', status]);
    await refused.discard();
    await assert.rejects(client.del('doc'), (error) => error.foreign && error.status === status);
  }
  front.refuse = (request) => (request.url.startsWith('/api/doc') ? { status: 404 } : undefined);
  // Not `undefined`: whether there is something, only a node knows.
  await assert.rejects(client.get('doc'), { code: 'refused_on_the_way', status: 404 });
  assert.equal(await direct.get('doc'), 1);
});

test('a direct request that a proxy refuses has the class of its status, and is sent again where that helps', async (t) => {
  const { front, client } = await behind(t, { attempts: 3 });
  for (const [status, type, requests] of [
    [400, InvalidRequestError, 1],
    [401, UnauthorizedError, 1],
    [403, ForbiddenError, 1],
    [413, InvalidRequestError, 1],
    [414, InvalidRequestError, 1],
    [431, InvalidRequestError, 1],
    [429, UnavailableError, 3],
    [408, UnavailableError, 3],
    [500, ConnectionLostError, 3],
    [502, ConnectionLostError, 3],
    [503, ConnectionLostError, 3],
    [520, ConnectionLostError, 3],
  ]) {
    front.refused = [];
    front.refuse = (request) => (request.url === '/version' ? undefined : { status });
    await assert.rejects(client.put('doc', 1), (error) => {
      assert.ok(error instanceof type, `${status} ${error.name}`);
      assert.equal(error.status, status);
      return true;
    });
    // The answer may have been lost, so the client sends the write again; its key makes sure that it is done once.
    assert.equal(front.refused.length, requests, String(status));
  }
});

test('a live view goes on when a proxy refuses for the moment, and tells when it refuses for good', async (t) => {
  const server = await Server.start(t);
  for (const status of [429, 503, 502, 500]) {
    const { front, client, direct } = await behind(t, {}, server);
    await direct.put('users/a', 1);
    let left = 3;
    front.refuse = (request) =>
      request.url.startsWith('/api/_changes') && left > 0 ? { status: ((left -= 1), status) } : undefined;
    const live = client.live('users');
    const told = [];
    live.on('interrupted', ({ error }) => told.push(error.status));
    await live.ready();
    assert.deepEqual([live.get('users/a'), told], [1, [status]]);
    await direct.put('users/b', status);
    await eventually(() => live.get('users/b') === status, 'it is kept up to date');
    await client.close();
  }
  for (const status of [403, 413, 414, 431, 401]) {
    const { front, client } = await behind(t, {}, server);
    const told = [];
    client.on('error', (error) => told.push(error.status));
    front.refuse = (request) => (request.url.startsWith('/api/_changes') ? { status } : undefined);
    await assert.rejects(client.live('users').ready(), { status, foreign: true });
    const unheard = client.live('users');
    await unheard.subscription.closed;
    await eventually(() => told.length > 0, 'the client tells');
    const { error } = await client.subscribe('users', () => {}).closed;
    assert.equal(error.status, status);
    await eventually(() => told.length === 2, 'and once more');
    assert.deepEqual(told, [status, status]);
    await client.close();
  }
});

test('a live view that has worked outlives a page to sign in at', async (t) => {
  const { front, client, direct, server } = await behind(t);
  await direct.put('users/a', 1);
  const live = await client.live('users').ready();
  const interrupted = [];
  live.on('interrupted', ({ error }) => interrupted.push(error.code));
  live.on('error', (error) => assert.fail(error));
  front.refuse = () => ({ status: 200, body: '<html>Accept our terms</html>' });
  await server.kill();
  await server.up();
  await eventually(() => front.refused.length > 1, 'it asks again');
  front.refuse = () => undefined;
  await direct.put('users/a', 2);
  await eventually(() => live.get('users/a') === 2, 'it goes on');
  assert.ok(interrupted.length >= 1);
  // At first, it is a wrong address.
  front.refuse = () => ({ status: 200, body: '<html>Another site</html>' });
  await assert.rejects(client.live('users').ready(), { code: 'unexpected_answer' });
});
