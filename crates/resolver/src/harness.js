// Runs before a resolver: takes away what differs from node to node, and calls the resolver.
(function () {
  'use strict';
  const { parse, stringify } = JSON;
  const { isArray } = Array;

  // Exact everywhere: the rest depends on the platform's mathematical library, or on chance.
  const exact = ['abs', 'ceil', 'clz32', 'floor', 'fround', 'imul', 'max', 'min', 'round', 'sign', 'sqrt', 'trunc'];
  for (const name of Object.getOwnPropertyNames(Math)) {
    if (typeof Math[name] === 'function' && !exact.includes(name)) delete Math[name];
  }
  // Nothing waits here, and nothing may happen after the result.
  delete globalThis.queueMicrotask;

  // The first server's way to say which function it is, and CommonJS's.
  let registered;
  globalThis.server = { registerConflictResolver(_prefix, resolver) { registered = resolver; } };
  globalThis.module = { exports: {} };

  const found = (last) => {
    const candidates = [registered, module.exports, last, globalThis.resolve];
    return candidates.find((candidate) => typeof candidate === 'function');
  };

  class Nonsense { constructor(reason) { this.reason = reason; } }

  // What JSON would change without a word is refused instead.
  function strict(key, value) {
    const where = key === '' ? 'it' : `its member ${stringify(key)}`;
    switch (typeof value) {
      case 'number':
        if (value !== value || value === Infinity || value === -Infinity) {
          throw new Nonsense(`${where} is ${value}, which is no JSON number`);
        }
        break;
      case 'undefined':
        if (isArray(this)) throw new Nonsense(`${where} is undefined`);
        break;
      case 'bigint':
      case 'function':
      case 'symbol':
        throw new Nonsense(`${where} is a ${typeof value}`);
    }
    return value;
  }

  const call = (resolver, path, local, remote) => {
    try {
      const result = resolver(path, parse(local), parse(remote));
      if (result === null || typeof result !== 'object' || isArray(result)) {
        const kind = result === null ? 'null' : isArray(result) ? 'an array' : typeof result;
        throw new Nonsense(`it returned ${kind} instead of { value, timestamp, origin, vectorClock }`);
      }
      const { value, deleted, timestamp, origin } = result;
      if (typeof result.then === 'function') throw new Nonsense('it returned a promise: a resolver cannot wait');
      if (deleted === true) return stringify({ result: { deleted: true, timestamp, origin } }, strict);
      if (value === undefined) throw new Nonsense('its member "value" is missing');
      return stringify({ result: { value, timestamp, origin } }, strict);
    } catch (error) {
      if (error instanceof Nonsense) return stringify({ nonsense: error.reason });
      throw error;
    }
  };
  return { found, call };
})()
