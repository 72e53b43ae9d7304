/** Listeners by name. One that throws is reported and disturbs nobody. */

export class Emitter {
  #listeners = new Map();

  /** Calls `listener` for each event of this name; returns what ends that. */
  on(name, listener) {
    if (typeof listener !== 'function') throw new TypeError('A listener is a function.');
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // Its own object, so that one function may listen twice.
    const entry = { listener };
    listeners.add(entry);
    return () => void listeners.delete(entry);
  }

  /** Tells all listeners; false when there is none. */
  emit(name, event) {
    const listeners = this.#listeners.get(name);
    if (!listeners?.size) return false;
    for (const { listener } of [...listeners]) {
      try {
        listener(event);
      } catch (error) {
        console.error(`rejoin: a listener of '${String(name)}' failed`, error);
      }
    }
    return true;
  }
}
