/** The CommonJS form: the sources, module for module, through the TypeScript compiler; and the types beside it. */

import { execFileSync } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(
  process.execPath,
  [
    `${root}node_modules/typescript/bin/tsc`,
    '--allowJs',
    '--module',
    'commonjs',
    '--moduleResolution',
    'node10',
    '--target',
    'es2022',
    '--skipLibCheck',
    '--rootDir',
    `${root}src`,
    '--outDir',
    `${root}dist/src`,
    `${root}src/node.js`,
  ],
  { stdio: 'inherit' },
);
cpSync(`${root}types`, `${root}dist/types`, { recursive: true });
writeFileSync(`${root}dist/package.json`, '{ "type": "commonjs" }\n');
