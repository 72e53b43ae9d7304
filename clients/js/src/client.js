/** The client: reads and writes over HTTP, feeds, and a queue of writes made offline. */

import { Emitter } from './emitter.js';
import {
  ClosedError,
  ConnectionError,
  ConnectionLostError,
  InvalidArgumentError,
  NotFoundError,
  UnexpectedAnswerError,
} from './errors.js';
import { Feeds } from './feed/feeds.js';
import { LiveMap } from './feed/live.js';
import { Subscription, deliver } from './feed/subscription.js';
import { Credentials } from './http/credentials.js';
import { lines } from './http/lines.js';
import { Nodes } from './http/nodes.js';
import { Session } from './http/session.js';
import { Transport } from './http/transport.js';
import { load, operation } from './batch.js';
import { Items } from './items.js';
import { newKey } from './keys.js';
import {
  ATTEMPTS_MAX,
  ATTEMPT_TIMEOUT,
  BACKOFF_LEAST,
  BACKOFF_MAX,
  PROBE_TIMEOUT,
  SESSION_WAIT,
  SILENCE_MAX,
} from './limits.js';
import { encodePath, encodePrefix } from './paths.js';
import { Queue } from './queue/queue.js';
import { Seen } from './queue/seen.js';
import { Reach } from './reach.js';
import { backoff, joined, sleep } from './time.js';

const OPTIONS = new Set([
  'url',
  'urls',
  'token',
  'signal',
  'timeout',
  'attempts',
  'session',
  'sessionWait',
  'queue',
  'fetch',
  'WebSocket',
  'parse',
  'stringify',
]);

/** Makes a client. Nothing is sent before it is asked for something, unless its queue has something to send. */
export function createClient(options) {
  return new Client(typeof options === 'string' ? { url: options } : options);
}

export class Client {
  #emitter = new Emitter();
  #stop = new AbortController();
  #seen = new Seen();
  #session = new Session();
  #inSession;
  #parse;
  #stringify;
  #transport;
  #feeds;
  #reach;
  #queue;
  #outside;

