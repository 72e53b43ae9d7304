'use strict';

// Finds the native half: a local build beside this package, or the package with the prebuilt one for this platform.

const path = require('node:path');

/** The name of this platform, as in `rejoin-linux-x64-gnu`. */
function platform() {
  const { platform, arch } = process;
  if (platform === 'linux') {
    // The report is the only place where Node.js says which C library it runs on.
    const { excludeNetwork } = process.report;
    // It would look names up otherwise.
    process.report.excludeNetwork = true;
    const { glibcVersionRuntime } = process.report.getReport().header;
    process.report.excludeNetwork = excludeNetwork;
    return `linux-${arch}-${glibcVersionRuntime ? 'gnu' : 'musl'}`;
  }
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`;
}

function load() {
  const name = platform();
  const places = [path.join(__dirname, '..', `rejoin.${name}.node`), `rejoin-${name}`];
  const reasons = [];
  for (const place of places) {
    try {
      return require(place);
    } catch (error) {
      reasons.push(`  ${place}: ${error.code === 'MODULE_NOT_FOUND' ? 'not there' : error.message}`);
    }
  }
  throw new Error(
    `rejoin has no native half for this platform (${name}). Looked at:\n${reasons.join('\n')}\n` +
      `Build it with a Rust toolchain: \`npm run build\` in bindings/node of the source tree.`,
  );
}

module.exports = { load, platform };
