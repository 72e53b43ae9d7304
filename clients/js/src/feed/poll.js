/** The feed as whole answers, one after the other: where nothing else passes. */

import { TokenTooOldError } from '../errors.js';
import { POLL_EVENTS_MAX, POLL_WAIT } from '../limits.js';

/** One answer: `{ items, token, more }`. With `wait`, the node waits that long for a first change, in ms. */
export async function page(transport, prefixes, since, { wait, signal }) {
  const how = wait === undefined ? 'feed=normal' : `feed=longpoll&heartbeat=${wait}`;
  const answer = await transport.ask({
    method: 'GET',
    target: `/api/_changes?${how}&since=${encodeURIComponent(since)}&limit=${POLL_EVENTS_MAX}${query(prefixes)}`,
    session: false,
    attempts: 1,
    more: wait ?? 0,
    signal,
    expect: (body) => Array.isArray(body?.items) && typeof body.token === 'string',
  });
  return answer.body;
}

/** The part of a query that names prefixes. */
export function query(prefixes) {
  return prefixes.map((prefix) => `&prefix=${encodeURIComponent(prefix)}`).join('');
}

export class PollFeed {
  token;
  #transport;
  #prefixes;
  #since;
  #until;
  #waiting = [];
  #more = true;

  /** Until a time, another way is tried again then. */
  constructor(transport, prefixes, since, until) {
    this.#transport = transport;
    this.#prefixes = prefixes;
    this.#since = since;
    this.#until = until;
  }

  /** Undefined when it is time to try another way. */
  async next(signal) {
    for (;;) {
      const event = this.#waiting.shift();
      if (event) return event;
      if (!this.#more && Date.now() >= this.#until) return undefined;
      const wait = this.#more ? undefined : POLL_WAIT;
      let answer;
      try {
        answer = await page(this.#transport, this.#prefixes, this.#since, { wait, signal });
      } catch (error) {
        if (!(error instanceof TokenTooOldError)) throw error;
        // In a stream the node says this itself, and goes on with the current values.
        this.#since = '0';
        this.#more = true;
        return { event: 'resync', reason: error.message, oldest: error.problem.oldest };
      }
      this.#since = answer.token;
      this.#waiting = [...answer.items];
      this.#more = answer.more;
    }
  }

  close() {
    // Its request ends by the signal of whoever waits for it.
  }
}