  constructor(options = {}) {
    check(options);
    const {
      token,
      signal,
      timeout = ATTEMPT_TIMEOUT,
      attempts = ATTEMPTS_MAX,
      session = true,
      sessionWait = SESSION_WAIT,
    } = options;
    this.#parse = options.parse ?? JSON.parse;
    this.#stringify = options.stringify ?? JSON.stringify;
    this.#inSession = session;
    const nodes = new Nodes(options.urls ?? [options.url ?? pageOrigin()]);
    const credentials = new Credentials(token);
    this.#reach = new Reach(nodes, (change) => this.#reachChanged(change));
    const fetched = options.fetch ?? ((...request) => globalThis.fetch(...request));
    this.#transport = new Transport({
      fetch: fetched,
      nodes,
      credentials,
      session: this.#session,
      parse: this.#parse,
      attempts,
      timeout,
      wait: sessionWait,
      signal: this.#stop.signal,
      reach: this.#reach,
    });
    this.#reach.probe = () => this.#transport.ask(SIGN_OF_LIFE);
    const WebSocket = options.WebSocket === undefined ? globalThis.WebSocket : options.WebSocket;
    this.#feeds = new Feeds({
      transport: this.#transport,
      nodes,
      credentials,
      parse: this.#parse,
      reach: this.#reach,
      WebSocket: WebSocket ?? undefined,
    });
    this.#feeds.sign = () => this.#transport.ask(SIGN_OF_LIFE);
    this.#feeds.stalled = (error) => this.#emitter.emit('stalled', error);
    if (options.queue) this.#queue = this.#makeQueue(options.queue);
    if (signal) {
      const aborted = () => void this.close();
      if (signal.aborted) aborted();
      signal.addEventListener('abort', aborted, { once: true });
      this.#outside = () => signal.removeEventListener('abort', aborted);
    }
  }

  /** `connecting` until the first answer or failure, then `online` or `offline`, at last `closed`. */
  get state() {
    return this.#reach.state;
  }

  /** How changes come: by `websocket`, by `stream`, or by `poll` where something in between passes neither on. */
  get feedWay() {
    return this.#feeds.way;
  }

  /** Writes in the queue that the server does not have yet. */
  get pending() {
    return this.#queue?.pending ?? 0;
  }

  /** What was seen, for reading it again on any node. */
  get session() {
    return this.#session;
  }

  /** Writes that are kept until the server has them. */
  get queue() {
    if (!this.#queue) {
      throw new InvalidArgumentError('no_queue', 'This client has no queue.', {
        hint: 'Give createClient a `queue`: indexedDBQueue("name"), fileQueue("path") of @rejoin/client/node, or memoryQueue().',
      });
    }
    return this.#queue;
  }

  /** Whether the client has a queue. */
  get hasQueue() {
    return this.#queue !== undefined;
  }

  /** Calls `listener` for each event of this name; returns what ends that. */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  // Reading.

  /** The value at a path; undefined when there is none. */
  async get(path, options) {
    return (await this.entry(path, options))?.value;
  }

  /** The value at a path with its etag, version, context and the rest; undefined when there is none. */
  async entry(path, options = {}) {
    const target = `/api/${encodePath(path)}?meta=true`;
    try {
      const { body } = await this.#ask({ method: 'GET', target, ...this.#of(options), expect: hasEtag });
      this.#seen.note(path, body.etag);
      return body;
    } catch (error) {
      if (!isAbsent(error)) throw error;
      this.#seen.note(path, null);
      return undefined;
    }
  }

  /** What is below a prefix, in path order, as it comes. */
  scan(prefix = '', options = {}) {
    const { limit } = options;
    encodePrefix(prefix);
    if (limit === undefined) return new Items(() => this.#scanStream(prefix, options));
    return new Items(() =>
      this.#pages((cursor, left) => this.scanPage(prefix, { ...options, limit: left, cursor }), limit),
    );
  }

  /** One page of a scan: `{ items, cursor }`. */
  async scanPage(prefix = '', options = {}) {
    const { limit, cursor } = options;
    const target = `/api/scan/${encodePrefix(prefix)}${scanQuery(options, { limit, cursor })}`;
    return (await this.#ask({ method: 'GET', target, ...this.#of(options), expect: hasItems })).body;
  }

  /** How many values are below a prefix. */
  async count(prefix = '', options = {}) {
    const target = `/api/scan/${encodePrefix(prefix)}${scanQuery(options, {})}`;
    const { headers } = await this.#ask({ method: 'HEAD', target, ...this.#of(options) });
    return Number(headers.get('rejoin-count'));
  }

  /** The versions that were replaced at a path, newest first. */
  history(path, options = {}) {
    const encoded = encodePath(path);
    const { limit = Infinity, values } = options;
    return new Items(() =>
      this.#pages(async (cursor, left) => {
        const target = `/api/history/${encoded}${query({ limit: left, cursor, values })}`;
        return (await this.#ask({ method: 'GET', target, ...this.#of(options), expect: hasItems })).body;
      }, limit),
    );
  }

  /** Paths with competing versions, and those where they were settled. */
  conflicts(prefix = '', options = {}) {
    const encoded = encodePrefix(prefix);
    const { limit = Infinity, state } = options;
    return new Items(() =>
      this.#pages(async (cursor, left) => {
        const target = `/api/_conflicts/${encoded}${query({ state, limit: left, cursor })}`;
        return (await this.#ask({ method: 'GET', target, ...this.#of(options), expect: hasItems })).body;
      }, limit),
    );
  }

  /** Which versions compete at a path, which one is shown and why; undefined where nothing ever was. */
  async explain(path, options = {}) {
    try {
      const { body } = await this.#ask({
        method: 'GET',
        target: `/api/_explain/${encodePath(path)}`,
        ...this.#of(options),
      });
      return body;
    } catch (error) {
      if (!isAbsent(error)) throw error;
      return undefined;
    }
  }

  /** The node's state. */
  async status(options = {}) {
    return (await this.#ask({ method: 'GET', target: '/api/status', ...this.#of(options) })).body;
  }

  // Writing.

  /** Writes a value. */
  async put(path, value, options = {}) {
    return this.#write('PUT', `/api/${encodePath(path)}`, path, this.#text(value, path), options);
  }

  /** Changes members of a value (RFC 7396). */
  async patch(path, patch, options = {}) {
    return this.#write(
      'PATCH',
      `/api/${encodePath(path)}`,
      path,
      this.#text(patch, path),
      options,
      'application/merge-patch+json',
    );
  }

  /** Deletes; undefined when there was nothing. */
  async del(path, options = {}) {
    try {
      return await this.#write('DELETE', `/api/${encodePath(path)}`, path, undefined, options);
    } catch (error) {
      if (!isAbsent(error)) throw error;
      this.#seen.note(path, null);
      return undefined;
    }
  }

  /** Replaces all competing versions by one write: `{ value }`, or `{ keep: version }`. */
  async resolve(path, { value, keep, context, ...options }) {
    if ((value === undefined) === (keep === undefined)) {
      throw new InvalidArgumentError('invalid_argument', 'Give either `value` or `keep`.', {
        path,
        hint: '`keep` is the `version` of one that competes.',
      });
    }
    const what = keep === undefined ? `"value":${this.#text(value, path)}` : `"keep":${JSON.stringify(keep)}`;
    return this.#write('POST', `/api/_conflicts/${encodePath(path)}`, path, `{${what}}`, {
      context,
      ...options,
    });
  }

  /** Writes again what an old version said. */
  async revert(path, version, options = {}) {
    return this.#write(
      'POST',
      `/api/history/${encodePath(path)}`,
      path,
      JSON.stringify({ version }),
      options,
    );
  }

  /** Several writes in one request; with `atomic`, all or nothing. */
  async batch(operations, { atomic = false, idempotencyKey = newKey(), ...options } = {}) {
    const texts = [...operations].map((given) => operation(given, this.#stringify));
    const body = `{"atomic":${atomic ? 'true' : 'false'},"operations":[${texts.join(',')}]}`;
    const answer = await this.#ask({
      method: 'POST',
      target: '/api/_batch',
      body,
      ...this.#of(options),
      headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
      expect: (given) => Array.isArray(given?.results),
    });
    for (const result of answer.body.results) {
      if (result.etag !== undefined && result.error === undefined)
        this.#seen.note(result.path, result.deleted ? null : result.etag);
    }
    return answer.body;
  }

  /** Any number of writes, in requests of bounded size; a result for each, in order. */
  load(operations, { results = 'all', ...options } = {}) {
    const send = async (texts) => {
      const answer = await this.#open({
        method: 'POST',
        target: '/api/_batch',
        body: `${texts.join('\n')}\n`,
        ...this.#of(options),
        headers: {
          'content-type': 'application/x-ndjson',
          accept: 'application/x-ndjson',
          'idempotency-key': newKey(),
        },
      });
      return this.#lines(answer, options.signal);
    };
    return new Items(() =>
      load(operations, { send, stringify: this.#stringify, onlyRefused: results === 'refused' }),
    );
  }

  // Following.

  /**
   * Follows what happens at these paths, below them, and at their ancestors. With a function, it is called for each event
   * in order; without, the subscription is an async iterable.
   */
  subscribe(prefixes, listener, options) {
    const [told, given] = typeof listener === 'function' ? [listener, options] : [undefined, listener];
    const subscription = this.#subscription(prefixes, given);
    if (told) void deliver(subscription, told, (error) => this.#report(error, given?.signal));
    return subscription;
  }

  /** The current values, kept up to date. */
  live(prefixes, options = {}) {
    const map = new LiveMap(this.#subscription(prefixes, { ...options, since: '0' }));
    void deliver(
      map.subscription,
      (event) => map.take(event),
      (error) => {
        if (!map.fail(error)) this.#report(error, options.signal);
      },
    );
    return map;
  }

  /** Ends everything. What waits in the queue stays there. Resolves when nothing of this client runs any more. */
  async close() {
    this.#outside?.();
    this.#stop.abort(new ClosedError());
    this.#feeds.close();
    await this.#queue?.close();
    this.#reach.close();
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.close();
  }

  // Inside.

  #subscription(prefixes, { since = '0', signal } = {}) {
    if (this.#stop.signal.aborted) throw new ClosedError();
    const all = (Array.isArray(prefixes) ? prefixes : [prefixes]).filter((prefix) => prefix !== '');
    for (const prefix of all) encodePath(prefix);
    return new Subscription({
      feeds: this.#feeds,
      prefixes: all,
      since: String(since),
      signals: [this.#stop.signal, signal],
      told: (event) => {
        if (event.event === 'change') this.#seen.note(event.path, event.op === 'put' ? event.etag : null);
      },
    });
  }

  /** The options of every request. */
  #of({ signal, timeout, session = this.#inSession }) {
    return { signal, timeout, session: session ? true : 'observe', repeatable: true };
  }

  async #ask(request) {
    this.#stop.signal.throwIfAborted();
    return this.#transport.ask(request);
  }

  async #open(request) {
    this.#stop.signal.throwIfAborted();
    return this.#transport.open(request);
  }

  async #write(method, target, path, body, options, contentType = 'application/json') {
    const { ifMatch, ifNoneMatch, context, ack, wait, ttl, idempotencyKey = newKey(), ...rest } = options;
    const headers = { 'idempotency-key': idempotencyKey };
    if (body !== undefined) headers['content-type'] = contentType;
    if (ifMatch !== undefined) headers['if-match'] = tags(ifMatch);
    if (ifNoneMatch !== undefined) headers['if-none-match'] = tags(ifNoneMatch);
    if (context !== undefined) headers['rejoin-context'] = context;
    if (wait !== undefined) headers['rejoin-wait'] = `${wait}ms`;
    const { nodes, timeout: ackTimeout = 5_000 } = typeof ack === 'number' ? { nodes: ack } : (ack ?? {});
    const before = this.#seen.of(path);
    const answer = await this.#ask({
      method,
      target: `${target}${query({
        ack: nodes,
        timeout: ack === undefined ? undefined : `${ackTimeout}ms`,
        ttl: typeof ttl === 'number' ? `${ttl}ms` : ttl,
      })}`,
      body,
      ...this.#of(rest),
      headers,
      more: (wait ?? 0) + (ack === undefined ? 0 : ackTimeout),
      // Of a page to sign in at, nothing is taken for a write that was done.
      expect: hasEtag,
    });
    const written = { ...answer.body, context: answer.headers.get('rejoin-context') ?? undefined };
    // The answer to an earlier attempt may be older than what was seen meanwhile.
    const isLate = isReplayed(answer) && this.#seen.of(path) !== before;
    if (!isLate) this.#seen.note(path, written.deleted ? null : written.etag);
    return isReplayed(answer) ? { ...written, replayed: true } : written;
  }

  #text(value, path) {
    const text = this.#stringify(value);
    if (text === undefined) {
      throw new InvalidArgumentError('invalid_json', 'The value cannot be written as JSON.', {
        path,
        hint: 'Write a value that JSON can hold; `undefined` and functions are none. Delete with `del`.',
      });
    }
    return text;
  }

  /** The items of a streamed answer, until its last line says that it is whole. */
  async *#lines(answer, signal) {
    const within = joined([signal, this.#stop.signal]);
    const read = lines(answer.stream, answer.url, within.signal, SILENCE_MAX);
    try {
      for await (const line of read) {
        if (line.trim() === '') continue;
        let item;
        try {
          item = this.#parse(line);
        } catch (cause) {
          throw new UnexpectedAnswerError(answer.url, 'a line is not JSON', { cause });
        }
        yield item;
      }
    } finally {
      within.free();
      answer.free();
    }
  }

  /** Goes on behind the last item when the connection is lost: from a newer snapshot then. */
  async *#scanStream(prefix, options) {
    let last;
    let failures = 0;
    for (;;) {
      const edge = last === undefined ? {} : options.reverse ? { end: last } : { start: last };
      try {
        const target = `/api/scan/${encodePrefix(prefix)}${scanQuery({ ...options, ...edge }, {})}`;
        const answer = await this.#open({
          method: 'GET',
          target,
          ...this.#of(options),
          headers: { accept: 'application/x-ndjson' },
        });
        for await (const item of this.#lines(answer, options.signal)) {
          if (item.path === undefined && 'cursor' in item) return;
          failures = 0;
          if (item.path === undefined || item.path === last) continue;
          last = item.path;
          yield item;
        }
        throw new ConnectionLostError(answer.url, new Error('the last line of the scan is missing'));
      } catch (error) {
        // Directories have no place to go on from.
        if (!(error instanceof ConnectionError) || options.depth !== undefined) throw error;
        failures += 1;
        if (failures >= ATTEMPTS_MAX) throw error;
        const waiting = joined([options.signal, this.#stop.signal]);
        await sleep(backoff(failures, BACKOFF_LEAST, BACKOFF_MAX), waiting.signal).finally(waiting.free);
      }
    }
  }

  async *#pages(page, limit) {
    let cursor;
    let left = limit;
    do {
      const { items, cursor: next } = await page(cursor, Math.min(left, PAGE_MAX));
      for (const item of items) {
        yield item;
        left -= 1;
        if (left <= 0) return;
      }
      cursor = next ?? undefined;
    } while (cursor !== undefined);
  }

  #makeQueue(store) {
    const write = (item, signal) => {
      const { ifMatch, ifNoneMatch, context } = item.condition;
      // Its id goes with it wherever it is stored, and names one write for ever.
      const options = { ifMatch, ifNoneMatch, context, signal, session: false, idempotencyKey: item.id };
      const target = `/api/${encodePath(item.path)}`;
      switch (item.op) {
        case 'put':
          return this.#write('PUT', target, item.path, item.json, options);
        case 'patch':
          return this.#write('PATCH', target, item.path, item.json, options, 'application/merge-patch+json');
        default:
          return this.#write('DELETE', target, item.path, undefined, options);
      }
    };
    return new Queue({
      store,
      emitter: this.#emitter,
      stringify: this.#stringify,
      api: {
        write,
        sign: (signal) => this.#transport.ask({ ...SIGN_OF_LIFE, signal }),
        parse: this.#parse,
        seen: (path) => this.#seen.of(path),
        entry: (path, signal) => this.entry(path, { signal, session: false }),
        history: (path, signal) => this.history(path, { signal, session: false, limit: 100 }).toArray(),
      },
    });
  }

  #reachChanged({ state, error }) {
    this.#emitter.emit('state', { state, error });
    if (state === 'online' || state === 'offline') this.#emitter.emit(state, { error });
    if (state === 'online') {
      this.#feeds.wake();
      this.#queue?.flush();
    }
    if (state === 'offline') this.#feeds.check();
  }

  /** A subscription that a function reads has nobody to throw to. */
  #report(error, signal) {
    // The program ended it.
    if (signal?.aborted && error === signal.reason) return;
    if (!this.#emitter.emit('error', error)) console.error('rejoin: a subscription ended', error);
  }
}

