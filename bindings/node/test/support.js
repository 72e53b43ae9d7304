'use strict';

// What tests share: free ports, directories that go away, waiting for what must come.

const { mkdtempSync, rmSync } = require('node:fs');
const { createServer: createSocket } = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { createServer } = require('rejoin');

const DEADLINE_MS = 30_000;

/** A port that nobody listens on. */
function freePort() {
  return new Promise((resolve, reject) => {
    const socket = createSocket();
    socket.once('error', reject);
    socket.listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

/** Waits until something holds; what it gives is the answer. */
async function eventually(what, holds) {
  const started = Date.now();
  for (;;) {
    const answer = await holds();
    if (answer) return answer;
    if (Date.now() - started > DEADLINE_MS) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await sleep(5);
  }
}

/** The next warning of this package with that code. */
function warning(code) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no warning ${code} came`)), DEADLINE_MS);
    process.on('warning', function heard(warning) {
      if (warning.code !== code) return;
      clearTimeout(late);
      process.off('warning', heard);
      resolve(warning);
    });
  });
}

/** Directories and servers of one test; gone with it. */
function stage(t) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-'));
  const servers = [];
  t.after(async () => {
    await Promise.all(servers.map((server) => server.close()));
    rmSync(directory, { recursive: true, force: true });
  });
  const made = async (name, options = {}) => {
    const server = createServer({ port: await freePort(), dbPath: path.join(directory, name), ...options });
    servers.push(server);
    return server;
  };
  return {
    directory,
    /** A server that is not started. */
    made,
    /** A server that is. In memory: what these tests are about is not the disk. */
    started: async (name, options = {}) => {
      const server = await made(name, { durability: 'memory', ...options });
      await server.start();
      return server;
    },
  };
}

const url = (server) => `http://localhost:${server.port}`;

/** Waits until a server has a link to some peer. */
const linked = (server, peers = 1) =>
  eventually('the servers are linked', () => server.getConnectionStats().connected >= peers);

module.exports = { freePort, eventually, warning, stage, url, linked, sleep };
