'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { VectorClock } = require('rejoin');

test('increments count the writes of a node', () => {
  const clock = new VectorClock();
  clock.increment('a').increment('a').increment('b');
  assert.deepEqual(clock.toJSON(), { a: 2, b: 1 });
  assert.throws(() => clock.increment(7), TypeError);
  assert.equal(clock.increment(null).increment(undefined).increment(), clock, 'the writes of nobody are none');
  assert.deepEqual(clock.toJSON(), { a: 2, b: 1 });
});

test('a clone goes its own way; a merge is a new clock with the greater of each entry, and changes neither', () => {
  const clock = new VectorClock({ a: 1, b: 5 });
  const copy = clock.clone().increment('a');
  assert.deepEqual(clock.toJSON(), { a: 1, b: 5 });
  const other = new VectorClock({ b: 3, c: 1 });
  const merged = copy.merge(other);
  assert.deepEqual(merged.toJSON(), { a: 2, b: 5, c: 1 });
  assert.deepEqual([copy.toJSON(), other.toJSON()], [{ a: 2, b: 5 }, { b: 3, c: 1 }]);
  merged.increment('a').increment('c');
  assert.deepEqual([copy.get('a'), other.get('c')], [2, 1], 'nothing is shared');
  const same = copy.merge(null);
  assert.notEqual(same, copy, 'also where there is nothing to merge');
  assert.deepEqual(copy.merge({ b: 3, c: 1 }).toJSON(), { a: 2, b: 5, c: 1 });
  assert.deepEqual(merged.merge(null).merge(7).merge('x').toJSON(), merged.toJSON(), 'nonsense adds nothing');
});

test('1 is after, -1 before, 0 concurrent, 2 identical, and each has a name', () => {
  const clock = new VectorClock({ a: 2, b: 1 });
  for (const [other, order, relation] of [
    [{ a: 1, b: 1 }, 1, 'dominates'],
    [{ a: 3, b: 1 }, -1, 'dominated'],
    [{ a: 1, b: 2 }, 0, 'concurrent'],
    [{ b: 1, a: 2 }, 2, 'identical'],
  ]) {
    assert.equal(clock.compare(other), order);
    assert.equal(clock.compare(new VectorClock(other)), order);
    assert.equal(clock.dominanceRelation(other), relation);
    const is = [clock.isAfter(other), clock.isBefore(other), clock.isConcurrent(other), clock.isIdentical(other)];
    assert.deepEqual(is, [order === 1, order === -1, order === 0, order === 2]);
  }
});

test('bad entries are 0, undefined ones are ignored, and nonsense is concurrent with everything', () => {
  const clock = new VectorClock({ a: 1, bad: 'x', worse: -1, nan: NaN, half: 1.5, none: undefined, large: Infinity, empty: null });
  assert.deepEqual(clock.toJSON(), { a: 1, bad: 0, empty: 0, half: 0, large: 0, nan: 0, worse: 0 });
  assert.ok(clock.isIdentical({ a: 1 }));
  assert.ok(clock.isIdentical({ a: 1, b: undefined, c: 'x' }));
  for (const nonsense of [null, undefined, 7, 'x', [], [1], true, () => {}]) {
    assert.equal(clock.compare(nonsense), 0, String(nonsense));
    assert.equal(new VectorClock().compare(nonsense), 0, String(nonsense));
    assert.deepEqual(new VectorClock(nonsense).toJSON(), {}, String(nonsense));
    assert.equal(clock.deterministicWinner(nonsense), clock, String(nonsense));
  }
});

test('JSON and back', () => {
  const clock = new VectorClock({ b: 2, a: 1 });
  assert.equal(JSON.stringify(clock), '{"a":1,"b":2}');
  assert.equal(String(clock), '{a:1, b:2}');
  for (const json of [clock.toJSON(), JSON.stringify(clock), clock]) {
    assert.ok(VectorClock.fromJSON(json).isIdentical(clock));
  }
  for (const nonsense of ['', 'null', '[', null, undefined, 5]) assert.deepEqual(VectorClock.fromJSON(nonsense).toJSON(), {});
  const named = VectorClock.fromJSON('{"__proto__":3,"constructor":2}');
  assert.equal(named.get('__proto__'), 3);
  assert.equal(named.get('toString'), 0);
});