/** Answered by every node to everybody whom it answers at all. */
const SIGN_OF_LIFE = {
  method: 'GET',
  target: '/version',
  session: false,
  attempts: 1,
  timeout: PROBE_TIMEOUT,
};

const isReplayed = (answer) => answer.headers.get('idempotency-replayed') !== null;
const hasEtag = (body) => typeof body?.etag === 'string';
const hasItems = (body) => Array.isArray(body?.items);

/** The server's greatest page. */
const PAGE_MAX = 1_000;

function isAbsent(error) {
  return error instanceof NotFoundError && error.code === 'not_found';
}

/** An etag, or several, as a condition wants them; `*` for any. */
function tags(given) {
  if (given === '*') return '*';
  return (Array.isArray(given) ? given : [given])
    .map((tag) => (/^(W\/)?"/.test(tag) ? tag : `"${tag}"`))
    .join(', ');
}

function scanQuery({ reverse, start, end, where, fields, depth, keysOnly, meta }, more) {
  return query({
    ...more,
    reverse,
    start,
    end,
    depth,
    keys_only: keysOnly,
    meta,
    where: Array.isArray(where) ? where.join(',') : where,
    fields: Array.isArray(fields) ? fields.join(',') : fields,
  });
}

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== Infinity);
  if (given.length === 0) return '';
  return `?${given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`;
}

