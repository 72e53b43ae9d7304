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

test('before the start and after the close everything is refused, with a reason', async (t) => {
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
  };
  for (const [name, call] of Object.entries(calls)) {
    await assert.rejects(call(server), { name: 'RejoinError', code: 'not_started', message: new RegExp(`^${name}: .*start`) }, name);
  }
  const starting = server.start();
  await assert.rejects(server.get('a'), { code: 'not_started' });
  await assert.rejects(server.start(), { code: 'not_started' });
  await starting;
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
