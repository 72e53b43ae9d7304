'use strict';

// Beginnings and ends: what can be called when, and that a process ends when its servers have.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const { mkdtempSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { Worker } = require('node:worker_threads');
const { stage, url, eventually, freePort, linked } = require('./support.js');

const PACKAGE = path.join(__dirname, '..');

/** Runs a program in a process of its own, which must end by itself with code 0 and say nothing on standard error. */
async function runs(t, source, { type = 'cjs', args = [] } = {}) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, `program.${type}`);
  const entry = type === 'mjs' ? 'lib/index.mjs' : 'lib/index.js';
  writeFileSync(file, source.replace(/(require\(|from )["']rejoin["']/g, (_, before) => `${before}${JSON.stringify(path.join(PACKAGE, entry))}`));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [file, ...args], { cwd: directory, timeout: 60_000 });
  assert.equal(stderr, '');
  return stdout;
}

test('the Quick Start of the README, as it is', async (t) => {
  const readme = readFileSync(path.join(PACKAGE, 'README.md'), 'utf8');
  const [, program] = /```javascript\n(.*?)```/s.exec(readme);
  assert.match(program, /require\("rejoin"\)/);
  const ports = { 3001: await freePort(), 3002: await freePort() };
  const stdout = await runs(t, program.replace(/300[12]/g, (port) => ports[port]));
  assert.equal(stdout, "Data synchronized: { message: 'Hello P2P World!' }\n");
});

test('ES modules have the same exports', async (t) => {
  const stdout = await runs(t, `
    import rejoin, { createServer, P2PServer, VectorClock, ConflictResolver, getDefaultConfig, RejoinError, OptionError } from 'rejoin';
    const server = createServer({ port: ${await freePort()}, durability: 'memory' });
    await server.start();
    await server.put('a', 1);
    console.log(await server.get('a'), server instanceof P2PServer, Object.keys(rejoin).length);
    await server.close();
    console.log([VectorClock, ConflictResolver, getDefaultConfig, RejoinError, OptionError].map((one) => typeof one).join());
  `, { type: 'mjs' });
  assert.equal(stdout, '1 true 7\nfunction,function,function,function,function\n');
});

test('a process with a running server goes on; one whose servers are closed ends by itself', async (t) => {
  const stdout = await runs(t, `
    const { createServer } = require('rejoin');
    const server = createServer({ port: ${await freePort()}, durability: 'memory', conflict: { customResolvers: { x: (p, l) => l } } });
    createServer();
    server.start().then(async () => {
      await server.subscribe('', () => {});
      // Unreferenced: only the server keeps the process.
      setTimeout(() => { console.log('still there'); server.close(); }, 300).unref();
    });
    process.on('exit', () => console.log('the end'));
  `);
  assert.equal(stdout, 'still there\nthe end\n');
});

test('a start that fails lets the process end as well', async (t) => {
  const here = stage(t);
  const taken = await here.started('a');
  const stdout = await runs(t, `
    const { createServer } = require('rejoin');
    createServer({ port: ${taken.port}, durability: 'memory' }).start().catch((error) => console.log(error.code));
  `);
  assert.equal(stdout, 'listen_failed\n');
});

test('process.exit in the middle of writes ends the process, and what was answered is there', async (t) => {
  const here = stage(t);
  const directory = path.join(here.directory, 'kept');
  const stdout = await runs(t, `
    const { createServer } = require('rejoin');
    const server = createServer({ port: ${await freePort()}, dbPath: ${JSON.stringify(directory)} });
    server.start().then(async () => {
      await server.subscribe('', () => {});
      let last = -1;
      process.on('exit', () => require('node:fs').writeSync(1, String(last)));
      for (let n = 0; n < 100000; n++) {
        server.put('n', n).then(() => (last = n));
        if (n === 500) setTimeout(() => process.exit(0), 100);
        if (n % 100 === 0) await new Promise(setImmediate);
      }
    });
  `);
  const server = await here.made('kept');
  await server.start();
  assert.ok((await server.get('n')) >= Number(stdout), `${await server.get('n')} >= ${stdout}`);
});

test('a worker that is terminated takes its server with it', async (t) => {
  const port = await freePort();
  const worker = new Worker(`
    const { createServer } = require(${JSON.stringify(PACKAGE)});
    const server = createServer({ port: ${port}, durability: 'memory' });
    server.start().then(async () => {
      await server.put('a', 1);
      require('node:worker_threads').parentPort.postMessage('up');
      for (;;) await server.put('a', 2);
    });
  `, { eval: true });
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await worker.terminate();
  await eventually('the port is free again', async () => {
    const again = (await import('node:net')).createServer();
    return new Promise((resolve) => {
      again.once('error', () => resolve(false));
      again.listen(port, '127.0.0.1', () => again.close(() => resolve(true)));
    });
  });
});

test('what is asked before the start waits for it, in order; what is at hand only after it is refused', async (t) => {
  const server = await stage(t).made('a', { durability: 'memory' });
  const heard = [];
  const asked = [server.put('a', 1), server.put('a', 2), server.subscribe('b', (value) => heard.push(value)), server.del('never')];
  for (const name of ['getVersionHistory', 'getVectorClock', 'getConnectionStats']) {
    assert.throws(() => server[name]('a'), { name: 'RejoinError', code: 'not_started', message: new RegExp(`^${name}: `), hint: /start/ }, name);
  }
  await assert.rejects(server.put('a//b', NaN), { name: 'OptionError' }, 'what is wrong by itself is said at once');
  const starting = server.start();
  asked.push(server.put('a', 3), server.put('b', 4));
  await assert.rejects(server.start(), { code: 'not_started' });
  const [first, , unsubscribe, deleted] = await Promise.all(asked);
  await starting;
  assert.equal(first.value, 1);
  assert.equal(deleted, false);
  assert.equal(await server.get('a'), 3);
  assert.deepEqual((await server.scan('')).map(({ path }) => path), ['a', 'b']);
  assert.deepEqual(server.getVersionHistory('a').map(({ value }) => value), [2, 1], 'in the order of the calls');
  await eventually('the subscriber hears', () => heard.length === 1);
  unsubscribe();
  await server.put('b', 5);
  await server.put('c', 6);
  assert.deepEqual(heard, [4]);
});

test('what waits for a start that fails, or never comes, is refused with the reason', async (t) => {
  const here = stage(t);
  const taken = await here.started('a');
  const failing = await here.made('b', { port: taken.port });
  const early = failing.put('a', 1);
  const failed = assert.rejects(failing.start(), { code: 'listen_failed' });
  await assert.rejects(early, { code: 'listen_failed' });
  await failed;
  const again = failing.get('a');
  await taken.close();
  await failing.start();
  assert.equal(await again, null);

  const never = await here.made('c');
  const waiting = [never.put('a', 1), never.get('a'), never.scan(''), never.subscribe('a', () => {}), never.runAntiEntropy()];
  await never.close();
  for (const one of waiting) await assert.rejects(one, { code: 'closed' });
});

test('after the close everything is refused, with a reason', async (t) => {
  const server = await stage(t).made('a', { durability: 'memory' });
  const calls = {
    put: (s) => s.put('a', 1),
    get: (s) => s.get('a'),
    del: (s) => s.del('a'),
    scan: (s) => s.scan('a'),
    subscribe: (s) => s.subscribe('a', () => {}),
    runAntiEntropy: (s) => s.runAntiEntropy(),
    getVersionHistory: async (s) => s.getVersionHistory('a'),
    getVectorClock: async (s) => s.getVectorClock(),
    getConnectionStats: async (s) => s.getConnectionStats(),
    addPeer: async (s) => s.addPeer('http://localhost:1'),
    removePeer: async (s) => s.removePeer('http://localhost:1'),
  };
  await server.start();
  await assert.rejects(server.start(), { code: 'already_started' });
  const unsubscribe = await server.subscribe('a', () => {});
  const unanswered = Promise.allSettled([server.put('a', 1), server.get('b'), server.scan(''), server.runAntiEntropy()]);
  const closing = server.close();
  await assert.rejects(server.put('a', 2), { code: 'closed' });
  await closing;
  const [put, get, scan, round] = await unanswered;
  assert.equal(put.value?.value, 1, 'what was asked before the close is done');
  assert.equal(get.value, null);
  for (const { status, reason } of [scan, round]) assert.ok(status === 'fulfilled' || reason.code === 'closed', String(reason));
  unsubscribe();
  for (const [name, call] of Object.entries(calls)) {
    await assert.rejects(call(server), { name: 'RejoinError', code: 'closed' }, name);
  }
  assert.throws(() => server.setConflictStrategy('a', 'custom'), { code: 'closed' });
  assert.throws(() => server.registerConflictResolver('a', () => {}), { code: 'closed' });
  await assert.rejects(server.start(), { code: 'closed' });
  assert.equal(typeof server.serverID, 'string');
});

test('a dbPath that is a file is refused as that, before and behind it', async (t) => {
  const here = stage(t);
  const file = path.join(here.directory, 'a-file');
  writeFileSync(file, 'x');
  for (const dbPath of [file, path.join(file, 'db'), path.join(file, 'further', 'below')]) {
    const server = await here.made('a', { dbPath });
    const named = { name: 'OptionError', option: 'dbPath', message: /a-file" is a file/ };
    const early = assert.rejects(server.get('a'), named);
    await assert.rejects(server.start(), named);
    await early;
  }
  if (process.platform !== 'linux') return;
  const other = await here.made('b', { dbPath: '/proc/rejoin-cannot-be-made' });
  await assert.rejects(other.start(), { code: 'storage_failed', hint: /read and write \/proc\/rejoin/ });
});

test('a database that this very process has open says so', async (t) => {
  const here = stage(t);
  const first = await here.made('a');
  await first.start();
  const second = await here.made('a');
  await assert.rejects(second.start(), { code: 'locked', message: /this very process/, hint: /close the server/ });
  // Another process says which one.
  const stdout = await runs(t, `
    const { createServer } = require('rejoin');
    createServer({ port: ${await freePort()}, dbPath: ${JSON.stringify(first.dbPath)} }).start().catch((error) => console.log(error.code, error.message));
  `);
  assert.match(stdout, new RegExp(`^locked .* another Rejoin process \\(pid ${process.pid}\\)`));
});

/** Puts clocks that stand still in the place of everything that tells or waits for time, as fake timers of tests do. */
const STOPPED = `
  const stand = () => ({ ref() {}, unref() {} });
  for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'requestIdleCallback']) globalThis[name] = stand;
  process.nextTick = stand;
  process.hrtime = Object.assign(() => [0, 0], { bigint: () => 0n });
  performance.now = () => 0;
  globalThis.Date = class extends Date { constructor(...args) { super(...(args.length > 0 ? args : [0])); } static now() { return 0; } };
`;

for (const when of ['before', 'after']) {
  test(`a program whose timers are fakes, put in place ${when} the package is loaded`, async (t) => {
    // Node's own loader and console may wait: the package's callbacks must not.
    const stdout = await runs(t, `
      ${when === 'before' ? STOPPED : ''}
      const { createServer } = require('rejoin');
      ${when === 'after' ? STOPPED : ''}
      const server = createServer({ port: ${await freePort()}, conflict: { pathStrategies: { c: 'custom' }, customResolvers: { c: (p, l) => l } } });
      (async () => {
        await server.start();
        const told = new Promise((resolve) => server.subscribe('a', resolve).catch(resolve));
        const { timestamp } = await server.put('a', { n: 1 });
        const heard = await told;
        const answers = [await server.get('a'), heard, (await server.scan('')).length, await server.del('a'), timestamp > 1e12];
        await server.runAntiEntropy();
        await server.close();
        require('node:fs').writeSync(1, JSON.stringify(answers));
      })();
    `);
    assert.equal(stdout, '[{"n":1},{"n":1},1,true,true]');
  });
}

test('close may be called at any time, and again', async (t) => {
  const here = stage(t);
  const never = await here.made('never');
  await Promise.all([never.close(), never.close()]);
  await assert.rejects(never.start(), { code: 'closed' });

  const early = await here.made('early', { durability: 'memory' });
  const starting = early.start();
  await early.close();
  await starting;
  await early.close();

  const failing = await here.made('failing', { port: early.port, durability: 'memory' });
  const other = await here.started('other', { port: early.port });
  const failed = assert.rejects(failing.start(), { code: 'listen_failed' });
  await failing.close();
  await failed;
  await other.close();
});

test('a start that failed can be tried again', async (t) => {
  const here = stage(t);
  const first = await here.made('a');
  await first.start();
  const second = await here.made('a');
  await assert.rejects(second.start(), { name: 'RejoinError', code: 'locked' });
  const third = await here.made('b', { port: first.port });
  await assert.rejects(third.start(), { code: 'listen_failed' });
  await first.close();
  await second.start();
  await third.start();
  assert.equal(await second.get('a'), null);
});

test('an address that others can reach needs a token', async (t) => {
  const server = await stage(t).made('a', { host: '0.0.0.0', durability: 'memory' });
  await assert.rejects(server.start(), /authToken/);
});

test('callbacks come while the process works, and closing leaves none behind', async (t) => {
  const here = stage(t);
  const a = await here.started('a');
  const b = await here.started('b', { peers: [url(a)] });
  await linked(b);
  let heard = 0;
  await b.subscribe('', () => heard++);
  const writes = Array.from({ length: 500 }, (_, n) => a.put(`n/${n}`, n));
  await eventually('some are heard', () => heard > 0);
  await b.close();
  const then = heard;
  await Promise.all(writes);
  await a.put('last', 1);
  assert.equal(heard, then);
});
