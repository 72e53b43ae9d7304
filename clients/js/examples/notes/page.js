/**
 * Notes that several people edit at once. Each is one JSON document; every edit goes through the client's queue, on the
 * condition that nobody changed the note since this page showed it.
 */

import { createClient, indexedDBQueue } from './client/index.js';

const parameters = new URLSearchParams(location.search);
const node = parameters.get('node') ?? 'http://127.0.0.1:3000';
const client = createClient({
  url: node,
  queue: indexedDBQueue('notes'),
  token: parameters.get('token') ?? undefined,
});
const live = client.live('notes');

/** Time without typing after which an edit is kept, in ms. */
const TYPING_PAUSE = 300;
/** Longest time that an edit is shown after it was sent, until the feed tells of it, in ms. */
const ECHO_MAX = 2_000;

const $ = (id) => document.getElementById(id);
const cards = new Map();
/** What waits in the queue, by path, the newest of each. */
let waiting = new Map();
/** What was refused, by path. */
let refused = new Map();
/** What has left the queue and is not told by the feed yet. */
const echoes = new Map();

// What is shown.

const STATES = { connecting: 'Connecting…', online: 'Online', offline: 'Offline', closed: 'Closed' };

function showState() {
  $('state').textContent = STATES[client.state];
  $('state').dataset.state = client.state;
  $('pending').hidden = client.pending === 0;
  $('pending').textContent = `${client.pending} to send`;
  $('conflicts').hidden = refused.size === 0;
  $('conflicts').textContent = refused.size === 1 ? '1 conflict' : `${refused.size} conflicts`;
}

function showProblem(error) {
  $('problem').hidden = false;
  $('problem').textContent = [error.message, error.hint].filter(Boolean).join(' ');
}

/** The note at a path as this page shows it: what waits here lies over what the node has. */
function noteAt(path) {
  const over = waiting.get(path) ?? echoes.get(path);
  if (over) return over.op === 'delete' ? undefined : JSON.parse(over.json);
  return live.get(path);
}

function show() {
  showState();
  const paths = new Set([
    ...live.entries().map(({ path }) => path),
    ...waiting.keys(),
    ...echoes.keys(),
    ...refused.keys(),
  ]);
  for (const path of cards.keys()) if (!paths.has(path)) paths.add(path);
  const shown = [];
  for (const path of paths) {
    const note = noteAt(path);
    if (note === undefined && !refused.has(path)) {
      cards.get(path)?.element.remove();
      cards.delete(path);
      continue;
    }
    const card = cards.get(path) ?? newCard(path);
    card.show(note);
    shown.push(card);
  }
  shown.sort((a, b) => b.created - a.created || (a.path < b.path ? -1 : 1));
  shown.forEach(({ element }, at) => {
    if ($('notes').children[at] !== element) $('notes').insertBefore(element, $('notes').children[at]);
  });
  $('empty').hidden = shown.length > 0;
}

// One note.

