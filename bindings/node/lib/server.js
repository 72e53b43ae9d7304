'use strict';

const path = require('node:path');
const { RejoinError, OptionError, shown, warn } = require('./errors.js');
const { checkConfig, checkPath, checkResolver, checkStrategy } = require('./config.js');
const { Policy } = require('./policy.js');
const { callResolver, answer } = require('./resolve.js');
const { load } = require('./native.js');

// Kinds of operations and of messages: see bindings/node/src/operation.rs and shapes.rs.
const GET = 0;
const PUT = 1;
const DEL = 2;
const SCAN = 3;
const SUBSCRIBE = 4;
const UNSUBSCRIBE = 5;
const ANTI_ENTROPY = 6;
const REMOVE = 7;
const START_ID = 0;
const CLOSE_ID = 1;

/** Operations of one turn of the event loop are handed over together, unless their text is longer than this. */
const BATCH_CHARS_MAX = 256 * 1024;

/** A running node with an HTTP API, made of the options of `createServer`. */
class P2PServer {
  #config;
  #policy;
  #native = null;
  /** new, starting, running, closing or closed. */
  #state = 'new';
  #id = null;
  #pending = new Map();
  #subscriptions = new Map();
  #next = CLOSE_ID + 1;
  #batch = '';
  #starting = null;
  #closing = null;

  constructor(options) {
    this.#config = checkConfig(options);
    this.#policy = new Policy(this.#config);
  }

  /** The id of this node, the key of its writes in every vectorClock. It is in the database: `null` before the first start. */
  get serverID() {
    return this.#id;
  }

  get port() {
    return this.#config.port;
  }

  get dbPath() {
    return this.#config.dbPath;
  }

