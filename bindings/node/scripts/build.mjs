// Builds the native half for this machine and puts it beside the package: `npm run build`, or with --debug a quick build
// with assertions. Further arguments go to cargo.

import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { platform } = createRequire(import.meta.url)('../lib/native.js');
const here = fileURLToPath(new URL('..', import.meta.url));
const debug = process.argv.includes('--debug');
const further = process.argv.slice(2).filter((argument) => argument !== '--debug');
const cargo = process.env.CARGO ?? 'cargo';

const build = ['build', '--package', 'rejoin-nodejs', ...(debug ? [] : ['--release']), ...further];
const { status, error } = spawnSync(cargo, build, { cwd: here, stdio: 'inherit' });
if (error) throw new Error(`cannot run ${cargo}: ${error.message}. Install Rust: https://rustup.rs`);
if (status !== 0) process.exit(status ?? 1);

const metadata = execFileSync(cargo, ['metadata', '--format-version', '1', '--no-deps'], { cwd: here, maxBuffer: 1 << 26 });
const { target_directory: target } = JSON.parse(metadata);
const library = { win32: 'rejoin_nodejs.dll', darwin: 'librejoin_nodejs.dylib' }[process.platform] ?? 'librejoin_nodejs.so';
const addon = join(here, `rejoin.${platform()}.node`);
// Renamed into place: a process that has the old one mapped keeps it.
copyFileSync(join(target, debug ? 'debug' : 'release', library), `${addon}.new`);
renameSync(`${addon}.new`, addon);
console.log(`built ${addon}`);
