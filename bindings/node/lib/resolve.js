'use strict';

// One call of a custom resolver: what it gets, and what may come back.

const { RejoinError, shown } = require('./errors.js');
const { stringify } = require('./json.js');

const PUBLIC = ({ value, timestamp, origin, vectorClock }) => ({ value, timestamp, origin, vectorClock });

/** Calls a resolver; throws when it throws, or when what it returns is no data. */
function callResolver(resolver, path, local, remote) {
  const result = resolver(path, PUBLIC(local), PUBLIC(remote));
  const refuse = (problem) => new RejoinError('invalid_result', `the conflict resolver of "${path}" ${problem}`);
  if (typeof result?.then === 'function') {
    // Its outcome is of no use, and must not end the process either.
    Promise.resolve(result).catch(() => {});
    throw refuse('returned a promise: a resolver cannot wait, because every node must come to the same value');
  }
  if (typeof result !== 'object' || result === null || Array.isArray(result)) {
    throw refuse(`returned ${shown(result)} instead of { value, timestamp, origin, vectorClock }`);
  }
  if (result.value !== null) {
    let text;
    try {
      text = stringify(result.value);
    } catch (error) {
      throw refuse(`returned a value that JSON cannot hold: ${error.message}`);
    }
    if (text === undefined || text === 'null') throw refuse(`returned a value that JSON cannot hold: ${shown(result.value)}`);
  }
  return result;
}

/** The answer for the native half, as JSON text. `null` stands for a delete. */
function answer({ value, timestamp, origin }) {
  return JSON.stringify({ result: value === null ? { deleted: true, timestamp, origin } : { value, timestamp, origin } });
}

module.exports = { callResolver, answer };
