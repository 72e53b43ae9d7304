/**
 * What a client has seen, over all nodes that it asks: the newest token of each line of answers.
 *
 * The node that gave a token had applied everything that its request named. Tokens of requests that overlapped stay
 * beside each other until an answer covers both.
 */

import { SESSION_BYTES_MAX, SESSION_TOKENS_MAX } from '../limits.js';

export class Session {
  #seen = [];

  /** What was seen, as text for {@link Session#resume}; empty when nothing was. */
  get token() {
    return this.#seen.join(',');
  }

  /** Makes this session know what another one had seen. */
  resume(token) {
    for (const text of String(token)
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean))
      this.saw([], text);
  }

  /** Forgets everything: for a server that was set up anew. */
  reset() {
    this.#seen = [];
  }

  /** The tokens that a request names. */
  ask() {
    return [...this.#seen];
  }

  /** Notes the token of the answer to a request that named `sent`. */
  saw(sent, token) {
    const kept = this.#seen.filter((known) => known !== token && !sent.includes(known));
    kept.push(token);
    while (
      kept.length > SESSION_TOKENS_MAX ||
      (kept.length > 1 && kept.join(',').length > SESSION_BYTES_MAX)
    ) {
      kept.shift();
    }
    this.#seen = kept;
  }
}
