/** Behind a proxy that gathers answers before it passes them on, and passes no upgrade on: as many do by themselves. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createClient } from '../src/index.js';
import { Front } from './front.js';
import { Server, eventually, next } from './server.js';

for (const holdsHeads of [false, true]) {
  const what = holdsHeads ? 'even the heads of answers' : 'answers';
  test(`a live view behind a proxy that gathers ${what} says so, and is kept up to date by polling`, async (t) => {
    const server = await Server.start(t);
    const front = await Front.to(t, server.url);
    front.gathers = true;
    front.holdsHeads = holdsHeads;
    const direct = createClient(server.url);
    // With a WebSocket to try, as in a page: the proxy passes none on.
    const client = createClient({ url: front.url });
    t.after(() => Promise.all([client.close(), direct.close()]));
    await direct.put('users/a', 1);
    await direct.put('users/gone', 1);
    const stalled = next(client, 'stalled');
    const live = client.live('users');
    const interrupted = [];
    live.on('interrupted', ({ error }) => interrupted.push(error));
    // What there is does not wait until it is known that streams are held up.
    await live.ready();
    assert.deepEqual([live.size, live.get('users/a')], [2, 1]);
    const error = await stalled;
    assert.deepEqual([error.code, error.retryable], ['stalled', true]);
    assert.match(error.hint, /proxy_buffering/);
    await eventually(() => interrupted.at(-1)?.code === 'stalled', 'the view tells, too');
    assert.deepEqual([client.feedWay, client.state], ['poll', 'online']);

    await direct.put('users/b', 2);
    await direct.del('users/gone');
    await direct.put('users/a', 3);
    await eventually(() => live.get('users/b') === 2 && !live.has('users/gone'), 'changes are told');
    await eventually(() => live.get('users/a') === 3, 'all of them');
    assert.equal(live.size, 2);
    // The next one knows from the beginning, and hears at once.
    const before = interrupted.length;
    const second = await client.live('users').ready();
    const heard = new Promise((resolve) => {
      second.on('change', resolve);
    });
    await direct.put('users/c', 4);
    assert.equal((await heard).value, 4);
    await eventually(() => live.get('users/c') === 4, 'both hear');
    assert.equal(interrupted.length, before);
  });
}

test('a feed that is polled misses nothing while the node restarts, and says when it begins anew', async (t) => {
  const a = await Server.start(t);
  const b = await Server.start(t);
  const front = await Front.to(t, a.url);
  const other = await Front.to(t, b.url);
  for (const one of [front, other]) one.gathers = true;
  const [onA, onB] = [createClient(a.url), createClient(b.url)];
  const client = createClient({ urls: [front.url, other.url], WebSocket: null });
  t.after(() => Promise.all([client.close(), onA.close(), onB.close()]));
  await onB.put('n/only-there', 1);
  const stalled = next(client, 'stalled');
  const live = await client.live('n').ready();
  await stalled;
  // More than fits into one answer.
  await onA.load(Array.from({ length: 2_500 }, (_, n) => ({ path: `n/${n}`, value: n }))).toArray();
  await eventually(() => live.size === 2_500, 'all are told');
  const resync = new Promise((resolve) => {
    live.on('resync', resolve);
  });
  front.refuse = () => ({ status: 502 });
  assert.match((await resync).reason, /Forget what you hold|.+/);
  await eventually(() => live.size === 1 && live.get('n/only-there') === 1, 'it has what the other node has');
});

test('where streams pass, feeds are streams, with few signs of life', async (t) => {
  const server = await Server.start(t);
  const front = await Front.to(t, server.url);
  const direct = createClient(server.url);
  const client = createClient({ url: front.url, WebSocket: null });
  t.after(() => Promise.all([client.close(), direct.close()]));
  client.on('stalled', (error) => assert.fail(error));
  const live = await client.live('users').ready();
  const streams = () => front.passed.filter((said) => said.includes('heartbeat=15000'));
  await eventually(() => streams().length === 1, 'it is known that streams pass');
  await direct.put('users/a', 1);
  await eventually(() => live.get('users/a') === 1, 'it is told');
  assert.equal(client.feedWay, 'stream');
  const subscription = client.subscribe('users', () => {});
  await subscription.ready;
  await eventually(() => streams().length === 2, 'the next one needs no proof');
});