  get peers() {
    return [...this.#config.peers];
  }

  /** Opens the database, listens, and dials the peers. After a failure it can be called again. */
  start() {
    if (this.#state !== 'new') return Promise.reject(this.#refusal('start'));
    this.#state = 'starting';
    this.#starting = this.#open().then(
      ({ id }) => {
        this.#id = id;
        this.#state = 'running';
      },
      (error) => {
        this.#native = null;
        this.#state = 'new';
        throw error;
      },
    );
    return this.#starting;
  }

  async #open() {
    const { NativeServer } = load();
    const { defaultStrategy, pathStrategies, customResolvers, serverID, dbPath, ...rest } = this.#config;
    const settings = { ...rest, dbPath: path.resolve(dbPath), name: serverID, policy: this.#policy };
    const started = new Promise((resolve, reject) => this.#pending.set(START_ID, { resolve, reject, items: null }));
    this.#native = new NativeServer(JSON.stringify(settings), () => this.#drain());
    return started;
  }

  /** Ends what is under way, and lets the database, the port and the process go. May be called at any time, and again. */
  close() {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end() {
    if (this.#state === 'starting') await this.#starting.catch(() => {});
    if (this.#state === 'new') {
      this.#state = 'closed';
      return;
    }
    this.#state = 'closing';
    this.#flush();
    this.#subscriptions.clear();
    const closed = new Promise((resolve, reject) => this.#pending.set(CLOSE_ID, { resolve, reject, items: null }));
    this.#native.close();
    try {
      await closed;
    } finally {
      this.#state = 'closed';
      this.#native = null;
      for (const { reject } of this.#pending.values()) reject(new RejoinError('closed', 'the server is closed'));
      this.#pending.clear();
    }
  }

  /** Stores a value; `null` deletes. Resolves to what is there then, once the write is as durable as configured. */
  put(path, value) {
    if (value === null) return this.#ask(DEL, path, '0');
    let text;
    try {
      text = JSON.stringify(value);
    } catch (error) {
      return Promise.reject(new OptionError('value', `cannot be written as JSON: ${error.message}`));
    }
    if (text === undefined || text === 'null') {
      return Promise.reject(new OptionError('value', `cannot be written as JSON: ${shown(value)}; null deletes`));
    }
    return this.#ask(PUT, path, text);
  }

  /** The value at a path, or `null`. */
  get(path) {
    return this.#ask(GET, path, '0');
  }

  /** Deletes the value at a path; false when there is none. */
  del(path) {
    return this.#ask(REMOVE, path, '0');
  }

  /** Every value whose path begins with `prefix`, in path order, at most `limit`. */
  scan(prefix = '', options = {}) {
    const limit = options?.limit ?? null;
    if (limit !== null && !(Number.isSafeInteger(limit) && limit > 0)) {
      return Promise.reject(new OptionError('limit', `must be a whole number above 0, not ${shown(limit)}`));
    }
    return this.#ask(SCAN, prefix, String(limit));
  }

  /**
   * Calls `callback(value, path)` for every change of the path, of what is below it and of its ancestors, wherever it was
   * made; the value of a deleted path is `null`. Resolves to a function that ends this.
   */
  subscribe(path, callback) {
    if (typeof callback !== 'function') {
      return Promise.reject(new OptionError('callback', `must be a function, not ${shown(callback)}`));
    }
    const id = this.#next;
    const asked = this.#ask(SUBSCRIBE, path, '0');
    if (this.#state === 'running') this.#subscriptions.set(id, callback);
    return asked.then(
      () => () => {
        if (this.#subscriptions.delete(id) && this.#state === 'running') this.#add(this.#next++, UNSUBSCRIBE, '""', id);
      },
      (error) => {
        this.#subscriptions.delete(id);
        throw error;
      },
    );
  }

  /** The superseded versions of a path, newest first. Reads what is on disk, on this thread. */
  getVersionHistory(path) {
    checkText(path, 'path');
    return this.#now('getVersionHistory', (native) => native.history(path)).slice(0, this.#config.maxVersions);
  }

  /** Has conflicts of a path, and of what is below it, resolved by another strategy from now on. */
  setConflictStrategy(path, strategy) {
    const [at, name] = [checkPath(path, 'path'), checkStrategy(strategy, 'strategy')];
    this.#change('setConflictStrategy', () => this.#policy.setStrategy(at, name));
  }

  /** Has conflicts of a path, and of what is below it, resolved by a function from now on. */
  registerConflictResolver(path, resolver) {
    const at = checkPath(path, 'path');
    checkResolver(resolver, 'resolver');
    this.#change('registerConflictResolver', () => this.#policy.register(at, resolver));
  }

  /** Compares this node with its peers and exchanges what differs; resolves when that is done. */
  runAntiEntropy(prefix = '') {
    return this.#ask(ANTI_ENTROPY, prefix, '0');
  }

  /** The newest write of each node that this one has. */
  getVectorClock() {
    return this.#now('getVectorClock', (native) => native.vectorClock());
  }

  /** How many peers are linked, and how each link is. */
  getConnectionStats() {
    const peers = this.#now('getConnectionStats', (native) => native.connections());
    const linked = peers.filter(({ state }) => state === 'connected');
    const count = (direction) => linked.filter((peer) => peer.direction === direction).length;
    return { connected: linked.length, inbound: count('in'), outbound: count('out'), peers };
  }

  #refusal(what) {
    const [code, message] = {
      new: ['not_started', 'the server has not been started: await start() first'],
      starting: ['not_started', 'the server has not started yet: await start() first'],
      running: ['already_started', 'the server has been started already'],
      closing: ['closed', 'the server is closing'],
      closed: ['closed', 'the server is closed: create another one'],
    }[this.#state];
    return new RejoinError(code, `${what}: ${message}`);
  }

  /** Asks for something that is done elsewhere; `argument` is JSON text. */
  #ask(kind, path, argument) {
    if (this.#state !== 'running') return Promise.reject(this.#refusal(NAMES[kind]));
    if (typeof path !== 'string') {
      return Promise.reject(new OptionError(kind === SCAN || kind === ANTI_ENTROPY ? 'prefix' : 'path', `must be a text, not ${shown(path)}`));
    }
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, items: null });
      this.#add(id, kind, JSON.stringify(path), argument);
    });
  }

  #add(id, kind, text, argument) {
    if (this.#batch === '') queueMicrotask(() => this.#flush());
    this.#batch += `${this.#batch === '' ? '[' : ','}[${id},${kind},${text},${argument}]`;
    if (this.#batch.length > BATCH_CHARS_MAX) this.#flush();
  }

  #flush() {
    if (this.#batch === '') return;
    const batch = `${this.#batch}]`;
    this.#batch = '';
    this.#native?.submit(batch);
  }

  /** Asks for something that is at hand. */
  #now(what, read) {
    if (this.#state !== 'running') throw this.#refusal(what);
    try {
      return JSON.parse(read(this.#native));
    } catch (error) {
      throw unpacked(error);
    }
  }

  #change(what, change) {
    if (this.#state === 'closing' || this.#state === 'closed') throw this.#refusal(what);
    change();
    // A server that is starting hears of it when it has.
    if (this.#state === 'starting') this.#starting.then(() => this.#tellPolicy()).catch(() => {});
    else if (this.#state === 'running') this.#tellPolicy();
  }

  #tellPolicy() {
    if (this.#state !== 'running') return;
    try {
      this.#native.setPolicy(JSON.stringify(this.#policy));
    } catch (error) {
      throw unpacked(error);
    }
  }

  #drain() {
    const text = this.#native?.drain();
    if (!text) return;
    for (const message of JSON.parse(text)) this.#take(message);
  }

  #take([kind, id, ...rest]) {
    switch (kind) {
      case 0:
      case 1:
      case 2:
        return this.#answered(kind, id, rest[0]);
      case 3:
        return this.#deliver(id, rest[0], rest[1]);
      case 4:
        return this.#resolve(id, ...rest);
      default:
        return warn(id, rest[0]);
    }
  }

  /** Takes an answer (0), a failure (1), or a piece of an answer (2). */
  #answered(kind, id, answer) {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    if (kind === 2) {
      pending.items ??= [];
      for (const item of answer) pending.items.push(item);
      return;
    }
    this.#pending.delete(id);
    if (kind === 1) pending.reject(new RejoinError(answer.code, answer.message, answer));
    else pending.resolve(pending.items === null ? answer : pending.items.concat(answer));
  }

  #deliver(id, path, value) {
    const callback = this.#subscriptions.get(id);
    if (callback === undefined) return;
    const failed = (error) => {
      warn('REJOIN_CALLBACK', `a callback of subscribe threw at "${path}": ${error?.stack ?? shown(error)}`);
    };
    try {
      const result = callback(value, path);
      if (typeof result?.then === 'function') Promise.resolve(result).catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  #resolve(call, number, path, local, remote) {
    try {
      // One that was replaced meanwhile is not asked any more.
      const resolver = this.#policy.byNumber(number) ?? this.#policy.resolver(path);
      if (resolver === undefined) throw new RejoinError('no_resolver', `no conflict resolver is registered for "${path}"`);
      this.#native.answer(call, true, answer(callResolver(resolver, path, local, remote)));
    } catch (error) {
      warn('REJOIN_RESOLVER', `a conflict resolver failed at "${path}", so the newest version is shown: ${error?.stack ?? shown(error)}`);
      this.#native.answer(call, false, String(error?.message ?? error));
    }
  }
}

const NAMES = { [GET]: 'get', [PUT]: 'put', [DEL]: 'put', [REMOVE]: 'del', [SCAN]: 'scan', [SUBSCRIBE]: 'subscribe', [ANTI_ENTROPY]: 'runAntiEntropy' };

function checkText(value, name) {
  if (typeof value !== 'string') throw new OptionError(name, `must be a text, not ${shown(value)}`);
}

/** An error of the native half, which has its parts as JSON in its message. */
function unpacked(error) {
  try {
    const [, , parts] = JSON.parse(error.message);
    return new RejoinError(parts.code, parts.message, parts);
  } catch {
    return error;
  }
}

/** A server with these options; it does nothing until it is started. */
function createServer(options) {
  return new P2PServer(options);
}

module.exports = { P2PServer, createServer };
