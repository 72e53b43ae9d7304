/** The feed over HTTP: one request for each subscription, for places without WebSockets. Its reader sets the pace. */

import { ConnectionLostError, UnexpectedAnswerError } from '../errors.js';
import { lines } from '../http/lines.js';
import { HEARTBEAT, SILENCE_MAX } from '../limits.js';

/** Opens a feed; `token` is where it begins, as far as that is known. */
export async function openStream(transport, parse, prefixes, from, signal) {
  const query = prefixes.map((prefix) => `&prefix=${encodeURIComponent(prefix)}`).join('');
  let { since } = from;
  if (since === 'now') {
    // Nothing that carries a token may come for long, and what happens until then must not be missed.
    const answer = await transport.ask({
      method: 'GET',
      target: `/api/_changes?feed=normal&since=now${query}`,
      session: false,
      attempts: 1,
      signal,
    });
    since = answer.body.token;
  }
  const target = `/api/_changes?since=${encodeURIComponent(since)}&heartbeat=${HEARTBEAT}${query}`;
  const answer = await transport.open({
    method: 'GET',
    target,
    headers: { accept: 'application/x-ndjson' },
    session: false,
    attempts: 1,
    signal,
  });
  return new StreamFeed(answer, parse, since === '0' ? undefined : since);
}

class StreamFeed {
  token;
  #answer;
  #lines;
  #parse;
  #stop = new AbortController();

  constructor(answer, parse, token) {
    this.#answer = answer;
    this.#parse = parse;
    this.token = token;
    this.#lines = lines(answer.stream, answer.url, this.#stop.signal, SILENCE_MAX);
  }

  async next(signal) {
    const aborted = () => this.#stop.abort(signal.reason);
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
    try {
      for (;;) {
        const { done, value } = await this.#lines.next();
        if (done) throw new ConnectionLostError(this.#answer.url, new Error('the node closed the feed'));
        // An empty line is a sign of life.
        if (value.trim() !== '') return this.#event(value);
      }
    } finally {
      signal.removeEventListener('abort', aborted);
    }
  }

  #event(line) {
    try {
      return this.#parse(line);
    } catch (cause) {
      throw new UnexpectedAnswerError(this.#answer.url, 'an event is not JSON', { cause });
    }
  }

  close() {
    this.#lines.return().catch(() => {});
    this.#stop.abort(new DOMException('The subscription was closed.', 'AbortError'));
    this.#answer.free();
  }
}
