/**
 * Writes that are kept until the server has them: sent in order, each with a condition on what was seen when it was made.
 *
 * Invariants: a write is in the store before anybody is told so. It leaves the store only when the server has it, or
 * when the program says so: one that was refused is held, with what is there instead.
 */

import {
  ClosedError,
  ConflictError,
  InvalidRequestError,
  NotFoundError,
  PreconditionFailedError,
  QueueError,
} from '../errors.js';
import { BACKOFF_LEAST, QUEUE_CHARS_MAX, QUEUE_ITEMS_MAX, RECONNECT_MAX, SETTLED_MAX } from '../limits.js';
import { encodePath } from '../paths.js';
import { backoff, joined, sleep } from '../time.js';
import { isEqual, patched } from './equal.js';

/** In place of the etag of a state that is gone: no state has it. */
const REPLACED = 'replaced-since';

export class Queue {
  #store;
  #api;
  #emitter;
  #stringify;
  #items = [];
  #opened;
  #stop = new AbortController();
  #wake = new AbortController();
  #sending;
  /** Items made here that were not sent yet. All others were perhaps, by a process that is gone; and every one, where others
   * share the store. */
  #unsent = new Set();
  /** What writes that have left the queue have left behind, for those made on top of them: a condition, by item. */
  #settled = new Map();
  /** Outcomes that somebody in this process waits for, by item. */
  #outcomes = new Map();
  /** What is on its way into the store. */
  #arriving = [];
  #adding = Promise.resolve();
  #storing;
  #pending = 0;
  #stuck;

  /** `api` does the requests: `write`, `read`, `history`; and knows what was `seen`. */
  constructor({ store, api, emitter, stringify }) {
    this.#store = store;
    this.#api = api;
    this.#emitter = emitter;
    this.#stringify = stringify;
    this.#opened = this.#open();
    // Told to whoever writes, and as an event.
    this.#opened.catch((error) => emitter.emit('error', error));
  }

  /** Writes that are not sent yet; those that are held not counted. */
  get pending() {
    return this.#pending;
  }

  /** Why nothing is sent at present, other than that nobody answers; undefined when nothing is wrong. */
  get stuck() {
    return this.#stuck;
  }

  /** Resolves when the store is open; rejects when it cannot be. */
  get ready() {
    return this.#opened;
  }

  put(path, value, options) {
    return this.#add('put', path, value, options);
  }

  patch(path, value, options) {
    return this.#add('patch', path, value, options);
  }

  del(path, options) {
    return this.#add('delete', path, undefined, options);
  }

  /** The writes that wait, in order. */
  async items() {
    await this.#opened;
    return this.#items.filter((item) => item.state === 'pending').map(shown);
  }

  /** The writes that the server refused, and what is there instead. */
  async conflicts() {
    await this.#opened;
    return this.#items.filter((item) => item.state === 'held').map((item) => this.#conflict(item));
  }

  /** Tries to send now. */
  flush() {
    this.#wake.abort();
    this.#wake = new AbortController();
    this.#send();
  }

