/**
 * The current values below some prefixes, kept up to date.
 *
 * A `resync` does not empty it: what was there stays until the new snapshot is whole, then the difference is told.
 */

import { Emitter } from '../emitter.js';
import { ClosedError } from '../errors.js';

export class LiveMap {
  #values = new Map();
  /** The snapshot in the making after a resync. */
  #fresh;
  #markWhole;
  #isAwaited = false;
  #whole = new Promise((resolve) => {
    this.#markWhole = resolve;
  });
  #subscription;
  #emitter = new Emitter();

  constructor(subscription) {
    this.#subscription = subscription;
  }

  /** The subscription behind it. */
  get subscription() {
    return this.#subscription;
  }

  /** Resolves to this map when it is whole for the first time; rejects when that cannot be. */
  async ready() {
    this.#isAwaited = true;
    const ended = await Promise.race([this.#whole, this.#subscription.closed]);
    if (ended === undefined) return this;
    throw ended.error ?? new ClosedError();
  }

  /** The value at a path; undefined when there is none. */
  get(path) {
    return this.#values.get(path)?.value;
  }

  /** The value with its version, etag and the rest. */
  entry(path) {
    return this.#values.get(path);
  }

  has(path) {
    return this.#values.has(path);
  }

  get size() {
    return this.#values.size;
  }

  /** Entries in path order. */
  entries() {
    return [...this.#values.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /**
   * `change` is told `{ path, value, previous, entry }`; `resync` its reason; `interrupted` why nothing comes at present;
   * `error` why it ended.
   */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  close() {
    this.#subscription.close();
  }

  /** Takes an event of the subscription. */
  take(event) {
    switch (event.event) {
      case 'change':
        this.#change(event);
        break;
      case 'resync':
        this.#fresh = new Map();
        this.#emitter.emit('resync', { reason: event.reason });
        break;
      case 'interrupted':
        this.#emitter.emit('interrupted', { error: event.error });
        break;
      case 'snapshot-end':
        this.#replace();
        break;
      default:
        break;
    }
  }

  /** Tells why it ended; false when nobody hears it. */
  fail(error) {
    return this.#emitter.emit('error', error) || this.#isAwaited;
  }

  #change({ event: _, token: __, op, ...entry }) {
    const values = this.#fresh ?? this.#values;
    const previous = values.get(entry.path);
    // Told at least once: the same version says nothing new.
    if (op === 'put' && previous?.version === entry.version && previous.etag === entry.etag) return;
    // Deleted, or its time had come.
    if (op === 'put') values.set(entry.path, entry);
    else values.delete(entry.path);
    if (values === this.#values) this.#tell(entry.path, previous, op === 'put' ? entry : undefined);
  }

  #replace() {
    this.#markWhole();
    const [before, after] = [this.#values, this.#fresh];
    if (!after) return;
    this.#fresh = undefined;
    this.#values = after;
    for (const [path, previous] of before) if (!after.has(path)) this.#tell(path, previous, undefined);
    for (const [path, entry] of after) {
      const previous = before.get(path);
      if (previous?.etag !== entry.etag) this.#tell(path, previous, entry);
    }
  }

  #tell(path, previous, entry) {
    if (!previous && !entry) return;
    this.#emitter.emit('change', { path, value: entry?.value, previous: previous?.value, entry });
  }
}
