/**
 * A feed that outlives its connections: opened again behind the last event that was read.
 *
 * So no change is missed; a few may be told twice, and `resync` says when the node cannot go on from there.
 */

import { AGAIN, ClosedError, LATER, StalledError, UnexpectedAnswerError, fateOfError } from '../errors.js';
import { BACKOFF_LEAST, RECONNECT_MAX, RETRY_AFTER_MAX } from '../limits.js';
import { backoff, joined } from '../time.js';

export class Subscription {
  #feeds;
  #prefixes;
  #token;
  #from;
  #within;
  #stop = new AbortController();
  #events;
  #ready;
  #closed;
  #settle = {};
  #told;

  /** `feeds.open(prefixes, from, signal)` opens a feed; `told` hears each event before the reader does. */
  constructor({ feeds, prefixes, since, signals, told }) {
    this.#feeds = feeds;
    this.#prefixes = prefixes;
    this.#from = since;
    this.#told = told;
    this.#within = joined([this.#stop.signal, ...signals]);
    this.#ready = new Promise((resolve) => {
      this.#settle.ready = resolve;
    });
    this.#closed = new Promise((resolve) => {
      this.#settle.closed = resolve;
    });
    this.#events = this.#run();
  }

  /** From where to go on behind the last event that was read; undefined before the first that says so. */
  get token() {
    return this.#token;
  }

  /** Resolves when the current values were read (at once when they were not asked for), or the subscription has ended. */
  get ready() {
    return this.#ready;
  }

  /** Resolves when the subscription has ended, with `{ error }` when it failed. Never rejects. */
  get closed() {
    return this.#closed;
  }

  /** Ends it. */
  close() {
    this.#stop.abort(CLOSED);
  }

  [Symbol.asyncIterator]() {
    return {
      next: () => this.#events.next(),
      return: () => {
        this.close();
        return this.#events.return();
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  async *#run() {
    const { signal } = this.#within;
    let failures = 0;
    let hasWorked = false;
    let error;
    try {
      for (;;) {
        let feed;
        try {
          feed = await this.#feeds.open(this.#prefixes, this.#position(), signal);
          // A snapshot that was not begun begins anew, so that its reader is not told of a resync.
          if (this.#from !== '0') this.#token ??= feed.token;
          if (this.#from !== '0') this.#settle.ready();
          for (let event = await feed.next(signal); event !== undefined; event = await feed.next(signal)) {
            failures = 0;
            hasWorked = true;
            if (event.event === 'closing') continue;
            this.#saw(event);
            yield event;
          }
        } catch (failed) {
          if (signal.aborted || !goesOn(failed, hasWorked)) throw failed;
          failures += 1;
          const token = this.#token;
          // Once for each time that it is away, not for each attempt.
          if (failures === 1)
            yield { event: 'interrupted', error: failed, ...(token === undefined ? {} : { token }) };
          // Held up is one way; another one is there.
          if (failed instanceof StalledError) continue;
          const asked = Math.min(failed.retryAfter ?? 0, RETRY_AFTER_MAX);
          await this.#feeds.pause(Math.max(asked, backoff(failures, BACKOFF_LEAST, RECONNECT_MAX)), signal);
        } finally {
          feed?.close();
        }
      }
    } catch (failed) {
      if (!this.#stop.signal.aborted && !(failed instanceof ClosedError)) {
        error = failed;
        throw failed;
      }
    } finally {
      this.#within.free();
      this.#settle.ready();
      this.#settle.closed({ error });
    }
  }

  #position() {
    return { since: this.#token ?? this.#from };
  }

  #saw(event) {
    this.#token = event.token ?? this.#token;
    if (event.event === 'snapshot-end') this.#settle.ready();
    this.#told(event);
  }
}

const CLOSED = new ClosedError();

/** Whether trying again can help, by the same table as of queued writes. */
function goesOn(failed, hasWorked) {
  const fate = fateOfError(failed);
  if (fate === LATER || fate === AGAIN) return true;
  // A page to sign in at stands in the way: the network has changed, not the node. At first, it is a wrong URL.
  return hasWorked && failed instanceof UnexpectedAnswerError;
}

/** Reads a subscription for a function, one event after the other. */
export async function deliver(subscription, listener, failed) {
  try {
    for await (const event of subscription) await listener(event);
  } catch (error) {
    subscription.close();
    failed(error);
  }
}
