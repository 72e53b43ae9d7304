/** What goes wrong, what it is called, and what is tried again. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import {
  ClosedError,
  ConnectionLostError,
  DiskFullError,
  ForbiddenError,
  InvalidRequestError,
  NotCaughtUpError,
  PreconditionFailedError,
  RejoinError,
  ServerError,
  TimedOutError,
  TokenTooOldError,
  UnauthorizedError,
  UnavailableError,
  UnexpectedAnswerError,
  UnreachableError,
  createClient,
} from '../src/index.js';
import { Proxy } from './proxy.js';
import { Server, eventually, freePort, next } from './server.js';

/** A server that answers what a test says, in order; the last answer again and again. */
async function scripted(t, ...answers) {
  const requests = [];
  const server = createServer((request, response) => {
    // While offline, the client looks for a sign of life by itself.
    if (request.url === '/version') {
      request.socket.destroy();
      return;
    }
    requests.push(request);
    const answer = answers[Math.min(requests.length, answers.length) - 1];
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

const problem =
  (status, error, more = {}, headers = {}) =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(
      JSON.stringify({
        error,
        message: 'A sentence.',
        hint: 'Do that.',
        path: 'a',
        retryable: false,
        ...more,
      }),
    );
  };
const value = (body) => (_request, response) => response.end(JSON.stringify(body));
const cut = (request) => request.socket.destroy();

test('each answer of the server has its class, and keeps its document', async (t) => {
  for (const [status, error, type] of [
    [400, 'invalid_json', InvalidRequestError],
    [401, 'unauthorized', UnauthorizedError],
    [403, 'origin_not_allowed', ForbiddenError],
    [410, 'token_too_old', TokenTooOldError],
    [413, 'too_large', InvalidRequestError],
    [421, 'host_not_allowed', InvalidRequestError],
    [429, 'overloaded', UnavailableError],
    [500, 'internal', ServerError],
    [503, 'closed', UnavailableError],
    [503, 'not_caught_up', NotCaughtUpError],
    [507, 'disk_full', DiskFullError],
    [404, 'unknown_route', RejoinError],
  ]) {
    const { url, requests } = await scripted(t, problem(status, error, { limit: 7, missing: { count: 1 } }));
    const client = createClient(url);
    await assert.rejects(client.put('a', 1), (thrown) => {
      assert.ok(
        thrown instanceof type && thrown instanceof RejoinError && thrown instanceof Error,
        `${status} ${thrown.name}`,
      );
      assert.deepEqual(
        [
          thrown.status,
          thrown.code,
          thrown.message,
          thrown.hint,
          thrown.path,
          thrown.problem.limit,
          thrown.retryable,
        ],
        [status, error, 'A sentence.', 'Do that.', 'a', 7, false],
      );
      assert.equal(thrown.name, thrown.constructor.name);
      return true;
    });
    // `fetch` itself sends after 421 once more, on a connection of its own.
    assert.equal(
      requests.length,
      status === 421 ? 2 : 1,
      'what the server calls not retryable is not sent again',
    );
    await client.close();
  }
});

test('what the server calls retryable is sent again, a bounded number of times', async (t) => {
  const busy = problem(503, 'overloaded', { retryable: true });
  const { url, requests } = await scripted(t, busy, busy, value({ etag: 'e', applied: true }));
  const client = createClient(url);
  t.after(() => client.close());
  assert.equal((await client.put('a', 1)).applied, true);
  assert.equal(requests.length, 3);

  const never = await scripted(t, busy);
  const patient = createClient({ url: never.url, attempts: 2 });
  t.after(() => patient.close());
  await assert.rejects(patient.put('a', 1), UnavailableError);
  assert.equal(never.requests.length, 2);
  // Longer than anybody waits for one answer.
  const later = await scripted(t, problem(429, 'overloaded', { retryable: true }, { 'retry-after': '3600' }));
  const other = createClient(later.url);
  t.after(() => other.close());
  await assert.rejects(other.get('a'), (error) => error.retryAfter === 3_600_000);
  assert.equal(later.requests.length, 1);
});

test('a write that may have been done is sent again with its key, and each write has its own', async (t) => {
  const keys = new Set();
  const body = { etag: 'e', value: 1, applied: true, results: [] };
  for (const ask of [
    (to) => to.put('a', 1),
    (to) => to.put('a', 1, { ifMatch: 'x' }),
    (to) => to.put('a', 1, { context: 'c' }),
    (to) => to.patch('a', {}),
    (to) => to.del('a'),
    (to) => to.resolve('a', { value: 1 }),
    (to) => to.revert('a', 'v'),
    (to) => to.batch([{ path: 'a', value: 1 }]),
    (to) => to.put('a', 1, { idempotencyKey: 'mine' }),
  ]) {
    const { url, requests } = await scripted(t, cut, value(body));
    const to = createClient(url);
    await ask(to);
    assert.equal(requests.length, 2);
    const [one, other] = requests.map(({ headers }) => headers['idempotency-key']);
    assert.match(one, /^[!-~]{1,64}$/);
    assert.equal(one, other);
    keys.add(one);
    await to.close();
  }
  assert.equal(keys.size, 9);
  assert.ok(keys.has('mine'));
  const { url, requests } = await scripted(t, cut, value(body));
  const reader = createClient(url);
  t.after(() => reader.close());
  await reader.get('a');
  assert.equal(requests.at(-1).headers['idempotency-key'], undefined);
});

test('a write whose answer is cut off is done once', async (t) => {
  const server = await Server.start(t);
  const proxy = await Proxy.to(t, server.url);
  const client = createClient(proxy.url);
  const there = createClient(server.url);
  t.after(() => Promise.all([client.close(), there.close()]));
  for (const [path, write, done] of [
    ['put', () => client.put('put', { n: 1 }), { n: 1 }],
    ['patch', () => client.patch('patch', { m: 1 }), { n: 0, m: 1 }],
    ['del', () => client.del('del'), undefined],
  ]) {
    await client.put(path, { n: 0 });
    proxy.cut();
    proxy.mode = 'lose';
    proxy.lost = 0;
    const writing = write();
    await eventually(() => proxy.lost > 0, 'an answer is lost');
    // Replaced before it is sent again.
    await there.put(path, 'theirs');
    proxy.mode = 'pass';
    const written = await writing;
    assert.deepEqual([written.replayed, written.value], [true, done], path);
    assert.equal(await there.get(path), 'theirs');
    assert.equal((await there.history(path).toArray()).length, 2, `${path}: done once`);
  }
});

test('another node that has a write gives its first answer', async (t) => {
  const one = await Server.start(t);
  const two = await Server.start(t, { flags: ['--peer', one.url] });
  const first = createClient(one.url);
  const second = createClient(two.url);
  t.after(() => Promise.all([first.close(), second.close()]));
  const written = await first.put('doc', { n: 1 }, { idempotencyKey: 'the-write' });
  await first.put('doc', { n: 2 });
  second.session.resume(first.session.token);
  await second.get('doc', { wait: 10_000 });
  const again = await second.put('doc', { n: 1 }, { idempotencyKey: 'the-write' });
  assert.deepEqual({ ...again, replayed: undefined }, { ...written, replayed: undefined });
  assert.equal(again.replayed, true);
  assert.deepEqual(await second.get('doc'), { n: 2 });
  await assert.rejects(second.put('doc', 0, { idempotencyKey: 'the-write' }), {
    code: 'idempotency_key_reused',
    status: 422,
  });
});

test('a conditional write whose answer was lost finds itself', async (t) => {
  const server = await Server.start(t);
  const proxy = await Proxy.to(t, server.url);
  const client = createClient(proxy.url);
  t.after(() => client.close());
  await client.put('warm', 1);
  proxy.cut();
  proxy.mode = 'lose';
  const writing = client.put('a', 'mine', { ifNoneMatch: '*' });
  await eventually(() => proxy.lost > 0, 'an answer is lost');
  proxy.mode = 'pass';
  const written = await writing;
  assert.deepEqual([written.replayed, written.value], [true, 'mine']);
});

test('a condition that fails on a node that does not know the request says that it may be this write', async (t) => {
  const failed = problem(412, 'precondition_failed', {
    value: 'mine',
    etag: 'e',
    version: 'v',
    timestamp: 1,
  });
  const { url } = await scripted(t, cut, failed);
  const client = createClient(url);
  t.after(() => client.close());
  await assert.rejects(
    client.put('a', 'mine', { ifNoneMatch: '*' }),
    (error) => error instanceof PreconditionFailedError && error.ambiguous && error.current.value === 'mine',
  );
});

test('a write that may have been done is not called undone because its node is gone since', async (t) => {
  const { url } = await scripted(t, (request) => {
    request.socket.server.close();
    request.socket.destroy();
  });
  const client = createClient({ url, attempts: 3 });
  t.after(() => client.close());
  await assert.rejects(client.put('a', 1, { ifNoneMatch: '*' }), ConnectionLostError);
});

test('nobody there, no answer in time, and something else that answers', async (t) => {
  const nobody = createClient({ url: `http://127.0.0.1:${await freePort()}`, attempts: 2 });
  t.after(() => nobody.close());
  await assert.rejects(nobody.put('a', 1), (error) => {
    assert.ok(error instanceof UnreachableError);
    assert.deepEqual([error.code, error.retryable], ['unreachable', true]);
    assert.match(error.message, /ECONNREFUSED/);
    return true;
  });
  assert.equal(nobody.state, 'offline');

  const silent = await scripted(t, () => {});
  const waiting = createClient({ url: silent.url, timeout: 50, attempts: 2 });
  t.after(() => waiting.close());
  await assert.rejects(waiting.get('a'), (error) => error instanceof TimedOutError && error.waited === 50);
  assert.equal(silent.requests.length, 2);
  await assert.rejects(waiting.put('a', 1, { timeout: 200 }), (error) => error.waited === 200);
  assert.equal(silent.requests.length, 4);

  const page = await scripted(t, (_request, response) => response.end('<html>'));
  const elsewhere = createClient(page.url);
  t.after(() => elsewhere.close());
  await assert.rejects(elsewhere.get('a'), UnexpectedAnswerError);
  const gateway = await scripted(
    t,
    (_request, response) => response.writeHead(502).end('<html>'),
    value({ value: 1, etag: 'e' }),
  );
  const behind = createClient(gateway.url);
  t.after(() => behind.close());
  assert.equal(await behind.get('a'), 1);
});

test('everything can be aborted', async (t) => {
  const silent = await scripted(t, () => {});
  const client = createClient({ url: silent.url, WebSocket: null });
  t.after(() => client.close());
  const reason = new Error('enough');
  for (const ask of [
    (signal) => client.get('a', { signal }),
    (signal) => client.put('a', 1, { signal }),
    (signal) => client.del('a', { signal }),
    (signal) => client.batch([{ path: 'a', value: 1 }], { signal }),
    (signal) => client.scan('', { signal }).toArray(),
    (signal) => client.history('a', { signal }).toArray(),
    (signal) => client.load([{ path: 'a', value: 1 }], { signal }).toArray(),
    async (signal) => {
      for await (const event of client.subscribe('a', { signal })) assert.fail(event);
    },
  ]) {
    const controller = new AbortController();
    const asked = ask(controller.signal);
    setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(asked, (error) => error === reason);
    await assert.rejects(ask(AbortSignal.abort(reason)), (error) => error === reason);
  }
  // While it waits to try again.
  const busy = await scripted(t, problem(503, 'overloaded', { retryable: true }, { 'retry-after': '9' }));
  const patient = createClient(busy.url);
  t.after(() => patient.close());
  await assert.rejects(patient.get('a', { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
  // The whole client.
  const whole = new AbortController();
  const ending = createClient({ url: silent.url, signal: whole.signal });
  const asked = ending.get('a');
  whole.abort();
  await assert.rejects(asked, ClosedError);
  await assert.rejects(ending.get('a'), ClosedError);
  assert.equal(ending.state, 'closed');
});

test('a token function is asked once, and again when the server refuses what it gave', async (t) => {
  const server = await Server.start(t, { env: { REJOIN_AUTH_TOKEN: 'right' } });
  const given = ['wrong', 'right'];
  const asked = [];
  const client = createClient({
    url: server.url,
    token: async ({ refused }) => (asked.push(refused), given[asked.length - 1]),
  });
  t.after(() => client.close());
  // Requests that overlap are refused together, and ask for one token.
  await Promise.all([client.put('a', 1), client.put('b', 2), client.get('c')]);
  assert.deepEqual(asked, [undefined, 'wrong']);
  await client.get('a');
  assert.equal(asked.length, 2);

  for (const token of ['wrong', () => 'wrong', undefined, () => undefined]) {
    const stranger = createClient({ url: server.url, token });
    await assert.rejects(stranger.get('a'), UnauthorizedError);
    await stranger.close();
  }
  const failing = createClient({
    url: server.url,
    token: () => {
      throw new Error('no keys today');
    },
  });
  t.after(() => failing.close());
  await assert.rejects(failing.get('a'), /no keys today/);
});

test('when a node is gone, the next one is asked, and keeps the session', async (t) => {
  const a = await Server.start(t);
  const b = await Server.start(t, { flags: ['--peer', a.url] });
  const client = createClient({ urls: [a.url, b.url] });
  t.after(() => client.close());
  const states = [];
  client.on('state', ({ state }) => states.push(state));
  await client.put('doc', 1, { ack: { nodes: 1, timeout: 20_000 } });
  await a.kill();
  assert.equal(await client.get('doc'), 1);
  await client.put('doc', 2);
  assert.deepEqual(states, ['online'], 'somebody always answered');
  await b.kill();
  await assert.rejects(client.get('doc'), UnreachableError);
  assert.equal(client.state, 'offline');
  const back = next(client, 'online');
  await a.up();
  await back;
  // It has not seen the last write, which only the other one has: it does not pretend.
  await assert.rejects(client.get('doc', { timeout: 10_000 }), NotCaughtUpError);
  assert.equal(await client.get('doc', { session: false }), 1);
});

test('options that are none are refused', () => {
  for (const options of [
    { url: 'http://x', tokn: 'x' },
    { urls: [] },
    { url: 'ftp://x' },
    { url: 'nonsense' },
    { url: 'http://x', urls: ['http://y'] },
    { url: 'http://x', token: 7 },
    { url: 'http://x', timeout: -1 },
    { url: 'http://u:p@x' },
    {},
    { url: 'http://x', fetch: 1 },
  ]) {
    assert.throws(
      () => createClient(options),
      (error) => error instanceof TypeError || error.code === 'invalid_url',
      JSON.stringify(options),
    );
  }
});
