// Lays out what is published: the package of this platform with the native half, and the main package, which names the
// packages of all platforms as optional dependencies. Run after `npm run build`; publishes nothing.

import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { platform } = createRequire(import.meta.url)('../lib/native.js');

/** Platforms by name, with the conditions under which npm installs them. */
const PLATFORMS = {
  'linux-x64-gnu': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
  'linux-arm64-gnu': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
  'linux-x64-musl': { os: ['linux'], cpu: ['x64'], libc: ['musl'] },
  'darwin-x64': { os: ['darwin'], cpu: ['x64'] },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
  'win32-x64-msvc': { os: ['win32'], cpu: ['x64'] },
};

const here = fileURLToPath(new URL('..', import.meta.url));
const dist = join(here, 'dist');
const { scripts, devDependencies, ...main } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
const { version, license, engines } = main;
const write = (directory, json) => writeFileSync(join(directory, 'package.json'), `${JSON.stringify(json, null, 2)}\n`);

const name = platform();
if (!(name in PLATFORMS)) throw new Error(`${name} is not published: ${Object.keys(PLATFORMS).join(', ')} are`);
rmSync(dist, { recursive: true, force: true });

const native = join(dist, `rejoin-${name}`);
const addon = `rejoin.${name}.node`;
mkdirSync(native, { recursive: true });
copyFileSync(join(here, addon), join(native, addon));
const description = `The native half of rejoin for ${name}.`;
write(native, { name: `rejoin-${name}`, version, description, license, engines, ...PLATFORMS[name], main: addon, files: [addon] });

const whole = join(dist, 'rejoin');
mkdirSync(whole);
for (const part of main.files) cpSync(join(here, part), join(whole, part), { recursive: true });
write(whole, { ...main, optionalDependencies: Object.fromEntries(Object.keys(PLATFORMS).map((name) => [`rejoin-${name}`, version])) });
console.log(`laid out ${whole} and ${native}`);
