'use strict';

// The package as it is published, installed where there is no source tree.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { platform } = require('../lib/native.js');

const PACKAGE = path.join(__dirname, '..');

test('an installed package finds the binary of its platform, and says where it looked when there is none', (t) => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  execFileSync(process.execPath, [path.join(PACKAGE, 'scripts/layout.mjs')]);
  t.after(() => rmSync(path.join(PACKAGE, 'dist'), { recursive: true, force: true }));
  const native = `rejoin-${platform()}`;
  const modules = path.join(directory, 'node_modules');
  mkdirSync(modules);
  cpSync(path.join(PACKAGE, 'dist/rejoin'), path.join(modules, 'rejoin'), { recursive: true });

  const program = `
    const { createServer } = require('rejoin');
    const server = createServer({ port: 65535, durability: 'memory', host: '0.0.0.0' });
    server.start().catch((error) => console.log(error.code, error.message));`;
  const run = () => spawnSync(process.execPath, ['-e', program], { cwd: directory, encoding: 'utf8' }).stdout;
  const without = run();
  assert.match(without, new RegExp(`no native half for this platform \\(${platform()}\\)`));
  assert.ok(without.includes(native) && without.includes('npm run build'), without);

  cpSync(path.join(PACKAGE, 'dist', native), path.join(modules, native), { recursive: true });
  // The native half is what refuses to listen where others can reach it.
  assert.match(run(), /^invalid_config .*authToken/);

  const { optionalDependencies, dependencies } = JSON.parse(readFileSync(path.join(modules, 'rejoin/package.json'), 'utf8'));
  assert.equal(dependencies, undefined, 'nothing else is needed');
  assert.ok(native in optionalDependencies);
});

test('a program installs this directory with npm, as the README says, and runs', (t) => {
  const readme = readFileSync(path.join(PACKAGE, 'README.md'), 'utf8');
  const [, command] = /^(npm install \S*bindings\/node)\b/m.exec(readme);
  const directory = mkdtempSync(path.join(os.tmpdir(), 'rejoin-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(path.join(directory, 'package.json'), '{ "name": "program", "private": true }');
  const [npm, ...words] = command.split(' ');
  const given = words.map((word) => (word.endsWith('bindings/node') ? PACKAGE : word));
  execFileSync(npm, [...given, '--offline', '--no-audit', '--no-fund'], { cwd: directory, stdio: 'pipe', shell: process.platform === 'win32' });
  const program = `
    const { createServer } = require('rejoin');
    const server = createServer({ port: 65535, durability: 'memory', host: '0.0.0.0' });
    server.start().catch((error) => console.log(error.code));`;
  assert.equal(execFileSync(process.execPath, ['-e', program], { cwd: directory, encoding: 'utf8' }), 'invalid_config\n');
  const { dependencies } = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'));
  assert.match(dependencies.rejoin, /^file:/);
});

test('the lock file names no registry', () => {
  const lock = JSON.parse(readFileSync(path.join(PACKAGE, 'package-lock.json'), 'utf8'));
  for (const [name, { resolved }] of Object.entries(lock.packages)) assert.equal(resolved, undefined, name);
});
