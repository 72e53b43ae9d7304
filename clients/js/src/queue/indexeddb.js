/**
 * A queue in IndexedDB, shared by all tabs and workers of an origin that give it the same name.
 *
 * One of them sends at a time (Web Locks). Where there are no locks, two may send the same write; its condition lets
 * only one of them be done, and the other finds what it wanted.
 */

import { QueueError } from '../errors.js';
import { SETTLED_MAX } from '../limits.js';

const ITEMS = 'items';
/** What writes have left behind, for those that other tabs make on top of them. */
const LEFT = 'left';

/** Keeps the queue in IndexedDB under this name. */
export function indexedDBQueue(name = 'default') {
  if (typeof name !== 'string' || name === '') throw new TypeError('The name of a queue is text.');
  return new IndexedDBStore(`rejoin-queue-${name}`);
}

class IndexedDBStore {
  #name;
  /** Other tabs send what this one has added. */
  isShared = true;
  #database;
  #channel;

  constructor(name) {
    this.#name = name;
  }

  async open(changed) {
    const request = indexedDB.open(this.#name, 1);
    request.onupgradeneeded = () => {
      // The key is the order; `id` finds it again.
      for (const name of [ITEMS, LEFT]) {
        request.result
          .createObjectStore(name, { keyPath: 'order', autoIncrement: true })
          .createIndex('id', 'id', { unique: true });
      }
    };
    this.#database = await done(request);
    // Another version of this page may want another layout.
    this.#database.onversionchange = () => this.#database.close();
    if (typeof BroadcastChannel === 'function') {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = () => changed();
      // Node's keep a process alive.
      this.#channel.unref?.();
    }
  }

  async items() {
    return done(this.#database.transaction(ITEMS).objectStore(ITEMS).getAll());
  }

  async append(item) {
    await this.#write((transaction) => {
      transaction.objectStore(ITEMS).add(item);
    });
  }

  /** Beside the rest, remembers what a write has left behind, if `left` says so; of the newest writes only. */
  async change({ removed = [], changed = [], left }) {
    await this.#write((transaction) => {
      const store = transaction.objectStore(ITEMS);
      if (left) remember(transaction.objectStore(LEFT), left);
      const byId = store.index('id');
      for (const id of removed) {
        byId.getKey(id).onsuccess = ({ target }) =>
          target.result !== undefined && store.delete(target.result);
      }
      for (const item of changed) {
        byId.getKey(item.id).onsuccess = ({ target }) => {
          if (target.result !== undefined) store.put({ ...item, order: target.result });
        };
      }
    });
  }

  /** The condition that a write has left behind; undefined when it is not known any more. */
  async left(id) {
    return (await done(this.#database.transaction(LEFT).objectStore(LEFT).index('id').get(id)))?.condition;
  }

  async exclusive(signal, work) {
    const locks = globalThis.navigator?.locks;
    return locks ? locks.request(this.#name, { signal }, work) : work();
  }

  async close() {
    this.#channel?.close();
    this.#database?.close();
  }

  async #write(change) {
    let transaction;
    try {
      // On disk, not only in the buffers of the operating system.
      transaction = this.#database.transaction([ITEMS, LEFT], 'readwrite', { durability: 'strict' });
      const whole = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
        transaction.onerror = () => reject(transaction.error);
      });
      change(transaction);
      await whole;
    } catch (cause) {
      throw new QueueError(
        'queue_failed',
        `The queue cannot be stored in this browser: ${cause?.message ?? cause}.`,
        {
          cause,
          hint: 'Is the storage of this site full, or is this a private window?',
        },
      );
    }
    this.#channel?.postMessage('changed');
  }
}

function remember(store, left) {
  // A held write may be settled again under its name.
  store.index('id').getKey(left.id).onsuccess = ({ target }) => {
    store.put(target.result === undefined ? left : { ...left, order: target.result });
  };
  store.count().onsuccess = ({ target }) => {
    if (target.result < SETTLED_MAX) return;
    store.openKeyCursor().onsuccess = (first) => first.target.result && store.delete(first.target.result.key);
  };
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('another tab keeps an older version of this database open'));
  });
}
