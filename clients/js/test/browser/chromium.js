/** A real Chromium for tests: REJOIN_CHROMIUM, or the one of the system. A test without it fails. */

import { existsSync } from 'node:fs';

import { chromium } from 'playwright-core';

import { directory } from '../server.js';

const executablePath =
  process.env.REJOIN_CHROMIUM ??
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
if (!executablePath)
  throw new Error('there is no Chromium: apt-get install chromium, or name one in REJOIN_CHROMIUM');

/** A browser profile of its own. */
export async function profile(t, options = {}) {
  let context;
  // Ends before its directory goes.
  t.after(() => context?.close());
  context = await chromium.launchPersistentContext(await directory(t), {
    executablePath,
    headless: true,
    viewport: { width: 960, height: 720 },
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
    ...options,
  });
  return context;
}
