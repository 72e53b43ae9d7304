/**
 * Serves this page and the client's sources on 127.0.0.1, and nothing else: `node serve.js [port]`, port 8080 by default.
 *
 * The node must welcome pages of this address: REJOIN_AUTH_ALLOWED_ORIGINS=http://127.0.0.1:8080 rejoin serve
 */

import { readFile, realpath } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const SOURCES = fileURLToPath(new URL('../../src/', import.meta.url));
const TYPES = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml' };

async function find(path) {
  const [root, rest] = path.startsWith('/client/')
    ? [SOURCES, path.slice(8)]
    : [HERE, path === '/' ? 'index.html' : path.slice(1)];
  const type = TYPES[extname(rest)];
  const file = await realpath(join(root, rest));
  if (!type || !file.startsWith((await realpath(root)) + sep)) throw new Error('not of this page');
  return { type, body: await readFile(file) };
}

const server = createServer(async (request, response) => {
  try {
    const { type, body } = await find(decodeURIComponent(new URL(request.url, 'http://localhost').pathname));
    response.writeHead(200, {
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'no-cache',
      'x-content-type-options': 'nosniff',
    });
    response.end(body);
  } catch {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('There is nothing here.\n');
  }
});
server.listen(Number(process.argv[2] ?? 8080), '127.0.0.1', () => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  console.log(
    `The page is at ${origin}/ and expects a node at http://127.0.0.1:3000 (?node=URL for another one):`,
  );
  console.log(`  REJOIN_AUTH_ALLOWED_ORIGINS=${origin} rejoin serve`);
});
