'use strict';

// One server: what is written is read, in every way that there is.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { RejoinError, OptionError } = require('rejoin');
const { stage, url, eventually, warning } = require('./support.js');

test('what is put is there, under the id of the server', async (t) => {
  const server = await stage(t).started('a');
  const before = Date.now();
  const written = await server.put('users/user1', { name: 'Alice', age: 30 });
  assert.deepEqual(Object.keys(written), ['path', 'value', 'timestamp', 'vectorClock']);
  assert.equal(written.path, 'users/user1');
  assert.deepEqual(written.value, { name: 'Alice', age: 30 });
  assert.ok(Math.abs(written.timestamp - before) < 60_000);
  assert.match(server.serverID, /^[0-9a-f]{32}$/);
  assert.deepEqual(Object.keys(written.vectorClock), [server.serverID]);
  assert.ok(written.vectorClock[server.serverID] > 0);
  assert.deepEqual(await server.get('users/user1'), { name: 'Alice', age: 30 });
  assert.equal(await server.get('users/user2'), null);
  assert.deepEqual(server.getVectorClock(), written.vectorClock);
  const again = await server.put('users/user1', 1);
  assert.ok(again.vectorClock[server.serverID] > written.vectorClock[server.serverID]);
});

test('every JSON value comes back as it was', async (t) => {
  const server = await stage(t).started('a');
  const values = [0, -0.5, 1e300, '', 'äöü 🌍 \u0000 "\\', true, false, [], {}, [1, [2, [null]]], { a: { b: { c: null } } }, { __proto__: 1, '': 2 }];
  for (const [index, value] of values.entries()) {
    await server.put(`v/${index}`, value);
    assert.deepEqual(await server.get(`v/${index}`), JSON.parse(JSON.stringify(value)));
  }
  const named = JSON.parse('{"__proto__":{"x":1}}');
  await server.put('v/named', named);
  assert.deepEqual(Object.getOwnPropertyNames(await server.get('v/named')), ['__proto__']);
  await server.put('ümläut/🌍/a b%2F', 'paths are text');
  assert.equal(await server.get('ümläut/🌍/a b%2F'), 'paths are text');
  const large = 'x'.repeat(1_000_000);
  await server.put('v/large', large);
  assert.equal(await server.get('v/large'), large);
});

test('a value is taken as it is when it is put', async (t) => {
  const server = await stage(t).started('a');
  const value = { n: 1 };
  const written = server.put('a', value);
  value.n = 2;
  await written;
  assert.deepEqual(await server.get('a'), { n: 1 });
});

test('writes take effect in the order in which they are made', async (t) => {
  const server = await stage(t).started('a');
  const writes = Array.from({ length: 5000 }, (_, n) => server.put('counter', n));
  const clocks = (await Promise.all(writes)).map(({ vectorClock }) => vectorClock[server.serverID]);
  assert.equal(await server.get('counter'), 4999);
  assert.deepEqual(clocks, [...clocks].sort((a, b) => a - b));
  assert.equal(new Set(clocks).size, 5000);
});

test('del says whether there was something; putting null deletes', async (t) => {
  const server = await stage(t).started('a');
  assert.equal(await server.del('a'), false);
  await server.put('a', 1);
  assert.equal(await server.del('a'), true);
  assert.equal(await server.del('a'), false);
  assert.equal(await server.get('a'), null);
  const last = await server.put('a', 2);
  const deleted = await server.put('a', null);
  assert.equal(deleted.value, null);
  assert.ok(deleted.vectorClock[server.serverID] > last.vectorClock[server.serverID]);
  assert.equal(await server.get('a'), null);
  assert.deepEqual(await server.put('a', null), deleted, 'a delete of nothing changes nothing');
  assert.deepEqual(await server.put('never', null), { path: 'never', value: null, timestamp: 0, vectorClock: {} });
});