function newCard(path) {
  const element = $('card').content.firstElementChild.cloneNode(true);
  const part = (name) => element.querySelector(`.${name}`);
  const card = { path, element, created: 0, show: update, told };
  /** What the fields were last filled with, and the state of the node that it was. */
  let filled;
  let base;
  let isDirty = false;
  let timer;
  /** Edits so far, and the queued write of the last one that was kept. */
  let edits = 0;
  let last;

  function update(note) {
    const conflicts = refused.get(path);
    card.created = note?.created ?? card.created;
    if (note && !isDirty) fill(note);
    if (!isDirty && !waiting.has(path) && !echoes.has(path)) base = live.entry(path)?.etag ?? null;
    const state = conflicts ? 'conflict' : waiting.has(path) || isDirty ? 'pending' : 'saved';
    element.dataset.state = state;
    part('saved').textContent = {
      conflict: 'Yours is not sent',
      pending: client.state === 'online' ? 'Saving…' : 'Kept here, not sent yet',
      saved: 'Saved',
    }[state];
    part('json').textContent = JSON.stringify(note ?? null, null, 2);
    part('conflict').hidden = !conflicts;
    if (!conflicts) return;
    const theirs = live.get(path);
    const yours = conflicts.at(-1);
    part('theirs').textContent = theirs ? words(theirs) : '(deleted)';
    part('yours').textContent = yours.op === 'delete' ? '(deleted)' : words(yours.value);
    part('take-both').hidden = !theirs || yours.op === 'delete';
  }

  function fill(note) {
    filled = note;
    element.classList.toggle('is-done', note.done === true);
    part('done').checked = note.done === true;
    for (const name of ['title', 'text']) {
      // Setting it moves the cursor, even to the same text.
      if (part(name).value !== (note[name] ?? '')) part(name).value = note[name] ?? '';
    }
  }

  /** The feed tells of this note: perhaps of the very edit that the fields show, or on top of which somebody types. */
  function told(entry) {
    if (entry && JSON.stringify(entry.value) === JSON.stringify(filled)) base = entry.etag;
  }

  function edited() {
    isDirty = true;
    edits += 1;
    update(noteAt(path));
    clearTimeout(timer);
    timer = setTimeout(save, TYPING_PAUSE);
  }

  async function save() {
    const before = edits;
    const note = {
      ...filled,
      title: part('title').value,
      text: part('text').value,
      done: part('done').checked,
    };
    filled = note;
    const write = await queued(client.queue.put(path, note, over()));
    last = write.id;
    // On top of this edit comes the next one.
    void write.outcome.then(({ result }) => {
      if (last === write.id && result?.etag) base = result.etag;
    });
    if (edits === before) isDirty = false;
    await refresh();
  }

  /** Over the edit before it, if that one waits; else over the state that this page showed. */
  function over() {
    const before = waiting.get(path);
    return before ? { after: before.id } : condition(base);
  }

  async function settle(choose) {
    const conflicts = refused.get(path);
    const entry = live.entry(path);
    await queued(choose(conflicts.at(-1), entry?.value, condition(entry?.etag)));
    // Those before it are settled with it.
    await Promise.all(conflicts.map((conflict) => conflict.discard()));
    isDirty = false;
    await refresh();
  }

  for (const name of ['title', 'text']) part(name).addEventListener('input', edited);
  part('done').addEventListener('change', edited);
  part('remove').addEventListener('click', async () => {
    clearTimeout(timer);
    isDirty = false;
    await queued(client.queue.del(path, over()));
    await refresh();
    $('title').focus();
  });
  part('take-theirs').addEventListener('click', () => settle(async () => {}));
  part('take-yours').addEventListener('click', () => settle((yours, _theirs, over) => yours.overwrite(over)));
  part('take-both').addEventListener('click', () =>
    settle((yours, theirs, over) =>
      yours.resolve(
        {
          ...theirs,
          title: theirs.title,
          text: [theirs.text, yours.value.text].filter(Boolean).join('\n———\n'),
        },
        over,
      ),
    ),
  );
  cards.set(path, card);
  return card;
}

const words = (note) => [note.title, note.text].filter(Boolean).join('\n');
const condition = (etag) => (etag ? { ifMatch: etag } : { ifNoneMatch: '*' });

async function queued(write) {
  try {
    const done = await write;
    $('problem').hidden = true;
    return done;
  } catch (error) {
    showProblem(error);
    throw error;
  }
}

// What happens.

let refreshing;

/** Reads the queue again, and shows everything. Calls that come meanwhile share one more round. */
function refresh() {
  refreshing ??= (async () => {
    await undefined;
    const [items, conflicts, others] = await Promise.all([
      client.queue.items(),
      client.queue.conflicts(),
      client.queue.refused(),
    ]);
    refreshing = undefined;
    const before = waiting;
    waiting = new Map(items.map((item) => [item.path, item]));
    refused = new Map();
    // Refused for another reason: the same choice, and the reason is told when it happens.
    for (const conflict of [...conflicts, ...others.map((one) => ({ ...one, overwrite: one.retry }))])
      refused.set(conflict.path, [...(refused.get(conflict.path) ?? []), conflict]);
    for (const [path, item] of before) {
      // It was sent; the feed tells of it in a moment.
      if (!waiting.has(path) && !refused.has(path)) echo(path, item);
    }
    show();
  })();
  return refreshing;
}

function echo(path, item) {
  if (live.get(path) !== undefined && JSON.stringify(live.get(path)) === item.json) return;
  echoes.set(path, item);
  setTimeout(() => {
    if (echoes.get(path) === item) echoes.delete(path);
    show();
  }, ECHO_MAX);
}

live.on('change', ({ path, entry }) => {
  echoes.delete(path);
  cards.get(path)?.told(entry);
  show();
});
live.on('error', showProblem);
client.on('state', show);
client.on('queue', refresh);
client.on('refused', showProblem);
client.on('stalled', showProblem);
client.on('error', showProblem);
$('node').textContent = node;
$('new').addEventListener('submit', async (event) => {
  event.preventDefault();
  const title = $('title').value.trim();
  if (!title) return;
  const created = Date.now();
  const id = `${created.toString(36)}${Math.random().toString(36).slice(2, 8)}`;
  await queued(
    client.queue.put(`notes/${id}`, { title, text: '', done: false, created }, { ifNoneMatch: '*' }),
  );
  $('title').value = '';
  await refresh();
});
void refresh();
