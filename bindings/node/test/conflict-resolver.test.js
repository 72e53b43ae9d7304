'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { ConflictResolver, OptionError } = require('rejoin');
const { warning } = require('./support.js');

const older = { value: { stock: 5 }, timestamp: 1000, origin: 'a', vectorClock: { a: 1 } };
const newer = { value: { stock: 9 }, timestamp: 2000, origin: 'b', vectorClock: { b: 1 } };

/** The resolver of the seed's README. */
const least = (path, localData, remoteData) => {
  const minStock = Math.min(localData.value.stock, remoteData.value.stock);
  const result = localData.timestamp >= remoteData.timestamp ? { ...localData } : { ...remoteData };
  result.value = { ...result.value, stock: minStock };
  return result;
};

test('the longest path decides which strategy rules', () => {
  const resolver = new ConflictResolver({ defaultStrategy: 'first-write-wins', pathStrategies: { users: 'merge-fields' } });
  resolver.setStrategy('users/admins', 'vector-dominance');
  assert.equal(resolver.getStrategyForPath('users/x'), 'merge-fields');
  assert.equal(resolver.getStrategyForPath('users/admins/x'), 'last-write-wins');
  assert.equal(resolver.getStrategyForPath('users2'), 'first-write-wins');
  assert.equal(new ConflictResolver().getStrategyForPath('x'), 'last-write-wins');
});

test('a registered function decides, the same whichever side is called local', () => {
  const resolver = new ConflictResolver();
  resolver.registerCustomResolver('inventory', least);
  assert.equal(resolver.getStrategyForPath('inventory/x'), 'custom');
  const expected = { value: { stock: 5 }, timestamp: 2000, origin: 'b', vectorClock: { a: 1, b: 1 } };
  assert.deepEqual(resolver.resolve('inventory/x', older, newer), expected);
  assert.deepEqual(resolver.resolve('inventory/x', newer, older), expected);
  assert.deepEqual(resolver.resolve('other/x', older, newer).value, newer.value);
});

test('a function is not asked about versions that saw each other', () => {
  const never = () => assert.fail('there is nothing to resolve');
  const resolver = new ConflictResolver({ defaultStrategy: 'custom', customResolvers: { '': never } });
  const after = { ...older, vectorClock: { a: 1, b: 1 } };
  assert.equal(resolver.resolve('x', after, newer), after);
  assert.equal(resolver.resolve('x', newer, after), after);
  assert.equal(resolver.resolve('x', older, { ...older }), older);
  assert.equal(resolver.resolve('x', older, null), older);
  assert.equal(resolver.resolve('x', undefined, newer), newer);
});

test('a function that throws, returns no data or is not there: the newest wins, with a warning', async () => {
  const wrong = { throws: () => { throw new Error('out of stock'); }, nothing: () => undefined, text: () => 'x', later: async () => older };
  for (const [name, resolve] of [...Object.entries(wrong), ['absent', undefined]]) {
    const customResolvers = resolve === undefined ? {} : { x: resolve };
    const resolver = new ConflictResolver({ pathStrategies: { x: 'custom' }, customResolvers });
    const warned = warning('REJOIN_RESOLVER');
    assert.deepEqual(resolver.resolve('x', older, newer).value, newer.value, name);
    assert.match((await warned).message, /newest version wins/, name);
  }
});

test('wrong strategies and functions are refused by name', () => {
  assert.throws(() => new ConflictResolver({ defaultStrategy: 'newest' }), { name: 'OptionError', option: 'conflict.defaultStrategy' });
  const resolver = new ConflictResolver();
  assert.throws(() => resolver.setStrategy('x', 'newest'), OptionError);
  assert.throws(() => resolver.setStrategy(7, 'custom'), OptionError);
  assert.throws(() => resolver.registerCustomResolver('x', {}), OptionError);
});