test('a scan finds values by a prefix of their paths as text', async (t) => {
  const server = await stage(t).started('a');
  for (const path of ['users/bob', 'users/alice', 'users/al', 'users2/x', 'user', 'gone']) await server.put(path, { path });
  await server.del('gone');
  const paths = async (...args) => (await server.scan(...args)).map(({ path }) => path);
  assert.deepEqual(await paths('users/'), ['users/al', 'users/alice', 'users/bob']);
  assert.deepEqual(await paths('users/al'), ['users/al', 'users/alice']);
  assert.deepEqual(await paths('user'), ['user', 'users/al', 'users/alice', 'users/bob', 'users2/x']);
  assert.deepEqual(await paths(''), await paths());
  assert.deepEqual(await paths('gone'), [], 'deleted entries are left out');
  assert.deepEqual(await paths('users/', { limit: 2 }), ['users/al', 'users/alice']);
  for (const limit of [null, undefined, 0]) assert.deepEqual(await paths('users/', { limit }), await paths('users/'), `no limit: ${limit}`);
  const [first] = await server.scan('users/bob');
  assert.deepEqual(Object.keys(first), ['path', 'value', 'timestamp', 'origin', 'vectorClock']);
  assert.deepEqual(first.value, { path: 'users/bob' });
  assert.equal(first.origin, server.serverID);
  assert.ok(first.vectorClock[server.serverID] > 0);
});

test('a scan of much arrives whole and in order', async (t) => {
  const server = await stage(t).started('a');
  const value = 'x'.repeat(500);
  const path = (n) => `many/${String(n).padStart(5, '0')}`;
  await Promise.all(Array.from({ length: 20_000 }, (_, n) => server.put(path(n), { n, value })));
  const [all, half] = await Promise.all([server.scan('many/'), server.scan('many/', { limit: 10_000 })]);
  assert.equal(all.length, 20_000);
  assert.ok(all.every((entry, n) => entry.path === path(n) && entry.value.n === n));
  assert.equal(half.length, 10_000);
});

test('subscribers hear of the path, of what is below it and of its ancestors, and of deletes as null', async (t) => {
  const server = await stage(t).started('a');
  const heard = [];
  await server.put('users/before', 0);
  const unsubscribe = await server.subscribe('users/alice', (value, path) => heard.push([path, value]));
  for (const [path, value] of [['users/alice', 1], ['users/alice/mail', 2], ['users', 3], ['users/bob', 4], ['users/alice2', 5]]) {
    await server.put(path, value);
  }
  await server.del('users/alice/mail');
  const expected = [['users/alice', 1], ['users/alice/mail', 2], ['users', 3], ['users/alice/mail', null]];
  // Quick changes of one path are told once, as the newest.
  await eventually('all is heard', () => heard.length >= 3 && heard.at(-1)[1] === null);
  assert.deepEqual(heard.filter(([path, value]) => !(path === 'users/alice/mail' && value === 2)), expected.filter(([, value]) => value !== 2));
  unsubscribe();
  unsubscribe();
  const count = heard.length;
  let last = false;
  await server.subscribe('', (_, path) => (last ||= path === 'end'));
  await server.put('users/alice', 9);
  await server.put('end', 1);
  await eventually('another subscriber hears of later changes', () => last);
  assert.equal(heard.length, count, 'nothing is heard after unsubscribing');
});

test('changes of one path are told in order, ending with the newest', async (t) => {
  const server = await stage(t).started('a');
  const heard = [];
  await server.subscribe('n', (value) => heard.push(value));
  await Promise.all(Array.from({ length: 2000 }, (_, n) => server.put('n', n)));
  await eventually('the newest is heard', () => heard.at(-1) === 1999);
  assert.deepEqual(heard, [...heard].sort((a, b) => a - b));
});

test('a callback that throws or rejects is warned about once for its subscription; the others hear on', async (t) => {
  const server = await stage(t).started('a');
  const warnings = [];
  const heed = (one) => one.code === 'REJOIN_CALLBACK' && warnings.push(one.message);
  process.on('warning', heed);
  t.after(() => process.off('warning', heed));
  const [heard, called] = [[], { sync: 0, async: 0 }];
  const ends = [
    await server.subscribe('a', () => { called.sync++; throw new Error('synchronous'); }),
    await server.subscribe('a', async () => { called.async++; throw new Error('asynchronous'); }),
  ];
  await server.subscribe('a', (value) => heard.push(value));
  for (let n = 0; n < 20; n++) {
    await server.put('a', n);
    await eventually('each is heard', () => heard.at(-1) === n && called.sync > n && called.async > n);
  }
  await eventually('both are warned about', () => warnings.length >= 2);
  assert.deepEqual(warnings.map((message) => /a?synchronous/.exec(message)[0]).sort(), ['asynchronous', 'synchronous']);
  for (const end of ends) end();
  // Another subscription says so as well.
  const warned = warning('REJOIN_CALLBACK');
  await server.subscribe('a', () => { throw new Error('the next one'); });
  await server.put('a', 'more');
  assert.match((await warned).message, /the next one/);
});

