'use strict';

// Fourteen servers in one process, on disk: how long they take to start, to show a write everywhere, and to close.
// Run with: node bench/network.js

const { mkdtempSync, rmSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const net = require('node:net');
const { createServer } = require('rejoin');

const SERVERS = 14;
const WRITES = 20;

async function freePorts(count) {
  const sockets = await Promise.all(Array.from({ length: count }, () => new Promise((resolve) => {
    const socket = net.createServer().listen(0, '127.0.0.1', () => resolve(socket));
  })));
  const ports = sockets.map((socket) => socket.address().port);
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.close(resolve))));
  return ports;
}

const tick = () => new Promise((resolve) => setTimeout(resolve, 1));

async function timed(work) {
  const started = performance.now();
  await work();
  return Math.round(performance.now() - started);
}

async function main() {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-network-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const ports = await freePorts(SERVERS);
  const url = (n) => `http://localhost:${ports[n]}`;
  // A tree, with a few links across.
  const peers = (n) => (n === 0 ? [] : [url((n - 1) >> 1), ...(n > 6 ? [url(n - 4)] : [])]);
  const servers = ports.map((port, n) => createServer({ port, dbPath: path.join(directory, String(n)), peers: peers(n) }));

  console.log(`${SERVERS} servers started in ${await timed(() => Promise.all(servers.map((server) => server.start())))} ms`);
  const linked = () => servers.every((server) => server.getConnectionStats().connected > 0);
  console.log(`linked in ${await timed(async () => { while (!linked()) await tick(); })} ms more`);
  const times = [];
  for (let n = 0; n < WRITES; n++) {
    times.push(await timed(async () => {
      await servers[n % SERVERS].put(`from/${n}`, n);
      await Promise.all(servers.map(async (server) => { while ((await server.get(`from/${n}`)) !== n) await tick(); }));
    }));
  }
  times.sort((a, b) => a - b);
  console.log(`a write was visible everywhere in ${times[WRITES >> 1]} ms (median of ${WRITES}), ${times.at(-1)} ms at most`);
  console.log(`closed in ${await timed(() => Promise.all(servers.map((server) => server.close())))} ms`);
}

main();
