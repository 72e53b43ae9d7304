/** The package as others use it: its names, its two forms, its types, its README. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';

import * as browser from '../src/index.js';
import * as node from '../src/node.js';
import { Server, directory } from './server.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
if (!existsSync(join(root, 'dist'))) throw new Error('the CommonJS form is not built: npm run build');

/** A program elsewhere that has this package installed. */
async function installed(t) {
  const path = await directory(t);
  await mkdir(join(path, 'node_modules/@rejoin'), { recursive: true });
  await symlink(root, join(path, 'node_modules/@rejoin/client'));
  return path;
}

test('what the types declare is there, and nothing else', async () => {
  for (const [types, module, more] of [
    ['index', browser, []],
    ['node', node, Object.keys(browser)],
  ]) {
    const text = await readFile(join(root, `types/${types}.d.ts`), 'utf8');
    const declared = [...text.matchAll(/^export declare (?:class|function) (\w+)/gm)].map(([, name]) => name);
    assert.deepEqual(Object.keys(module).sort(), [...declared, ...more].sort(), types);
  }
});

test('the types hold what they promise', async () => {
  await run(process.execPath, [
    join(root, 'node_modules/typescript/bin/tsc'),
    '--project',
    join(root, 'test/types/tsconfig.json'),
  ]).catch((error) => assert.fail(error.stdout));
});

test('nothing but the package itself is needed', async () => {
  const { dependencies, peerDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  assert.doesNotMatch(
    await readFile(join(root, 'package-lock.json'), 'utf8'),
    /"resolved"/,
    'the lock file names no registry',
  );
});

test('the CommonJS form works where Node cannot require modules, and is the same one where it can', async (t) => {
  const server = await Server.start(t);
  const require = createRequire(import.meta.url);
  const built = require('../dist/src/node.js');
  assert.deepEqual(
    Object.keys(built)
      .filter((name) => name !== '__esModule')
      .sort(),
    Object.keys(node).sort(),
  );
  const client = built.createClient({ url: server.url, queue: built.memoryQueue() });
  await client.put('a', 1);
  assert.equal(await client.get('a'), 1);
  await client.close();

  const path = await installed(t);
  await writeFile(
    join(path, 'same.cjs'),
    `
    const { createClient, RejoinError } = require('@rejoin/client');
    import('@rejoin/client').then((module) => process.stdout.write(String(module.RejoinError === RejoinError)));
  `,
  );
  const { stdout } = await run(process.execPath, ['--no-warnings', 'same.cjs'], { cwd: path });
  assert.equal(stdout, process.features.require_module ? 'true' : 'false');
});

test('the first screen of the README runs as it stands', async (t) => {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const [, program] = readme.match(/```js\n([\s\S]*?)```/);
  const server = await Server.start(t);
  const path = await installed(t);
  assert.match(program, /http:\/\/127\.0\.0\.1:3000/);
  await writeFile(join(path, 'first.mjs'), program.replaceAll('http://127.0.0.1:3000', server.url));
  // Without --experimental-websocket: as a reader's Node is. It ends by itself.
  const { stdout } = await run(process.execPath, ['first.mjs'], { cwd: path, timeout: 30_000 });
  const [, shown] = readme.match(/```text\n([\s\S]*?)```/);
  assert.equal(stdout, shown);
});

test('it works in a worker', async (t) => {
  const server = await Server.start(t);
  const worker = new Worker(
    `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(async ({ createClient }) => {
      const client = createClient(workerData.url);
      await client.put('from/worker', [1, 2]);
      parentPort.postMessage(await client.scan('from/').toArray());
      await client.close();
    });
  `,
    { eval: true, workerData: { url: server.url, module: new URL('../src/index.js', import.meta.url).href } },
  );
  const message = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  assert.deepEqual(message, [{ path: 'from/worker', value: [1, 2] }]);
});

test('a program that closes its client ends by itself, also with a server that is gone', async (t) => {
  const path = await installed(t);
  await writeFile(
    join(path, 'end.mjs'),
    `
    import { createClient, fileQueue } from '@rejoin/client/node';
    const client = createClient({ url: 'http://127.0.0.1:9', queue: fileQueue('./queue'), attempts: 1 });
    client.subscribe('a', () => {});
    await client.queue.put('a', 1);
    await client.get('a').catch(() => {});
    await client.close();
  `,
  );
  await run(process.execPath, ['end.mjs'], { cwd: path, timeout: 30_000 });
});