test('the history has superseded versions, newest first, deletes too', async (t) => {
  const server = await stage(t).started('a', { sync: { maxVersions: 3 } });
  assert.deepEqual(server.getVersionHistory('a'), []);
  await server.put('a', 1);
  assert.deepEqual(server.getVersionHistory('a'), [], 'the current version is not history');
  await server.put('a', 2);
  await server.del('a');
  await server.put('a', 4);
  const history = server.getVersionHistory('a');
  assert.deepEqual(history.map(({ value }) => value), [null, 2, 1]);
  assert.deepEqual(history.map(({ deleted }) => deleted), [true, false, false]);
  for (const { origin, timestamp, vectorClock, outcome } of history) {
    assert.equal(origin, server.serverID);
    assert.ok(timestamp > 0 && vectorClock[origin] > 0);
    assert.equal(outcome, 'replaced');
  }
  await server.put('a', 5);
  await server.put('a', 6);
  assert.deepEqual(server.getVersionHistory('a').map(({ value }) => value), [5, 4, null], 'at most maxVersions');
});

test('first-write-wins: a later put resolves to the value that is there', async (t) => {
  const server = await stage(t).started('a', { conflict: { pathStrategies: { settings: 'first-write-wins' } } });
  const first = await server.put('settings/theme', 'dark');
  const second = await server.put('settings/theme', 'light');
  assert.deepEqual(second, first);
  assert.equal(await server.get('settings/theme'), 'dark');
  await server.del('settings/theme');
  assert.equal((await server.put('settings/theme', 'light')).value, 'light');
});

test('merge-fields: a put keeps fields that it does not mention', async (t) => {
  const server = await stage(t).started('a', { conflict: { pathStrategies: { users: 'merge-fields' } } });
  await server.put('users/alice', { name: 'Alice', age: 30 });
  const { value } = await server.put('users/alice', { age: 31 });
  assert.deepEqual(value, { age: 31, name: 'Alice' });
});

test('strategies can be set before the start and while the server runs', async (t) => {
  const made = await stage(t).made('a', { durability: 'memory' });
  made.setConflictStrategy('early', 'first-write-wins');
  await made.start();
  for (const path of ['early', 'late']) await made.put(path, 1);
  assert.equal((await made.put('early', 2)).value, 1);
  assert.equal((await made.put('late', 2)).value, 2);
  made.setConflictStrategy('late', 'first-write-wins');
  made.setConflictStrategy('early', 'last-write-wins');
  assert.equal((await made.put('early', 3)).value, 3);
  assert.equal((await made.put('late', 3)).value, 2);
  assert.throws(() => made.setConflictStrategy('late', 'newest'), OptionError);
  assert.throws(() => made.setConflictStrategy('a/../b', 'custom'), OptionError);
  assert.throws(() => made.registerConflictResolver('late', 'least'), OptionError);
});

test('data, history and the id survive a restart', async (t) => {
  const here = stage(t);
  const first = await here.made('a');
  await first.start();
  const id = first.serverID;
  await first.put('a', 1);
  await first.put('a', 2);
  await first.put('b', 1);
  await first.del('b');
  await first.close();
  assert.equal(first.serverID, id);

  const second = await here.made('a');
  await second.start();
  assert.equal(second.serverID, id);
  assert.equal(await second.get('a'), 2);
  assert.equal(await second.get('b'), null, 'a delete stays');
  assert.deepEqual(second.getVersionHistory('a').map(({ value }) => value), [1]);
  assert.ok(second.getVectorClock()[id] > 0);
});

