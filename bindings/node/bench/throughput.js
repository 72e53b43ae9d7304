'use strict';

// Puts and gets a second through the package. `cargo run --release --package rejoin --example throughput` measures the same
// through the Rust API. Run with: node bench/throughput.js [--durability os] [--seconds 3]

const { parseArgs } = require('node:util');
const { mkdtempSync, rmSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const net = require('node:net');
const { createServer } = require('rejoin');

const { values } = parseArgs({ options: { durability: { type: 'string' }, seconds: { type: 'string', default: '3' } } });
const SECONDS = Number(values.seconds);
const PATHS = 10_000;
const TEXT = 'x'.repeat(180);

const freePort = () => new Promise((resolve) => {
  const socket = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = socket.address();
    socket.close(() => resolve(port));
  });
});

/** Calls a second with that many at a time. */
async function rate(open, call) {
  let [done, running] = [0, true];
  const started = performance.now();
  const worker = async (first) => {
    for (let n = first; running; n += open) {
      await call(`bench/${n % PATHS}`, n);
      done++;
    }
  };
  const workers = Array.from({ length: open }, (_, first) => worker(first));
  setTimeout(() => (running = false), SECONDS * 1000);
  await Promise.all(workers);
  return Math.round(done / ((performance.now() - started) / 1000));
}

async function main() {
  for (const durability of values.durability ? [values.durability] : ['disk', 'os', 'memory']) {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-bench-'));
    const server = createServer({ port: await freePort(), dbPath: directory, durability });
    await server.start();
    for (const open of [1, 64, 1000]) {
      const puts = await rate(open, (path, n) => server.put(path, { n, text: TEXT }));
      const gets = await rate(open, (path) => server.get(path));
      console.log(`package, durability ${durability.padEnd(6)}, ${String(open).padStart(4)} at a time: ${puts} puts/s, ${gets} gets/s`);
    }
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

main();
