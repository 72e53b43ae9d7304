/**
 * Which way a feed is opened: over the shared WebSocket; as a stream over HTTP where there is none or none gets through;
 * by polling where something in between gathers answers before it passes them on.
 */

import { ConnectionError } from '../errors.js';
import {
  HEARTBEAT,
  HEARTBEAT_FIRST,
  SILENCE_MAX,
  SOCKET_REFUSALS_MAX,
  STREAM_PROOF_MAX,
  STREAM_RETRY,
} from '../limits.js';
import { joined, sleep } from '../time.js';
import { PollFeed } from './poll.js';
import { Sockets } from './socket.js';
import { openStream } from './stream.js';

export class Feeds {
  #transport;
  #nodes;
  #credentials;
  #parse;
  #reach;
  #sockets;
  #refusals = 0;
  /** Whether a stream was seen to pass while it went on. */
  #isProven = false;
  /** Until when streams are not tried: one was held up. */
  #stalledUntil = 0;
  /** Asks a node for a sign of life. */
  sign;
  /** Is told when a stream is held up. */
  stalled = () => {};
  #awake = new AbortController();

  constructor({ transport, nodes, credentials, parse, reach, WebSocket }) {
    this.#transport = transport;
    this.#nodes = nodes;
    this.#credentials = credentials;
    this.#parse = parse;
    this.#reach = reach;
    if (WebSocket) this.#sockets = new Sockets(WebSocket, parse);
  }

  /** `websocket`, `stream` or `poll`: how the next feed is opened. */
  get way() {
    if (this.#sockets && this.#refusals < SOCKET_REFUSALS_MAX) return 'websocket';
    return Date.now() < this.#stalledUntil ? 'poll' : 'stream';
  }

  async open(prefixes, from, signal) {
    signal.throwIfAborted();
    if (this.way === 'poll') return new PollFeed(this.#transport, prefixes, from.since, this.#stalledUntil);
    if (this.way === 'stream') {
      return openStream({
        transport: this.#transport,
        parse: this.#parse,
        prefixes,
        since: from.since,
        signal,
        isProven: this.#isProven,
        heartbeat: this.#isProven ? HEARTBEAT : HEARTBEAT_FIRST,
        silence: this.#isProven ? SILENCE_MAX : STREAM_PROOF_MAX,
        passes: () => {
          this.#isProven = true;
        },
        isReached: () => this.sign(),
        stalls: (error) => this.#stall(error),
      });
    }
    const url = this.#nodes.current;
    const token = await this.#credentials.token();
    const socket = this.#sockets.to(url, token);
    try {
      const feed = await abortable(socket.subscribe(prefixes, from), signal);
      this.#refusals = 0;
      this.#nodes.answered();
      this.#reach.answered();
      return feed;
    } catch (error) {
      if (signal.aborted || !(error instanceof ConnectionError)) throw error;
      // A browser does not say why a WebSocket did not open. A request tells: a wrong token, nobody there, or a network
      // that lets no WebSocket through.
      await this.#transport.ask({
        method: 'GET',
        target: '/api/_changes?feed=normal&since=now&limit=1',
        session: false,
        attempts: 1,
        signal,
      });
      // With another token by now, the WebSocket may open as well.
      if ((await this.#credentials.token()) === token) this.#refusals += 1;
      throw error;
    }
  }

  #stall(error) {
    this.#isProven = false;
    const isNews = Date.now() >= this.#stalledUntil;
    this.#stalledUntil = Date.now() + STREAM_RETRY;
    if (isNews) this.stalled(error);
  }

  /** Waits, but not longer than until somebody is there again. */
  async pause(ms, signal) {
    const waiting = joined([signal, this.#awake.signal]);
    try {
      await sleep(ms, waiting.signal);
    } catch (reason) {
      if (signal.aborted) throw reason;
    } finally {
      waiting.free();
    }
  }

  /** Somebody is there again. */
  wake() {
    this.#awake.abort();
    this.#awake = new AbortController();
  }

  check() {
    this.#sockets?.check();
  }

  close() {
    this.#sockets?.close();
  }
}

/** Gives up waiting; what comes nevertheless is closed. */
function abortable(opening, signal) {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason);
    signal.addEventListener('abort', aborted, { once: true });
    opening.then(
      (feed) => {
        signal.removeEventListener('abort', aborted);
        if (signal.aborted) feed.close();
        else resolve(feed);
      },
      (error) => {
        signal.removeEventListener('abort', aborted);
        reject(error);
      },
    );
  });
}
