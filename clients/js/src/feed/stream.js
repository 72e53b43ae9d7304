/**
 * The feed over HTTP: one request for each subscription, for places without WebSockets. Its reader sets the pace.
 *
 * Until it is known that streams pass, what there is comes as whole answers first, so that whoever waits for it does not
 * wait for a stream that something in between holds up; and the stream has to show signs of life soon.
 */

import {
  ConnectionLostError,
  StalledError,
  TimedOutError,
  TokenTooOldError,
  UnexpectedAnswerError,
} from '../errors.js';
import { lines } from '../http/lines.js';
import { page, query } from './poll.js';

/**
 * Opens a feed; its `token` is where it begins, as far as that is known.
 *
 * `isProven`: streams were seen to pass, and `passes` is told when one is. `isReached` rejects when no node answers;
 * `stalls` is told when nodes answer and the stream is silent.
 */
export async function openStream(options) {
  const { transport, prefixes, since, signal, isProven } = options;
  // Of `now`, nothing that carries a token may come for long, and what happens until then must not be missed.
  if (isProven && since !== 'now') {
    const feed = new StreamFeed(options, since, { items: [], token: since, more: false });
    await feed.open(signal);
    return feed;
  }
  const feed = new StreamFeed(options, since, await readAhead(transport, prefixes, since, signal));
  if (since === 'now') feed.token = feed.since;
  return feed;
}

/** What there is behind a place; nothing where the node cannot go on from there, which the stream says. */
async function readAhead(transport, prefixes, since, signal) {
  try {
    return await page(transport, prefixes, since, { signal });
  } catch (error) {
    if (error instanceof TokenTooOldError) return { items: [], token: since, more: false };
    throw error;
  }
}

class StreamFeed {
  /** Where it begins, as far as that is known. */
  token;
  /** Where the stream begins, behind what was read before. */
  since;
  #options;
  #ahead;
  #more;
  #answer;
  #lines;
  #isWatched;
  #stop = new AbortController();

  constructor(options, since, ahead) {
    this.#options = options;
    this.#isWatched = !options.isProven;
    this.#take(ahead);
    this.token = since === '0' ? undefined : since;
  }

  #take({ items, token, more }) {
    this.#ahead = [...items];
    this.#more = more;
    this.since = token;
  }

  async open(signal) {
    const { transport, prefixes, heartbeat, silence } = this.#options;
    const target = `/api/_changes?since=${encodeURIComponent(this.since)}&heartbeat=${heartbeat}${query(prefixes)}`;
    const request = {
      method: 'GET',
      target,
      headers: { accept: 'application/x-ndjson' },
      session: false,
      attempts: 1,
      signal,
    };
    if (this.#isWatched) {
      // Something that gathers answers may hold back even their heads.
      request.timeout = silence;
      request.isQuiet = true;
    }
    const begun = Date.now();
    try {
      this.#answer = await transport.open(request);
    } catch (error) {
      throw this.#isWatched && error instanceof TimedOutError
        ? await this.#silent(error, Date.now() - begun)
        : error;
    }
    this.#lines = lines(this.#answer.stream, this.#answer.url, this.#stop.signal, silence);
  }

  async next(signal) {
    const aborted = () => this.#stop.abort(signal.reason);
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
    try {
      const event = await this.#readAhead(signal);
      if (event) return event;
      if (!this.#answer) await this.open(signal);
      for (;;) {
        const { done, value } = await this.#line();
        if (done) throw new ConnectionLostError(this.#answer.url, new Error('the node closed the feed'));
        if (value.trim() !== '') return this.#event(value);
        // An empty line is a sign of life.
        if (!this.#isWatched) continue;
        // So little passes by itself: streams pass, and fewer signs of life are enough from now on.
        this.#options.passes();
        return undefined;
      }
    } finally {
      signal.removeEventListener('abort', aborted);
    }
  }

  async #readAhead(signal) {
    while (this.#ahead.length === 0 && this.#more) {
      const { transport, prefixes } = this.#options;
      this.#take(await readAhead(transport, prefixes, this.since, signal));
    }
    return this.#ahead.shift();
  }

  async #line() {
    try {
      return await this.#lines.next();
    } catch (error) {
      throw error instanceof TimedOutError ? await this.#silent(error, error.waited) : error;
    }
  }

  /** Why a stream is silent: nobody is there, or something holds it up. */
  async #silent(error, waited) {
    try {
      await this.#options.isReached();
    } catch (failed) {
      return failed?.retryable === true ? failed : error;
    }
    const stalled = new StalledError(error.url, waited);
    this.#options.stalls(stalled);
    return stalled;
  }

  #event(line) {
    try {
      return this.#options.parse(line);
    } catch (cause) {
      throw new UnexpectedAnswerError(this.#answer.url, 'an event is not JSON', { cause });
    }
  }

  close() {
    this.#lines?.return().catch(() => {});
    this.#stop.abort(new DOMException('The subscription was closed.', 'AbortError'));
    this.#answer?.free();
  }
}
