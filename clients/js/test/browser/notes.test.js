/** The example page in a real Chromium: tabs that edit together, offline, and against each other. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createClient } from '../../src/index.js';
import { Server, eventually, freePort } from '../server.js';
import { profile } from './chromium.js';

/** Where to leave pictures; nowhere unless told. */
const PICTURES = process.env.REJOIN_PICTURES;

/** The page's server, a node that welcomes its pages, and a client beside them. */
async function setUp(t, env = {}) {
  const port = await freePort();
  const site = spawn(
    process.execPath,
    [fileURLToPath(new URL('../../examples/notes/serve.js', import.meta.url)), String(port)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.after(async () => {
    site.kill();
    await once(site, 'exit');
  });
  await once(createInterface({ input: site.stdout }), 'line');
  const origin = `http://127.0.0.1:${port}`;
  const node = await Server.start(t, { env: { REJOIN_AUTH_ALLOWED_ORIGINS: origin, ...env } });
  const client = createClient({ url: node.url, token: env.REJOIN_AUTH_TOKEN });
  t.after(() => client.close());
  const token = env.REJOIN_AUTH_TOKEN ? `&token=${env.REJOIN_AUTH_TOKEN}` : '';
  return { origin, node, client, url: `${origin}/?node=${encodeURIComponent(node.url)}${token}` };
}

const failures = [];

async function open(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on('pageerror', (error) => failures.push(error));
  await page.goto(url);
  await page.locator('#state[data-state="online"]').waitFor();
  return page;
}

async function picture(page, name, options = {}) {
  if (!PICTURES) return;
  await mkdir(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`), ...options });
}

async function addNote(page, title) {
  await page.getByLabel('New note').fill(title);
  await page.getByRole('button', { name: 'Add' }).click();
  // The newest comes first.
  await shows(page.getByLabel('Title').first(), title);
}

const text = (page, at = 0) => page.getByLabel('Text').nth(at);
const shows = (locator, value) =>
  eventually(async () => (await locator.inputValue()) === value, `the field shows ${value}`);

test('an edit in one tab shows in the other, as it is typed', async (t) => {
  const { url, client } = await setUp(t);
  const context = await profile(t);
  const [one, two] = [await open(context, url), await open(context, url)];
  await addNote(one, 'Groceries');
  await shows(two.getByLabel('Title').first(), 'Groceries');
  await text(one).pressSequentially('milk, bread', { delay: 30 });
  await shows(text(two), 'milk, bread');
  await text(two).press('End');
  await text(two).pressSequentially(', apples', { delay: 30 });
  await shows(text(one), 'milk, bread, apples');
  await two.getByLabel('Done').check();
  await eventually(() => one.getByLabel('Done').isChecked(), 'it is done in the other tab');
  await addNote(two, 'Summer plans');
  await text(two).fill('Rent a boat in August.\nAsk Alice about the cabin.');
  await shows(text(one), 'Rent a boat in August.\nAsk Alice about the cabin.');
  await eventually(async () => (await one.getByText('Saved').count()) === 2, 'everything is saved');
  await picture(one, 'two-tabs-one');
  await picture(two, 'two-tabs-two');
  const notes = await client.scan('notes/').toArray();
  assert.deepEqual(
    notes.map(({ value }) => [value.title, value.text, value.done]),
    [
      ['Groceries', 'milk, bread, apples', true],
      ['Summer plans', 'Rent a boat in August.\nAsk Alice about the cabin.', false],
    ],
  );
  assert.equal(
    (await one.locator('.conflict:visible').count()) + (await two.locator('.conflict:visible').count()),
    0,
    'typing makes no conflicts with itself',
  );
  await one.getByRole('button', { name: 'Delete this note' }).first().click();
  await eventually(async () => (await two.locator('.card').count()) === 1, 'it is gone in the other tab');
  assert.deepEqual(failures.splice(0), []);
});

test('offline edits of two tabs are shown, outlive a tab, and are sent once when the node is back', async (t) => {
  const { url, client, node } = await setUp(t);
  const context = await profile(t);
  const [one, two] = [await open(context, url), await open(context, url)];
  await addNote(one, 'Groceries');
  await shows(two.getByLabel('Title').first(), 'Groceries');
  await one.getByText('Saved').waitFor();
  await node.kill();
  for (const page of [one, two]) await page.locator('#state[data-state="offline"]').waitFor();
  await text(one).fill('milk');
  // The tabs share the queue: they show each other's edits while nobody else can.
  await shows(text(two), 'milk');
  await text(two).fill('milk and bread');
  await shows(text(one), 'milk and bread');
  await addNote(two, 'Written offline');
  await one.getByText('3 to send').waitFor();
  await picture(one, 'offline');
  // A tab that is closed takes nothing with it.
  await two.close();
  await node.up();
  await one.locator('#state[data-state="online"]').waitFor();
  await one.locator('#pending').waitFor({ state: 'hidden' });
  const notes = await client.scan('notes/').toArray();
  assert.deepEqual(
    notes.map(({ value }) => [value.title, value.text]),
    [
      ['Groceries', 'milk and bread'],
      ['Written offline', ''],
    ],
  );
  const past = await client.history(notes[0].path).toArray();
  assert.deepEqual(
    past.map(({ value }) => value.text),
    ['milk', ''],
    'each edit was sent once, in order',
  );
  assert.deepEqual(await client.history(notes[1].path).toArray(), []);
  const again = await open(context, url);
  await shows(text(again, 1), 'milk and bread');
  assert.equal(await again.locator('.conflict:visible').count(), 0);
  assert.deepEqual(failures.splice(0), []);
});

test('what two people write to one note while one is offline is a conflict, shown and settled', async (t) => {
  const { url, client } = await setUp(t);
  const [alice, bob] = [await profile(t), await profile(t)];
  const [one, two] = [await open(alice, url), await open(bob, url)];
  await addNote(one, 'Summer plans');
  await shows(two.getByLabel('Title').first(), 'Summer plans');
  await one.getByText('Saved').waitFor();
  await alice.setOffline(true);
  await one.locator('#state[data-state="offline"]').waitFor();
  await text(one).fill('A boat in August.');
  await one.getByText('1 to send').waitFor();
  await text(two).fill('A cabin in July.');
  await eventually(
    async () => (await client.scan('notes/').toArray())[0].value.text === 'A cabin in July.',
    'the other one has written',
  );
  await alice.setOffline(false);
  await one.getByText('1 conflict').waitFor();
  const conflict = one.locator('.conflict');
  assert.match(await conflict.locator('.theirs').innerText(), /A cabin in July\./);
  assert.match(await conflict.locator('.yours').innerText(), /A boat in August\./);
  assert.equal(
    (await client.scan('notes/').toArray())[0].value.text,
    'A cabin in July.',
    'nothing was overwritten',
  );
  await picture(one, 'conflict');
  // It is still there after the page was loaded again.
  await one.reload();
  await one.getByText('1 conflict').waitFor();
  await one.getByRole('button', { name: 'Keep both' }).click();
  const both = 'A cabin in July.\n———\nA boat in August.';
  for (const page of [one, two]) await shows(text(page), both);
  await one.locator('#conflicts').waitFor({ state: 'hidden' });
  assert.equal((await client.scan('notes/').toArray())[0].value.text, both);
  assert.deepEqual(failures.splice(0), []);
});

test('a token opens the feed of a page, too', async (t) => {
  const { url, client } = await setUp(t, { REJOIN_AUTH_TOKEN: 'a/token+of==the.server' });
  const context = await profile(t);
  const page = await context.newPage();
  const sockets = [];
  page.on('websocket', (socket) => sockets.push(socket));
  await page.goto(url.replace('a/token+of==the.server', encodeURIComponent('a/token+of==the.server')));
  await page.locator('#state[data-state="online"]').waitFor();
  await client.put('notes/a', { title: 'From elsewhere', text: '', done: false, created: 1 });
  await shows(page.getByLabel('Title').first(), 'From elsewhere');
  assert.equal(sockets.length, 1);
  assert.equal(sockets[0].isClosed(), false);
});

test('the client works in a worker of a page, with a queue of its own', async (t) => {
  const { origin, node, client } = await setUp(t);
  const context = await profile(t);
  const page = await context.newPage();
  await page.goto(origin);
  const seen = await page.evaluate(async (url) => {
    const program = `
      import { createClient, indexedDBQueue } from '${location.origin}/client/index.js';
      const client = createClient({ url: '${url}', queue: indexedDBQueue('worker') });
      const live = await client.live('from').ready();
      const told = new Promise((resolve) => live.on('change', resolve));
      const { outcome } = await client.queue.put('from/worker', { n: 1 });
      const { state } = await outcome;
      const { value } = await told;
      postMessage({ state, value, reach: client.state });
      await client.close();
    `;
    const worker = new Worker(URL.createObjectURL(new Blob([program], { type: 'text/javascript' })), {
      type: 'module',
    });
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    });
  }, node.url);
  assert.deepEqual(seen, { state: 'sent', value: { n: 1 }, reach: 'online' });
  assert.deepEqual(await client.get('from/worker'), { n: 1 });
});

test('a page whose origin is not allowed is told so, as far as a browser lets it', async (t) => {
  const { url } = await setUp(t, { REJOIN_AUTH_ALLOWED_ORIGINS: 'http://elsewhere.example' });
  const context = await profile(t);
  const page = await context.newPage();
  await page.goto(url);
  await page.locator('#state[data-state="offline"]').waitFor();
});
