/**
 * Writes that are kept until the server has them: sent in order, each with a condition on what was seen when it was made.
 *
 * Invariants: a write is in the store before anybody is told so. It leaves the store only when the server has it, or
 * when the program says so: one over which there is a conflict, or that was refused, is held. No single write holds those
 * behind it up for ever.
 */

import {
  AGAIN,
  ClosedError,
  ConflictError,
  FINAL,
  NotFoundError,
  PreconditionFailedError,
  ProblemError,
  QueueError,
  fateOfError,
} from '../errors.js';
import { newKey } from '../keys.js';
import {
  BACKOFF_LEAST,
  QUEUE_CHARS_MAX,
  QUEUE_ITEMS_MAX,
  QUEUE_RETRY_AFTER_MAX,
  QUEUE_TRIES_MAX,
  RECONNECT_MAX,
  SETTLED_MAX,
} from '../limits.js';
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
  /** Attempts at the write that is first, as far as they ended without an answer. */
  #tries = { id: undefined, count: 0 };

  /** `api` does the requests: `write`, `entry`, `history`, and `sign` of life; and knows what was `seen`. */
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

  /** The writes that were not done because somebody else's state is there, with that state. */
  async conflicts() {
    await this.#opened;
    return this.#items.filter(isConflict).map((item) => this.#conflict(item));
  }

  /** The writes that were refused for another reason, whoever refused: by the node, or by something before it. */
  async refused() {
    await this.#opened;
    return this.#items.filter(isRefused).map((item) => this.#refused(item));
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
    const held = this.#items.length - pending;
    this.#emitter.emit('queue', { pending, held, refused: this.#items.filter(isRefused).length });
  }

  /** `as`: a write that was set aside and is made once more, over what it was made over. */
  async #add(op, path, value, options = {}, as = undefined) {
    encodePath(path);
    // As text, and on what was seen so far: what the program does and sees while this waits is another matter.
    const text = as ? as.json : op === 'delete' ? undefined : this.#stringify(value);
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
      .then(() => this.#begin(op, path, text, options, etag, as));
    const stored = begun.then(({ item, storing }) => this.#arrived(item, storing));
    this.#adding = begun.catch(() => {});
    this.#storing = Promise.all([this.#storing, stored.catch(() => {})]);
    return stored;
  }

  #begin(op, path, text, options, etag, as) {
    if (this.#stop.signal.aborted) throw new ClosedError();
    options.signal?.throwIfAborted();
    this.#checkRoom(path, text);
    const item = {
      id: newKey(),
      op,
      path,
      ...(text === undefined ? {} : { json: text }),
      condition: as ? as.condition : this.#condition(path, options, etag),
      madeAt: as ? as.madeAt : Date.now(),
      state: 'pending',
    };
    this.#arriving.push(item);
    if (!as) this.#unsent.add(item.id);
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
          const asked = Math.min(error.retryAfter ?? 0, QUEUE_RETRY_AFTER_MAX);
          const pause = Math.max(asked, backoff(failures, BACKOFF_LEAST, RECONNECT_MAX));
          await sleep(pause, waiting.signal).catch(() => {});
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
      if (error instanceof NotFoundError && error.code === 'not_found' && item.op === 'delete') {
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
      } else if (error.code === 'idempotency_key_reused') {
        // Nobody else has this key: an earlier attempt was done, over what it was made over then.
        await this.#sent(item, { path: item.path, applied: true }, undefined);
      } else if (isOverState(error)) {
        await this.#hold(item, { ...error.problem, status: error.status });
      } else if (await this.#isForGood(item, error, signal)) {
        await this.#setAside({ ...item, condition }, error);
      } else {
        throw error;
      }
      return;
    }
    await this.#sent(item, result, item.op === 'delete' ? null : result.etag);
  }

  /** Whether this write would be refused again, while others may pass. */
  async #isForGood(item, error, signal) {
    const fate = fateOfError(error);
    if (fate === AGAIN) {
      this.#tries = { id: item.id, count: this.#tries.id === item.id ? this.#tries.count + 1 : 1 };
      if (this.#tries.count < QUEUE_TRIES_MAX) return false;
    } else if (fate !== FINAL) {
      return false;
    }
    // What is refused without this path and this value as well is not refused because of them.
    try {
      await this.#api.sign(signal);
      return true;
    } catch (other) {
      return other instanceof ProblemError && other.status !== error.status;
    }
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

  /** Those made on top of it go on as they stand: over what it was made over. */
  async #setAside(item, error) {
    const { condition } = item;
    const { code, message, hint, status } = error;
    const problem = { ...error.problem, error: code, message, hint, status, refused: true };
    const held = { ...item, state: 'held', problem };
    this.#left(item, condition);
    await this.#leave({
      changed: [held, ...this.#following(item, condition)],
      left: { id: item.id, condition },
    });
    this.#tellHeld(held);
  }

  #tellHeld(item) {
    if (isRefused(item)) {
      const refused = this.#refused(item);
      this.#emitter.emit('refused', refused);
      this.#settle(item.id, { state: 'refused', id: item.id, refused });
      return;
    }
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
    const again = (op, value, options) =>
      this.#again(
        item,
        op,
        value,
        options ?? (problem.error === 'precondition_failed' ? condition : undefined),
      );
    const value = this.#valueOf(item);
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

  /** What a program sees of a write that was set aside, and can do with it. */
  #refused(item) {
    const { error, message, hint, status, refused: _, ...problem } = item.problem;
    const value = this.#valueOf(item);
    return {
      ...shown(item),
      value,
      status,
      error,
      message,
      hint,
      problem,
      // As it was made: what was written there since is not overwritten unseen.
      retry: (options) =>
        options === undefined
          ? this.#again(item, item.op, value, {}, item)
          : this.#again(item, item.op, value, options),
      resolve: (other, options) => this.#again(item, 'put', other, options),
      discard: () => this.#discard(item.id),
    };
  }

  /** First in the store, then away: a crash in between shows the held one again, and loses nothing. */
  async #again(item, op, value, options, as) {
    const queued = await this.#add(op, item.path, value, options, as);
    await this.#discard(item.id);
    return queued;
  }

  #valueOf(item) {
    return item.json === undefined ? undefined : this.#api.parse(item.json);
  }

  async #discard(id) {
    await this.#leave({ removed: [id] });
    this.#emitter.emit('discarded', { id });
  }
}

/** Whether a node refused it because of what is there instead. */
function isOverState(error) {
  return error instanceof PreconditionFailedError || error instanceof ConflictError;
}

/** Errors of held writes over which there is a conflict. Older queues say no more than these. */
const CONFLICTS = new Set(['precondition_failed', 'rejected_by_strategy', 'based_on_held']);

function isRefused({ state, problem }) {
  return state === 'held' && (problem.refused === true || !CONFLICTS.has(problem.error));
}

function isConflict(item) {
  return item.state === 'held' && !isRefused(item);
}

function shown({ id, op, path, json, madeAt, state }) {
  return { id, op, path, ...(json === undefined ? {} : { json }), madeAt, state };
}