function pageOrigin() {
  const origin = globalThis.location?.origin;
  if (origin && origin !== 'null') return origin;
  throw new InvalidArgumentError('invalid_url', 'The client was given no `url`.', {
    hint: 'createClient({ url: "http://127.0.0.1:3000" })',
  });
}

function check(options) {
  for (const name of Object.keys(options)) {
    if (!OPTIONS.has(name))
      throw new TypeError(`createClient has no option \`${name}\`. It has: ${[...OPTIONS].join(', ')}.`);
  }
  if (options.url !== undefined && options.urls !== undefined)
    throw new TypeError('Give one of the options `url` and `urls`.');
  if (options.urls !== undefined && (!Array.isArray(options.urls) || options.urls.length === 0)) {
    throw new TypeError('The option `urls` is a list of at least one URL.');
  }
  for (const name of ['timeout', 'attempts', 'sessionWait']) {
    const value = options[name];
    if (value !== undefined && !(Number.isFinite(value) && value >= (name === 'sessionWait' ? 0 : 1))) {
      throw new TypeError(`The option \`${name}\` is a positive number.`);
    }
  }
  for (const name of ['fetch', 'parse', 'stringify']) {
    if (options[name] !== undefined && typeof options[name] !== 'function')
      throw new TypeError(`The option \`${name}\` is a function.`);
  }
}
