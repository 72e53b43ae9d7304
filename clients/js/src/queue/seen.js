/** What was last seen at a path, for the condition of a write that is made on it. */

import { SEEN_MAX } from '../limits.js';

export class Seen {
  /** In the order in which they were last seen: path to etag, null when nothing was there. */
  #paths = new Map();

  note(path, etag) {
    this.#paths.delete(path);
    this.#paths.set(path, etag ?? null);
    if (this.#paths.size > SEEN_MAX) this.#paths.delete(this.#paths.keys().next().value);
  }

  /** Undefined when the path was not seen. */
  of(path) {
    return this.#paths.get(path);
  }
}