test('the HTTP API is served on the port', async (t) => {
  const server = await stage(t).started('a');
  const api = `${url(server)}/api`;
  const put = await fetch(`${api}/users/alice`, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{"age":30}' });
  assert.equal(put.status, 201);
  assert.deepEqual(await server.get('users/alice'), { age: 30 });
  await server.put('users/bob', { age: 40 });
  assert.deepEqual(await (await fetch(`${api}/users/bob`)).json(), { age: 40 });
  const { items } = await (await fetch(`${api}/scan/users/`)).json();
  assert.deepEqual(items.map(({ path }) => path), ['users/alice', 'users/bob']);
  await server.put('users/bob', { age: 41 });
  const history = await (await fetch(`${api}/history/users/bob`)).json();
  assert.deepEqual(history.items.map(({ value }) => value), [{ age: 40 }]);
  const status = await (await fetch(`${api}/status`)).json();
  assert.equal(status.serverID, server.serverID);
  assert.deepEqual(status.vectorClock, server.getVectorClock());
  assert.equal((await fetch(`${api}/users/alice`, { method: 'DELETE' })).status, 200);
  assert.equal(await server.get('users/alice'), null);
  assert.equal((await fetch(`${api}/users/alice`)).status, 404);
});

test('an error says what to do once', async (t) => {
  const { inspect } = require('node:util');
  const here = stage(t);
  const server = await here.made('a', { limits: { valueBytes: 10 } });
  await server.start();
  const errors = await Promise.all([
    server.put('a', 'x'.repeat(100)),
    server.put('a//b', 1),
    (await here.made('a')).start(),
    (await here.made('b', { port: server.port })).start(),
    (await here.made('c', { host: '0.0.0.0' })).start(),
  ].map((promise) => promise.then(() => assert.fail('it was done'), (error) => error)));
  for (const error of errors) {
    const { message, hint } = error;
    assert.ok(hint.length > 10 && !message.includes(hint), message);
    assert.equal(inspect(error).split(hint.slice(0, 40)).length, 2, inspect(error));
    // Not in other words either: advice stands behind a semicolon.
    assert.ok(!/; (stop|choose|restart|free|restore) /.test(message), message);
  }
});

test('what cannot be done is refused with a code and a hint', async (t) => {
  const server = await stage(t).started('a');
  const circular = {};
  circular.self = circular;
  for (const value of [undefined, () => {}, Symbol('x'), 1n, NaN, Infinity, circular, new Date(NaN)]) {
    await assert.rejects(server.put('a', value), (error) => error instanceof OptionError && error.option === 'value');
  }
  for (const path of [undefined, null, 7, {}, ['a']]) {
    for (const call of ['put', 'get', 'del', 'subscribe', 'getVersionHistory', 'runAntiEntropy', 'scan']) {
      if (path === undefined && (call === 'runAntiEntropy' || call === 'scan')) continue;
      await assert.rejects(async () => server[call](path, call === 'subscribe' ? () => {} : 1), OptionError, `${call}(${String(path)})`);
    }
  }
  for (const path of ['', '/', '/a', 'a/', 'a//b', 'a/../b', '_x', 'status', 'x'.repeat(3000), 'a\u0000', 'a/\ud800']) {
    for (const call of ['put', 'get', 'del']) {
      await assert.rejects(server[call](path, 1), (error) => error instanceof RejoinError && error.code.length > 0 && error.message.length > 0, `${call}(${path})`);
    }
  }
  assert.throws(() => server.getVersionHistory('a//b'), { name: 'RejoinError', code: 'invalid_path' });
  await assert.rejects(server.put('a', 'x'.repeat(2 << 20)), { code: 'too_large', hint: /limits\.valueBytes/ });
  await assert.rejects(server.put('a', JSON.parse('['.repeat(70) + ']'.repeat(70))), { code: 'too_deep', hint: /limits\.valueDepth/ });
  for (const value of ['\ud800', { a: ['x\udc00'] }, { '\ud83c': 1 }, '\\\ud800']) {
    await assert.rejects(server.put('a', value), { code: 'invalid_json', message: /surrogate/ }, JSON.stringify(value));
  }
  for (const value of ['\\ud800', '\ud83c\udf0d', '\\\\ud83c']) assert.deepEqual((await server.put('whole', value)).value, value);
  for (const limit of [-1, 1.5, '10', NaN]) await assert.rejects(server.scan('a', { limit }), OptionError);
  await assert.rejects(server.subscribe('a'), OptionError);
  await assert.rejects(server.subscribe('a//b', () => {}), { code: 'invalid_path' });
  const half = { name: 'RejoinError', code: 'invalid_path', message: /surrogate/ };
  for (const call of ['put', 'get', 'del', 'scan', 'runAntiEntropy', 'subscribe', 'getVersionHistory']) {
    await assert.rejects(async () => server[call]('a/\ud800', call === 'subscribe' ? () => {} : call === 'put' ? 1 : undefined), half, call);
  }
  assert.equal(await server.get('a'), null, 'nothing of all this was done');
});
