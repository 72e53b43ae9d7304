/** Real servers for tests: each on a port of its own, in a directory of its own, ended with its test. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const root = new URL('../../../', import.meta.url).pathname;

/** The program under test: REJOIN, or the debug build. A test without it fails. */
export const program =
  process.env.REJOIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug', 'rejoin');
if (!existsSync(program)) throw new Error(`${program} is not there: cargo build -p rejoin-cli`);

/** A directory that goes with the test. */
export async function directory(t) {
  const path = await mkdtemp(join(tmpdir(), 'rejoin-js-'));
  t.after(() => rm(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

/** A port that is free now. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class Server {
  #child;
  #directory;
  #port;
  #env;
  #flags;
  #log = [];

  /** Starts a node; `env` has REJOIN_* variables. */
  static async start(t, { env = {}, flags = [], durability = 'os', port } = {}) {
    const server = new Server();
    // Ends before its directory goes: what is to be done after a test is done in this order.
    t.after(() => server.kill());
    server.#directory = await directory(t);
    server.#port = port ?? (await freePort());
    server.#env = env;
    server.#flags = ['--durability', durability, ...flags];
    await server.up();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  get log() {
    return this.#log.join('\n');
  }

  /** Starts it again, on the same port and data. */
  async up() {
    const child = spawn(
      program,
      [
        'serve',
        '--listen',
        `127.0.0.1:${this.#port}`,
        '--data-dir',
        join(this.#directory, 'data'),
        ...this.#flags,
      ],
      { env: { PATH: process.env.PATH, ...this.#env }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child = child;
    const serves = new Promise((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          this.#log.push(line);
          if (line.includes(' serves ')) resolve();
        });
      }
      child.once('exit', (code, signal) =>
        reject(new Error(`the server ended (${code ?? signal}):\n${this.log}`)),
      );
      setTimeout(() => reject(new Error(`the server did not start in 30 s:\n${this.log}`)), 30_000).unref();
    });
    await serves;
  }

  /** Ends it in order. */
  async down() {
    await this.#end('SIGTERM');
  }

  /** Ends it as a power cut would, but for what the system holds. */
  async kill() {
    await this.#end('SIGKILL');
  }

  async #end(signal) {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}

/** Waits until `check` gives something true; fails with what it said last. */
export async function eventually(check, what, within = 20_000) {
  const until = Date.now() + within;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > until) throw new Error(`not within ${within} ms: ${what}`, { cause: last });
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
}

/** Resolves with the next event of this name. */
export function next(client, name, where = () => true) {
  return new Promise((resolve) => {
    const off = client.on(name, (event) => {
      if (!where(event)) return;
      off();
      resolve(event);
    });
  });
}
