'use strict';

// Which strategy rules which path, and which function resolves the conflicts of a custom one. The longest path wins.

const { createHash } = require('node:crypto');

/** The nearest of a path's own entry and those of its ancestors; the empty path is everybody's ancestor. */
function nearest(map, path) {
  for (let at = path; ; at = at.slice(0, Math.max(at.lastIndexOf('/'), 0))) {
    if (map.has(at)) return map.get(at);
    if (at === '') return undefined;
  }
}

class Policy {
  #strategies;
  #resolvers = new Map();
  #functions = new Map();
  #numbers = 0;

  /** The maps are as `checkConfig` makes them. */
  constructor({ defaultStrategy, pathStrategies, customResolvers }) {
    this.#strategies = new Map([['', defaultStrategy], ...pathStrategies]);
    for (const [path, resolver] of customResolvers) {
      this.#add(path, resolver);
      if (!pathStrategies.has(path)) this.#strategies.set(path, 'custom');
    }
  }

  strategy(path) {
    return nearest(this.#strategies, path);
  }

  setStrategy(path, strategy) {
    this.#strategies.set(path, strategy);
  }

  /** Registers a function for a path, which it rules from now on. */
  register(path, resolver) {
    this.#add(path, resolver);
    this.#strategies.set(path, 'custom');
  }

  /** The function that resolves the conflicts of a path. */
  resolver(path) {
    return nearest(this.#resolvers, path)?.resolver;
  }

  /** A function by the number under which the native half knows it. */
  byNumber(number) {
    return this.#functions.get(number);
  }

  #add(path, resolver) {
    const last = this.#resolvers.get(path);
    if (last?.resolver === resolver) return;
    // A new number even for code that was there before: what it sees outside of itself may be other things.
    const number = ++this.#numbers;
    this.#functions.delete(last?.number);
    const hash = createHash('sha256').update(Function.prototype.toString.call(resolver)).digest('hex').slice(0, 32);
    this.#resolvers.set(path, { resolver, number, name: `node/1 ${hash}` });
    this.#functions.set(number, resolver);
  }

  /** For the native half. A custom strategy without a function has number 0. */
  toJSON() {
    const rule = (path, strategy) => {
      if (strategy !== 'custom') return { strategy };
      const { number, name } = nearest(this.#resolvers, path) ?? { number: 0, name: 'node/1 none' };
      return { strategy, resolver: [number, name] };
    };
    const rules = [...this.#strategies].filter(([path]) => path !== '');
    return {
      default: rule('', this.#strategies.get('')),
      rules: rules.map(([path, strategy]) => [path, rule(path, strategy)]),
    };
  }
}

module.exports = { Policy };
