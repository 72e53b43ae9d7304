/**
 * Whether any node answers: `connecting` until the first answer or failure, then `online` or `offline`, at last `closed`.
 *
 * While offline, it asks for a sign of life by itself, so that somebody who only looks sees the end of it.
 */

import { BACKOFF_LEAST, RECONNECT_MAX } from './limits.js';
import { backoff, background } from './time.js';

export class Reach {
  #state = 'connecting';
  #nodes;
  #probe;
  #timer;
  #tries = 0;
  #changed;
  #free = [];

  /** `probe` asks a node for a sign of life; `changed` is told of each new state, and why. */
  constructor(nodes, changed) {
    this.#nodes = nodes;
    this.#changed = changed;
    const target = globalThis.addEventListener && globalThis.navigator ? globalThis : undefined;
    if (target) {
      const online = () => this.retry();
      const offline = () => this.#become('offline', new Error('the device is offline'));
      target.addEventListener('online', online);
      target.addEventListener('offline', offline);
      this.#free.push(() => {
        target.removeEventListener('online', online);
        target.removeEventListener('offline', offline);
      });
    }
  }

  set probe(probe) {
    this.#probe = probe;
  }

  get state() {
    return this.#state;
  }

  answered() {
    this.#tries = 0;
    this.#become('online');
  }

  failed(_url, error) {
    if (this.#nodes.allFailed) this.#become('offline', error);
  }

  /** Asks at once whether somebody is there again. */
  retry() {
    if (this.#state !== 'offline') return;
    this.#tries = 0;
    this.#schedule(0);
  }

  close() {
    clearTimeout(this.#timer);
    for (const free of this.#free) free();
    this.#become('closed');
  }

  #become(state, error) {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (state === 'offline') this.#schedule();
    this.#changed({ state, error });
  }

  #schedule(wait = backoff(this.#tries + 1, 2 * BACKOFF_LEAST, RECONNECT_MAX)) {
    clearTimeout(this.#timer);
    this.#timer = background(async () => {
      if (this.#state !== 'offline') return;
      this.#tries += 1;
      try {
        await this.#probe();
      } catch {
        // Told by the transport, if it is news.
      }
      if (this.#state === 'offline') this.#schedule();
    }, wait);
  }
}