  /** Stops sending. What waits stays in the store. */
  async close() {
    this.#stop.abort(new ClosedError());
    await this.#adding;
    await this.#storing;
    await this.#sending;
    await this.#opened.catch(() => {});
    await this.#store.close();
    for (const [id, settle] of this.#outcomes) settle({ state: 'unknown', id });
    this.#outcomes.clear();
  }

  async #open() {
    let again = Promise.resolve();
    let isWaiting = false;
    await this.#store.open(() => {
      // What comes while one waits to be read is read with it.
      if (isWaiting) return;
      isWaiting = true;
      again = again
        .then(() => {
          isWaiting = false;
          return this.#reload();
        })
        .catch((error) => this.#emitter.emit('error', error));
    });
    await this.#reload();
  }

  /** Reads the store again: others may share it. */
  async #reload() {
    const before = new Set(this.#items.filter((item) => item.state === 'held').map((item) => item.id));
    await this.#refresh();
    for (const item of this.#items) {
      if (item.state === 'held' && !before.has(item.id)) this.#tellHeld(item);
    }
    const left = new Set(this.#items.map((item) => item.id));
    // Another one who shares the store has sent it.
    for (const id of this.#outcomes.keys()) if (!left.has(id)) this.#settle(id, { state: 'sent', id });
    this.#send();
  }

  /** Takes over what the store has. A store that answers at once is not waited for: what is added in between counts. */
  async #refresh() {
    const items = this.#store.items();
    this.#items = typeof items.then === 'function' ? await items : items;
    this.#count();
  }

  #count() {
    const pending = this.#items.filter((item) => item.state === 'pending').length;
    const isNew = pending !== this.#pending;
    this.#pending = pending;
    if (isNew) this.#emitter.emit('pending', pending);
    this.#emitter.emit('queue', { pending, held: this.#items.length - pending });
  }

  async #add(op, path, value, options = {}) {
    encodePath(path);
    // As text, and on what was seen so far: what the program does and sees while this waits is another matter.
    const text = op === 'delete' ? undefined : this.#stringify(value);
    if (op !== 'delete' && text === undefined) {
      throw new QueueError('invalid_json', 'The value cannot be written as JSON.', {
        path,
        hint: 'Write a value that JSON can hold; delete with `del`.',
      });
    }
    const etag = this.#api.seen(path);
    // In the order of calls; those that follow each other closely are stored together.
    const begun = this.#adding
      .then(() => this.#opened)
      .then(() => this.#begin(op, path, text, options, etag));
    const stored = begun.then(({ item, storing }) => this.#arrived(item, storing));
    this.#adding = begun.catch(() => {});
    this.#storing = Promise.all([this.#storing, stored.catch(() => {})]);
    return stored;
  }

  #begin(op, path, text, options, etag) {
    if (this.#stop.signal.aborted) throw new ClosedError();
    options.signal?.throwIfAborted();
    this.#checkRoom(path, text);
    const item = {
      id: newId(),
      op,
      path,
      ...(text === undefined ? {} : { json: text }),
      condition: this.#condition(path, options, etag),
      madeAt: Date.now(),
      state: 'pending',
    };
    this.#arriving.push(item);
    this.#unsent.add(item.id);
    return { item, storing: this.#store.append(item) };
  }

  async #arrived(item, storing) {
    try {
      await storing;
    } catch (error) {
      this.#unsent.delete(item.id);
      throw error;
    } finally {
      this.#arriving.splice(this.#arriving.indexOf(item), 1);
    }
    if (!this.#items.some(({ id }) => id === item.id)) this.#items.push(item);
    const outcome = new Promise((resolve) => {
      this.#outcomes.set(item.id, resolve);
    });
    this.#count();
    this.#send();
    return { ...shown(item), outcome };
  }

  #checkRoom(path, text) {
    const writes = this.#items.length + this.#arriving.length;
    let chars = text?.length ?? 0;
    for (const items of [this.#items, this.#arriving])
      for (const item of items) chars += item.json?.length ?? 0;
    if (writes < QUEUE_ITEMS_MAX && chars <= QUEUE_CHARS_MAX) return;
    throw new QueueError(
      'queue_full',
      `The queue holds ${writes} writes of ${chars} characters, which is as much as it may.`,
      {
        path,
        hint: 'Wait until some are sent, or settle those that are held.',
      },
    );
  }

  /** On what a write is made: what the program says, else the write before it on the same path, else what was seen. */
  #condition(path, { ifMatch, ifNoneMatch, context, after, unconditional }, etag) {
    const said = [ifMatch, ifNoneMatch, context, after, unconditional || undefined].filter(
      (one) => one !== undefined,
    );
    if (said.length > 1)
      throw new TypeError('Give one of `ifMatch`, `ifNoneMatch`, `context`, `after` and `unconditional`.');
    if (after !== undefined) return { after };
    if (ifMatch !== undefined) return { ifMatch };
    if (ifNoneMatch !== undefined) return { ifNoneMatch };
    if (context !== undefined) return { context };
    if (unconditional) return {};
    const isBefore = (item) => item.state === 'pending' && item.path === path;
    const before = this.#arriving.findLast(isBefore) ?? this.#items.findLast(isBefore);
    if (before) return { after: before.id };
    // A path that was not seen is taken for empty: whatever is there is not overwritten unseen.
    return etag ? { ifMatch: etag } : { ifNoneMatch: '*' };
  }

  #send() {
    if (this.#sending || this.#stop.signal.aborted) return;
    const { signal } = this.#stop;
    this.#sending = (async () => {
      let failures = 0;
      try {
        await this.#opened;
        while (this.#next() && !signal.aborted) {
          const error = await this.#store.exclusive(signal, () => this.#sendAll(signal));
          if (error === undefined) {
            failures = 0;
            continue;
          }
          failures += 1;
          this.#stuck = error;
          if (error.retryable !== true && failures === 1) this.#emitter.emit('error', error);
          // Not while others cannot send: they may reach the server.
          const waiting = joined([signal, this.#wake.signal]);
          await sleep(backoff(failures, BACKOFF_LEAST, RECONNECT_MAX), waiting.signal).catch(() => {});
          waiting.free();
        }
      } catch (error) {
        if (!signal.aborted) this.#emitter.emit('error', error);
      } finally {
        this.#sending = undefined;
      }
    })();
  }

  #next() {
    return this.#items.find((item) => item.state === 'pending');
  }

  /** Sends what waits; returns why it stopped early. */
  async #sendAll(signal) {
    // Others may have sent meanwhile.
    await this.#refresh();
    for (let item = this.#next(); item && !signal.aborted; item = this.#next()) {
      try {
        await this.#sendOne(item, signal);
      } catch (error) {
        if (error instanceof QueueError) throw error;
        return error;
      }
    }
    return undefined;
  }

  async #sendOne(item, signal) {
    const isUnsent = this.#unsent.delete(item.id) && !this.#store.isShared;
    const condition = await this.#resolved(item.condition);
    if (condition.lost) {
      await this.#hold(item, {
        error: 'based_on_held',
        message: 'The write before it on this path was not done as it was made.',
      });
      return;
    }
    let result;
    try {
      result = await this.#api.write({ ...item, condition }, signal);
    } catch (error) {
      if (error instanceof NotFoundError && item.op === 'delete') {
        await this.#sent(item, { path: item.path, deleted: true }, null);
      } else if (
        error instanceof PreconditionFailedError &&
        (!isUnsent || error.ambiguous) &&
        (await this.#isOurs(item, error, signal))
      ) {
        const etag = error.current ? error.current.etag : null;
        await this.#sent(
          item,
          { path: item.path, ...error.current, applied: true },
          this.#isNow(item, error) ? etag : undefined,
        );
      } else if (error instanceof PreconditionFailedError && item.op === 'delete' && !error.current) {
        // Somebody else deleted it: nothing is lost.
        await this.#sent(item, { path: item.path, deleted: true }, null);
      } else if (isFinal(error)) {
        await this.#hold(item, error.problem);
      } else {
        throw error;
      }
      return;
    }
    await this.#sent(item, result, item.op === 'delete' ? null : result.etag);
  }

  /** A condition that names a write before this one, as what that one has left. */
  async #resolved(condition) {
    if (condition.after === undefined) return condition;
    // Sent by this process, or by another one that shares the store.
    return (
      this.#settled.get(condition.after) ?? (await this.#store.left?.(condition.after)) ?? { lost: true }
    );
  }

  /** Whether what is there is what this item writes. */
  #isNow(item, error) {
    if (item.op === 'delete') return !error.current;
    if (!error.current) return false;
    const wanted = this.#api.parse(item.json);
    if (item.op === 'patch') return isEqual(patched(error.current.value, wanted), error.current.value);
    return isEqual(error.current.value, wanted);
  }

  /** Whether an earlier attempt, whose answer was lost, was done: it is there, or was until somebody replaced it. */
  async #isOurs(item, error, signal) {
    if (this.#isNow(item, error)) return true;
    if (item.op === 'patch') return false;
    const wanted = item.op === 'delete' ? undefined : this.#api.parse(item.json);
    if (
      item.op === 'put' &&
      error.current &&
      isEqual(patched(error.current.value, wanted), error.current.value)
    ) {
      // Under merge-fields, what is there may be more than what was written.
      const entry = await this.#api.entry(item.path, signal);
      if (entry?.strategy === 'merge-fields') return true;
    }
    const made = item.madeAt;
    const past = await this.#api.history(item.path, signal);
    return past.some(
      (version) =>
        version.timestamp >= made &&
        (item.op === 'delete'
          ? version.op === 'delete'
          : version.op === 'put' && isEqual(version.value, wanted)),
    );
  }

  /** `etag`: what the write has left; null for nothing; undefined when another write came since. */
  async #sent(item, result, etag) {
    const condition = etag === null ? { ifNoneMatch: '*' } : { ifMatch: etag ?? REPLACED };
    this.#left(item, condition);
    await this.#leave({
      removed: [item.id],
      changed: this.#following(item, condition),
      left: { id: item.id, condition },
    });
    this.#emitter.emit('sent', { item: shown(item), result });
    this.#settle(item.id, { state: 'sent', id: item.id, result });
  }

  async #hold(item, problem) {
    const held = { ...item, state: 'held', problem };
    this.#left(item, { lost: true });
    await this.#leave({
      changed: [held, ...this.#following(item, { lost: true })],
      left: { id: item.id, condition: { lost: true } },
    });
    this.#tellHeld(held);
  }

  #tellHeld(item) {
    const conflict = this.#conflict(item);
    this.#emitter.emit('conflict', conflict);
    this.#settle(item.id, { state: 'conflict', id: item.id, conflict });
  }

  async #leave(change) {
    this.#stuck = undefined;
    await this.#store.change(change);
    const { removed = [], changed = [] } = change;
    const left = this.#items.filter((item) => !removed.includes(item.id));
    this.#items = left.map((item) => changed.find(({ id }) => id === item.id) ?? item);
    this.#count();
  }

  #left(item, condition) {
    this.#settled.set(item.id, condition);
    if (this.#settled.size > SETTLED_MAX) this.#settled.delete(this.#settled.keys().next().value);
  }

  /** The write made on top of an item, with another condition. */
  #following(item, condition) {
    return this.#items
      .filter((other) => other.condition.after === item.id)
      .map((other) => ({ ...other, condition }));
  }

  #settle(id, outcome) {
    this.#outcomes.get(id)?.(outcome);
    this.#outcomes.delete(id);
  }

  /** What a program sees of a held write, and can do with it. */
  #conflict(item) {
    const { problem } = item;
    const current =
      problem.version === undefined
        ? undefined
        : {
            value: problem.value,
            etag: problem.etag,
            version: problem.version,
            timestamp: problem.timestamp,
          };
    const condition = current ? { ifMatch: current.etag } : { ifNoneMatch: '*' };
    const again = async (op, value, options) => {
      // First in the store, then away: a crash in between shows the conflict again, and loses nothing.
      const queued = await this.#add(
        op,
        item.path,
        value,
        options ?? (problem.error === 'precondition_failed' ? condition : undefined),
      );
      await this.#discard(item.id);
      return queued;
    };
    const value = item.json === undefined ? undefined : this.#api.parse(item.json);
    return {
      ...shown(item),
      value,
      error: problem.error,
      message: problem.message,
      hint: problem.hint,
      current,
      resolve: (merged, options) => again('put', merged, options),
      overwrite: (options) => again(item.op, value, options),
      discard: () => this.#discard(item.id),
    };
  }

  async #discard(id) {
    await this.#leave({ removed: [id] });
    this.#emitter.emit('discarded', { id });
  }
}

/** Whether sending it again can only end the same way. */
function isFinal(error) {
  return (
    error instanceof PreconditionFailedError ||
    error instanceof ConflictError ||
    (error instanceof InvalidRequestError && [400, 413, 415].includes(error.status))
  );
}

function shown({ id, op, path, json, madeAt, state }) {
  return { id, op, path, ...(json === undefined ? {} : { json }), madeAt, state };
}

function newId() {
  // Absent on pages without a secure context.
  return (
    globalThis.crypto?.randomUUID?.() ??
    `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}-${Math.random().toString(36).slice(2)}`
  );
}
