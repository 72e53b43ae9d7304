'use strict';

const { VectorClock } = require('./vector-clock.js');
const { Policy } = require('./policy.js');
const { callResolver } = require('./resolve.js');
const { checkConfig, checkPath, checkResolver, checkStrategy } = require('./config.js');
const { shown, warn } = require('./errors.js');

const isFields = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isDelete = (data) => data.value === null || data.value === undefined;

/** The order of concurrent versions, as the engine has it: time, then the node's id, then the node's own count. */
function isNewer(a, b) {
  const [clockA, clockB] = [new VectorClock(a.vectorClock), new VectorClock(b.vectorClock)];
  const [originA, originB] = [String(a.origin ?? ''), String(b.origin ?? '')];
  if (a.timestamp !== b.timestamp) return a.timestamp > b.timestamp;
  if (originA !== originB) return originA > originB;
  const [countA, countB] = [clockA.get(originA), clockB.get(originB)];
  if (countA !== countB) return countA > countB;
  return clockA.deterministicWinner(clockB) === clockA;
}

/** What two versions of a path come to: the rules of the engine, for use on their own. Pure: it stores nothing. */
class ConflictResolver {
  #policy;

  /** Takes the members of `createServer`'s option `conflict`. */
  constructor(conflict = {}) {
    this.#policy = new Policy(checkConfig({ conflict }));
  }

  /** The name of the strategy that rules a path: that of the longest path given for it or above it. */
  getStrategyForPath(path) {
    return this.#policy.strategy(checkPath(path, 'path'));
  }

  setStrategy(path, strategy) {
    this.#policy.setStrategy(checkPath(path, 'path'), checkStrategy(strategy, 'strategy'));
  }

  /** Registers a function for a path; the path's strategy is custom from now on. */
  registerCustomResolver(path, resolver) {
    this.#policy.register(checkPath(path, 'path'), checkResolver(resolver, 'resolver'));
  }

  /**
   * What two versions, `{ value, timestamp, origin, vectorClock }`, come to: of two that did not see each other, as a server
   * resolves the conflict; of one that saw the other, as a `put` of it where that one was. The clock of the outcome covers both.
   */
  resolve(path, local, remote) {
    if (local === null || local === undefined) return remote ?? null;
    if (remote === null || remote === undefined) return local;
    const clock = new VectorClock(local.vectorClock ?? {});
    switch (clock.compare(remote.vectorClock ?? {})) {
      case 2:
        return local;
      case 1:
        return this.#replaced(path, remote, local);
      case -1:
        return this.#replaced(path, local, remote);
      default: {
        const [older, newer] = isNewer(local, remote) ? [remote, local] : [local, remote];
        const outcome = this.#concurrent(path, older, newer);
        return { ...outcome, vectorClock: clock.merge(remote.vectorClock).toJSON() };
      }
    }
  }

  /** A version that saw the one that it is to replace. A delete replaces everything, and is replaced by everything. */
  #replaced(path, first, later) {
    if (isDelete(first) || isDelete(later)) return later;
    switch (this.#policy.strategy(path)) {
      case 'first-write-wins':
        return { ...first, vectorClock: later.vectorClock };
      case 'merge-fields':
        return merged(first, later);
      default:
        return later;
    }
  }

  #concurrent(path, older, newer) {
    switch (this.#policy.strategy(path)) {
      case 'first-write-wins':
        return isDelete(older) ? newer : older;
      case 'merge-fields':
        if (isDelete(newer)) return isDelete(older) ? newer : older;
        return merged(older, newer);
      case 'custom':
        return this.#custom(path, older, newer);
      default:
        return newer;
    }
  }

  #custom(path, older, newer) {
    try {
      const resolver = this.#policy.resolver(path);
      if (resolver === undefined) throw new Error(`no conflict resolver is registered for "${path}"`);
      const { value, timestamp = newer.timestamp, origin = newer.origin } = callResolver(resolver, path, older, newer);
      return { value, timestamp, origin };
    } catch (error) {
      warn('REJOIN_RESOLVER', `a conflict resolver failed at "${path}", so the newest version wins: ${error?.stack ?? shown(error)}`);
      return newer;
    }
  }
}

/** The newer one, with the fields of the older that it does not mention. */
function merged(older, newer) {
  if (!isFields(newer.value) || !isFields(older.value)) return newer;
  const kept = missing(older.value, newer.value);
  return Object.keys(kept).length === 0 ? newer : { ...newer, value: { ...newer.value, ...kept } };
}

/** The members of `from` that `object` has not. */
function missing(from, object) {
  return Object.fromEntries(Object.entries(from).filter(([name]) => !Object.hasOwn(object, name)));
}

module.exports = { ConflictResolver };
