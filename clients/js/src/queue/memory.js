/**
 * A queue's store that forgets with its process, and what every store offers.
 *
 * A store keeps items in order. Each change is durable when its promise resolves. `exclusive` lets one of those who
 * share a store send; `changed` is called when another one has changed it.
 */
export class MemoryStore {
  /** Whether others may send what is added here. */
  isShared = false;
  #items = new Map();

  /** Opens it; `changed` is called when somebody else changes it. */
  async open(_changed) {}

  /** All items, in order; a promise of them where they must be read. */
  items() {
    return [...this.#items.values()];
  }

  /** Adds an item behind all others. */
  async append(item) {
    this.#items.set(item.id, item);
  }

  /** In one step: removes the items `removed`, and replaces those in `changed`, which keep their places. */
  async change({ removed = [], changed = [] }) {
    for (const id of removed) this.#items.delete(id);
    for (const item of changed) if (this.#items.has(item.id)) this.#items.set(item.id, item);
  }

  /** Runs `work` while nobody else who shares the store does. */
  async exclusive(_signal, work) {
    return work();
  }

  async close() {}
}

/** Keeps the queue in memory: it does not outlive the process. For tests, and where nothing can be stored. */
export function memoryQueue() {
  return new MemoryStore();
}
