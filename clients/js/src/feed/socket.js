/**
 * One WebSocket for many subscriptions.
 *
 * Invariant: what waits for a reader is bounded. A browser cannot leave a socket unread, so a subscription whose reader
 * is slow ends at the server (`cut`), and its owner opens it again behind the last event that was read.
 */

import { ConnectionLostError, TimedOutError, problemError } from '../errors.js';
import {
  EVENTS_WAITING_CHARS_MAX,
  EVENTS_WAITING_MAX,
  SOCKET_ANSWER_TIMEOUT,
  SOCKET_LINGER,
  SOCKET_OPEN_TIMEOUT,
  SOCKET_PING_AFTER,
  SOCKET_SUBSCRIPTIONS_MAX,
} from '../limits.js';
import { background } from '../time.js';

/** The sockets to the nodes: as many as the subscriptions need. */
export class Sockets {
  #WebSocket;
  #open = new Set();
  #parse;

  constructor(WebSocket, parse) {
    this.#WebSocket = WebSocket;
    this.#parse = parse;
  }

  /** A socket to this node with room for one more subscription, open or about to be. */
  to(url, token) {
    for (const socket of this.#open) {
      if (socket.url === url && socket.hasRoom) return socket;
    }
    const socket = new Socket(this.#WebSocket, url, token, this.#parse, () => this.#open.delete(socket));
    this.#open.add(socket);
    return socket;
  }

  /** Asks every socket for a sign of life: the network was away. */
  check() {
    for (const socket of this.#open) socket.check();
  }

  close() {
    for (const socket of this.#open) socket.close();
  }
}

class Socket {
  url;
  /** Resolves when it is open; rejects when it does not open. */
  opened;
  #socket;
  #ended;
  #error;
  #parse;
  #next = 1;
  #asked = new Map();
  #feeds = new Map();
  #timer;
  #linger;
  #claimed = 0;

  constructor(WebSocket, url, token, parse, ended) {
    this.url = url;
    this.#ended = ended;
    this.#parse = parse;
    const address = `${url.replace(/^http/, 'ws')}/api/_ws`;
    this.#socket =
      token === undefined
        ? new WebSocket(address)
        : new WebSocket(address, ['rejoin', `rejoin.bearer.${base64url(token)}`]);
    this.opened = new Promise((resolve, reject) => {
      this.#socket.onopen = () => {
        clearTimeout(this.#timer);
        this.check(SOCKET_PING_AFTER);
        resolve();
      };
      const fail = (cause) => {
        this.#fail(new ConnectionLostError(this.url, cause));
        reject(this.#error);
      };
      this.#timer = setTimeout(() => {
        this.#fail(new TimedOutError(this.url, SOCKET_OPEN_TIMEOUT));
        reject(this.#error);
      }, SOCKET_OPEN_TIMEOUT);
      this.#socket.onerror = (event) => fail(event.error ?? new Error('the WebSocket failed'));
      this.#socket.onclose = (event) => {
        fail(new Error(event.reason || `the WebSocket was closed (${event.code})`));
      };
    });
    // Whoever subscribes is told.
    this.opened.catch(() => {});
    this.#socket.onmessage = (event) => this.#receive(event.data);
  }

  get hasRoom() {
    return this.#error === undefined && this.#feeds.size + this.#claimed < SOCKET_SUBSCRIPTIONS_MAX;
  }

  /** Subscribes; resolves to the feed, whose `token` is where it begins. */
  async subscribe(prefixes, from) {
    this.#claimed += 1;
    clearTimeout(this.#linger);
    try {
      await this.opened;
      const feed = new SocketFeed();
      // Before the answer, because events follow it at once.
      const { id, reply } = this.#ask({ op: 'subscribe', prefixes, ...from });
      this.#feeds.set(id, feed);
      feed.leave = () => this.#leave(id, feed);
      try {
        feed.token = (await reply).token;
      } catch (error) {
        this.#feeds.delete(id);
        throw error;
      }
      return feed;
    } finally {
      this.#claimed -= 1;
      this.#rest();
    }
  }

  /** Asks for a sign of life in `after` ms; closes when there is none. */
  check(after = 0) {
    if (this.#error) return;
    clearTimeout(this.#timer);
    this.#timer = background(async () => {
      try {
        await this.#ask({ op: 'ping' }).reply;
        this.check(SOCKET_PING_AFTER);
      } catch (error) {
        // A server that does not know the word is alive.
        if (error.status !== undefined) this.check(SOCKET_PING_AFTER);
        else this.#fail(error);
      }
    }, after);
  }

  close() {
    this.#fail(new ConnectionLostError(this.url, new Error('this client closed it')));
  }

  #leave(id, feed) {
    if (this.#feeds.get(id) !== feed) return;
    this.#feeds.delete(id);
    if (!this.#error) this.#ask({ op: 'unsubscribe', subscription: id }).reply.catch(() => {});
    this.#rest();
  }

  #rest() {
    if (this.#feeds.size + this.#claimed > 0 || this.#error) return;
    clearTimeout(this.#linger);
    this.#linger = background(() => this.close(), SOCKET_LINGER);
  }

  #ask(message) {
    const id = this.#next;
    this.#next += 1;
    const reply = new Promise((resolve, reject) => {
      if (this.#error) {
        reject(this.#error);
        return;
      }
      const timer = setTimeout(() => {
        this.#asked.delete(id);
        reject(new TimedOutError(this.url, SOCKET_ANSWER_TIMEOUT));
      }, SOCKET_ANSWER_TIMEOUT);
      this.#asked.set(id, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ id, ...message }));
    });
    return { id, reply };
  }

  #receive(text) {
    let message;
    try {
      message = this.#parse(text);
    } catch (cause) {
      this.#fail(new ConnectionLostError(this.url, cause));
      return;
    }
    if (message.event !== undefined) {
      const feed = this.#feeds.get(message.subscription);
      // What a subscription still says after it was left is said again when it is opened again.
      if (feed && !feed.push(message, text.length)) this.#leave(message.subscription, feed);
      return;
    }
    const asked = this.#asked.get(message.id);
    if (!asked) return;
    this.#asked.delete(message.id);
    clearTimeout(asked.timer);
    if (message.ok) asked.resolve(message.result);
    else asked.reject(problemError(message.status, message, {}));
  }

  #fail(error) {
    if (this.#error) return;
    this.#error = error;
    clearTimeout(this.#timer);
    clearTimeout(this.#linger);
    for (const name of ['onopen', 'onerror', 'onclose', 'onmessage']) this.#socket[name] = null;
    try {
      this.#socket.close();
    } catch {
      // It was not open yet.
    }
    for (const { reject, timer } of this.#asked.values()) {
      clearTimeout(timer);
      reject(error);
    }
    for (const feed of this.#feeds.values()) feed.end(error);
    this.#feeds.clear();
    this.#ended();
  }
}

/** The events of one subscription that its reader has not read. */
class SocketFeed {
  token;
  leave = () => {};
  #waiting = [];
  #chars = 0;
  #ended;
  #wake;

  /** False when this is the last one that is kept. */
  push(event, chars) {
    if (this.#ended) return false;
    const { subscription: _, ...told } = event;
    this.#waiting.push({ told, chars });
    this.#chars += chars;
    this.#wake?.();
    if (this.#waiting.length < EVENTS_WAITING_MAX && this.#chars < EVENTS_WAITING_CHARS_MAX) return true;
    this.#ended = { cut: true };
    return false;
  }

  end(error) {
    this.#ended ??= { error };
    this.#wake?.();
  }

  /** The next event; undefined when the feed was cut because its reader was slow. */
  async next(signal) {
    for (;;) {
      signal.throwIfAborted();
      const first = this.#waiting.shift();
      if (first) {
        this.#chars -= first.chars;
        return first.told;
      }
      if (this.#ended?.cut) return undefined;
      if (this.#ended) throw this.#ended.error;
      await new Promise((resolve, reject) => {
        const aborted = () => reject(signal.reason);
        signal.addEventListener('abort', aborted, { once: true });
        this.#wake = () => {
          signal.removeEventListener('abort', aborted);
          resolve();
        };
      });
      this.#wake = undefined;
    }
  }

  close() {
    this.#ended ??= { cut: true };
    this.leave();
  }
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
