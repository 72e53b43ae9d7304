'use strict';

// What the examples share, so that they run anywhere, clean up after themselves and fail when a claim does not hold.

const assert = require('node:assert/strict');
const { mkdtempSync, rmSync } = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const DEADLINE_MS = 30_000;

/** Runs an example with a directory of its own, which goes with it. */
async function example(run) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-example-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  await run((name) => path.join(directory, name));
  console.log('\nDone.');
}

/** As many ports that nobody uses. Your own servers have ports that you choose. */
async function freePorts(count) {
  const sockets = await Promise.all(Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const socket = net.createServer().once('error', reject);
    socket.listen(0, '127.0.0.1', () => resolve(socket));
  })));
  const ports = sockets.map((socket) => socket.address().port);
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.close(resolve))));
  return ports;
}

/** Waits until something holds. */
async function until(what, holds) {
  const started = Date.now();
  while (!(await holds())) {
    assert.ok(Date.now() - started < DEADLINE_MS, `not within ${DEADLINE_MS / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Says something that is so, or ends the example. */
function check(claim, actual, expected) {
  assert.deepEqual(actual, expected, claim);
  console.log(`  ✓ ${claim}`);
}

module.exports = { example, freePorts, until, check };
