'use strict';

// Whether memory stays where it is over many puts: the same 1,000 paths are written over and over, with subscribers and
// reads beside them. Run with: node --expose-gc bench/memory.js [--puts 1000000]

const { parseArgs } = require('node:util');
const { mkdtempSync, rmSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const net = require('node:net');
const { createServer } = require('rejoin');

const { values } = parseArgs({ options: { puts: { type: 'string', default: '1000000' } } });
const PUTS = Number(values.puts);
const PATHS = 1000;
const OPEN_MAX = 500;
const STEPS = 10;

/** Growth of what JavaScript holds, between the middle and the end, that is still steady: 1,000 writes under way, and ends. */
const SCRIPT_GROWTH_MAX_MIB = 4;

/** The same of the whole process. Looked at after so many puts only: until then the store fills its cache (64 MiB). */
const PROCESS_GROWTH_MAX_MIB = 32;
const PROCESS_PUTS_MIN = 500_000;

const freePort = () => new Promise((resolve) => {
  const socket = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = socket.address();
    socket.close(() => resolve(port));
  });
});

async function main() {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-memory-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const server = createServer({ port: await freePort(), dbPath: directory, durability: 'os' });
  await server.start();
  let heard = 0;
  await server.subscribe('', () => heard++);

  let [next, failed] = [0, 0];
  const text = 'x'.repeat(150);
  const sizes = [];
  const started = performance.now();
  for (let step = 1; step <= STEPS; step++) {
    const end = Math.floor((PUTS * step) / STEPS);
    const writer = async () => {
      while (next < end) {
        const n = next++;
        await server.put(`memory/${n % PATHS}`, { n, text });
        if (n % 10 === 0 && (await server.get(`memory/${n % PATHS}`)) === null) failed++;
      }
    };
    await Promise.all(Array.from({ length: OPEN_MAX }, writer));
    globalThis.gc?.();
    const { rss, heapUsed, external } = process.memoryUsage();
    sizes.push({ process: rss / 2 ** 20, script: (heapUsed + external) / 2 ** 20 });
    console.log(`${String(end).padStart(9)} puts: process ${(rss / 2 ** 20).toFixed(0)} MiB, JavaScript heap ${(heapUsed / 2 ** 20).toFixed(1)} MiB, external ${(external / 2 ** 20).toFixed(1)} MiB`);
  }
  const seconds = (performance.now() - started) / 1000;
  await server.close();
  const growth = (of) => sizes.at(-1)[of] - sizes[STEPS / 2 - 1][of];
  console.log(`${PUTS} puts in ${seconds.toFixed(1)} s (${Math.round(PUTS / seconds)} a second), ${heard} callbacks; the second half grew the process by ${growth('process').toFixed(1)} MiB, what JavaScript holds by ${growth('script').toFixed(1)} MiB`);
  if (failed > 0) throw new Error(`${failed} reads found nothing`);
  const grown = growth('script') > SCRIPT_GROWTH_MAX_MIB || (PUTS >= PROCESS_PUTS_MIN && growth('process') > PROCESS_GROWTH_MAX_MIB);
  if (grown) throw new Error('memory is not steady');
}

main();
