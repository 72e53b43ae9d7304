'use strict';

const { statSync } = require('node:fs');
const path = require('node:path');
const { RejoinError, OptionError, shown, warn } = require('./errors.js');
const { checkConfig, checkPath, checkPeer, checkResolver, checkStrategy } = require('./config.js');
const { Policy } = require('./policy.js');
const { callResolver, answer } = require('./resolve.js');
const { stringify } = require('./json.js');
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

/** Runs something after the code that runs now. Not by `queueMicrotask` or a timer: tests put fakes in the place of those. */
const soon = (run) => void Promise.resolve().then(run);

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
  /** What was asked before the server had started, in order. */
  #early = [];
  #peers;

  constructor(options) {
    this.#config = checkConfig(options);
    this.#policy = new Policy(this.#config);
    this.#peers = Object.freeze([...this.#config.peers]);
  }

  /** The name that was chosen for this server; without one, its `nodeID`. */
  get serverID() {
    return this.#config.serverID ?? this.#id;
  }

  /** The id of this node, the key of its writes in every vectorClock. It is in the database: `null` before the first start. */
  get nodeID() {
    return this.#id;
  }

  get port() {
    return this.#config.port;
  }

  get dbPath() {
    return this.#config.dbPath;
  }

  /** The URLs that are dialed. The array cannot be changed: see `addPeer` and `removePeer`. */
  get peers() {
    return this.#peers;
  }

  /** Keeps a link to a peer from now on; false when it does already. Of a server that starts again, the options count. */
  addPeer(url) {
    checkPeer(url, 'url');
    return this.#changePeers('addPeer', url, !this.#peers.some((peer) => isSame(peer, url)), [...this.#peers, url]);
  }

  /** Ends the link to a peer and does not dial it any more; false when it was not dialed. */
  removePeer(url) {
    checkPeer(url, 'url');
    const left = this.#peers.filter((peer) => !isSame(peer, url));
    return this.#changePeers('removePeer', url, left.length < this.#peers.length, left);
  }

  /** Opens the database, listens, and dials the peers. After a failure it can be called again. */
  start() {
    if (this.#state !== 'new') return Promise.reject(this.#refusal('start'));
    this.#state = 'starting';
    this.#starting = this.#open().then(
      ({ id }) => {
        this.#id = id;
        this.#state = 'running';
        this.#takeEarly(({ run }) => run());
      },
      (failed) => {
        const error = whyNot(failed, this.#config.dbPath);
        this.#native = null;
        this.#state = 'new';
        this.#takeEarly(({ reject }) => reject(error));
        throw error;
      },
    );
    return this.#starting;
  }

  #takeEarly(take) {
    const early = this.#early;
    this.#early = [];
    early.forEach(take);
  }

  async #open() {
    const { NativeServer } = load();
    const { defaultStrategy, pathStrategies, customResolvers, serverID, dbPath, ...rest } = this.#config;
    const settings = { ...rest, peers: this.#peers, dbPath: path.resolve(dbPath), name: serverID, policy: this.#policy };
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
      this.#takeEarly(({ reject }) => reject(new RejoinError('closed', 'the server was closed before it was started')));
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
      text = stringify(value);
    } catch (error) {
      return Promise.reject(new OptionError('value', `cannot be written as JSON: ${error.message}`));
    }
    if (text === undefined || text === 'null') {
      return Promise.reject(new OptionError('value', `cannot be written as JSON: ${shown(value)}; null deletes`));
    }
    if (HALF_PAIR.test(text)) {
      return Promise.reject(new RejoinError('invalid_json', 'a text in the value has half of a surrogate pair, which is no character', CUT));
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

  /** Every value whose path begins with `prefix`, in path order, at most `limit`; 0 and `null` are no limit. */
  scan(prefix = '', options = {}) {
    const limit = options?.limit ?? 0;
    if (!(Number.isSafeInteger(limit) && limit >= 0)) {
      return Promise.reject(new OptionError('limit', `must be a whole number, 0 for no limit, not ${shown(limit)}`));
    }
    return this.#ask(SCAN, prefix, limit === 0 ? 'null' : String(limit));
  }

  /**
   * Calls `callback(value, path)` for every change of the path, of what is below it and of its ancestors, wherever it was
   * made; the value of a deleted path is `null`. Resolves to a function that ends this.
   */
  subscribe(path, callback) {
    if (typeof callback !== 'function') {
      return Promise.reject(new OptionError('callback', `must be a function, not ${shown(callback)}`));
    }
    let subscription;
    const asked = this.#ask(SUBSCRIBE, path, '0', (id) => {
      subscription = id;
      this.#subscriptions.set(id, { callback, hasFailed: false });
    });
    return asked.then(
      () => () => {
        if (this.#subscriptions.delete(subscription) && this.#state === 'running') {
          this.#add(this.#next++, UNSUBSCRIBE, '""', subscription);
        }
      },
      (error) => {
        this.#subscriptions.delete(subscription);
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

  /** Compares the paths that begin with `prefix` with all peers and exchanges what differs; resolves when that is done. */
  async runAntiEntropy(prefix = '') {
    const report = await this.#ask(ANTI_ENTROPY, prefix, '0');
    return { prefix, ...report };
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
    const [code, message, hint] = {
      new: ['not_started', 'the server has not been started', 'await start() first'],
      starting: ['not_started', 'the server has not started yet', 'await the start() that was called'],
      running: ['already_started', 'the server has been started already', 'start() is called once'],
      closing: ['closed', 'the server is closing', 'create another one'],
      closed: ['closed', 'the server is closed', 'create another one'],
    }[this.#state];
    return new RejoinError(code, `${what}: ${message}`, { hint });
  }

  /**
   * Asks for something that is done elsewhere; `argument` is JSON text. Before the server has started, it waits for that.
   * `begun` is told the id under which it is asked.
   */
  #ask(kind, path, argument, begun) {
    try {
      checkText(path, kind === SCAN || kind === ANTI_ENTROPY ? 'prefix' : 'path');
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#state === 'closing' || this.#state === 'closed') return Promise.reject(this.#refusal(NAMES[kind]));
    return new Promise((resolve, reject) => {
      const run = () => {
        const id = this.#next++;
        this.#pending.set(id, { resolve, reject, items: null });
        begun?.(id);
        this.#add(id, kind, JSON.stringify(path), argument);
      };
      if (this.#state === 'running') run();
      else this.#early.push({ run, reject });
    });
  }

  #add(id, kind, text, argument) {
    if (this.#batch === '') soon(() => this.#flush());
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

  /** Changes which peers are dialed: of a server that runs at once, of another one from its start on. */
  #changePeers(what, url, isChange, peers) {
    if (this.#state === 'closing' || this.#state === 'closed') throw this.#refusal(what);
    const tell = () => (what === 'addPeer' ? this.#native.addPeer(url) : this.#native.removePeer(url));
    if (this.#state === 'running') {
      try {
        tell();
      } catch (error) {
        throw unpacked(error);
      }
    } else if (this.#state === 'starting') {
      // It hears of it when it has started.
      this.#early.push({ run: tell, reject: () => {} });
    }
    if (isChange) this.#peers = Object.freeze(peers);
    return isChange;
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
    if (kind === 1) pending.reject(failure(answer));
    else pending.resolve(pending.items === null ? answer : pending.items.concat(answer));
  }

  #deliver(id, path, value) {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) return;
    const failed = (error) => {
      // Once: a callback that fails at every change would say nothing else any more.
      if (subscription.hasFailed) return;
      subscription.hasFailed = true;
      warn('REJOIN_CALLBACK', `a callback of subscribe threw at "${path}", which is said once: ${error?.stack ?? shown(error)}`);
    };
    try {
      const result = subscription.callback(value, path);
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

/** A path or prefix as text. What else is wrong with it is found by the native half, which gets it as text of UTF-8. */
function checkText(value, name) {
  if (typeof value !== 'string') throw new OptionError(name, `must be a text, not ${shown(value)}`);
  if (!/\p{Surrogate}/u.test(value)) return;
  throw new RejoinError('invalid_path', `the ${name} ${shown(value)} has half of a surrogate pair, which is no character`, CUT);
}

const CUT = { hint: 'it was cut in the middle of a character: cut texts between code points, as [...text] has them' };

/** What JSON.stringify makes of half of a pair; whole ones it leaves as they are. */
const HALF_PAIR = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/;

/** Why a server did not start, where it is because of its directory. */
function whyNot(error, dbPath) {
  if (error.code !== 'storage_failed') return error;
  const file = firstThere(path.resolve(dbPath));
  if (file !== undefined) return new OptionError('dbPath', `must be a directory, and ${shown(file)} is a file`);
  const hint = `check that this user can read and write ${dbPath}, then start again: every answered write is kept`;
  return new RejoinError(error.code, error.message, { hint });
}

/** What is there of a path, if that is no directory. */
function firstThere(at) {
  try {
    return statSync(at).isDirectory() ? undefined : at;
  } catch {
    return at === path.dirname(at) ? undefined : firstThere(path.dirname(at));
  }
}

const isSame = (peer, other) => new URL(peer).href === new URL(other).href;

/** What to do, where it is a matter of options of this package. */
const HINTS = {
  too_large: 'split the value over several paths, or raise the option limits.valueBytes',
  too_deep: 'flatten the value, split it over several paths, or raise the option limits.valueDepth',
  locked: 'close the server that has it, or choose another dbPath',
  listen_failed: 'choose another port or host, or stop what uses it',
};

const failure = (parts) => new RejoinError(parts.code, parts.message, { ...parts, hint: HINTS[parts.code] ?? parts.hint });

/** An error of the native half, which has its parts as JSON in its message. */
function unpacked(error) {
  try {
    const [, , parts] = JSON.parse(error.message);
    return failure(parts);
  } catch {
    return error;
  }
}

/** A server with these options; it does nothing until it is started. */
function createServer(options) {
  return new P2PServer(options);
}

module.exports = { P2PServer, createServer };
