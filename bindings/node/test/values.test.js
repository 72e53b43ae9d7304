'use strict';

// What a value is: what JSON.stringify makes of it, or refused with its place. Nothing becomes null or {} on its way.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { stage, warning } = require('./support.js');

test('what JSON.stringify has a meaning for is stored as that', async (t) => {
  const server = await stage(t).started('a');
  class Money {
    constructor(cents) { this.cents = cents; }
    toJSON() { return `${this.cents} ct`; }
  }
  class Point {
    #hidden = 1;
    constructor(x) { this.x = x; }
    get hidden() { return this.#hidden; }
  }
  const shared = { n: 1 };
  for (const value of [
    { when: new Date(0), never: new Date(NaN) },
    new Date(0),
    { price: new Money(250), prices: [new Money(1)] },
    new Point(7),
    { gone: undefined, kept: 1, f() {}, [Symbol('s')]: 2, s: Symbol('s') },
    [undefined, () => {}, Symbol('s'), 1],
    // eslint-disable-next-line no-sparse-arrays
    [1, , 3],
    { boxed: [Object(1), Object('x'), Object(true)] },
    Object.assign(Object.create(null), { plain: true }),
    Object.assign(Object.create({ inherited: 1 }), { own: 2 }),
    [shared, shared],
    { bytes: new Uint8Array([1, 2]), buffer: Buffer.from('a') },
    Object.assign(new Error('not kept'), { code: 'E' }),
    new URL('http://example.com/'),
    { toJSON: () => ({ replaced: true }) },
    { deep: JSON.parse('['.repeat(60) + ']'.repeat(60)) },
    -0,
  ]) {
    const expected = JSON.parse(JSON.stringify(value));
    assert.deepEqual((await server.put('v', value)).value, expected);
    assert.deepEqual(await server.get('v'), expected);
  }
});

test('what JSON would turn into something else is refused, with its place', async (t) => {
  const server = await stage(t).started('a');
  await server.put('a', 'as it was');
  for (const [value, place] of [
    [{ total: NaN }, 'value.total is NaN'],
    [{ list: [1, { x: Infinity }] }, 'value.list[1].x is Infinity'],
    [[[-Infinity]], 'value[0][0] is -Infinity'],
    [{ 'a b': { c: NaN } }, 'value["a b"].c is NaN'],
    [[Object(NaN)], 'value[0] is NaN'],
    [{ first: { fine: 1 }, second: { map: new Map([['k', 1]]) } }, 'value.second.map is a Map'],
    [new Map(), 'value is a Map'],
    [{ tags: new Set(['a']) }, 'value.tags is a Set'],
    [{ w: new WeakMap() }, 'value.w is a WeakMap'],
    [{ e: new Error('x') }, 'value.e is an Error'],
    [/x/, 'value is a RegExp'],
    [{ later: Promise.resolve(1) }, 'value.later is a Promise'],
    [{ query: new URLSearchParams('a=1') }, 'value.query is an URLSearchParams'],
    [new ArrayBuffer(8), 'value is an ArrayBuffer'],
    [{ big: 10n }, 'value.big is 10n'],
    [{ made: { toJSON: () => ({ x: NaN }) } }, 'value.made.x is NaN'],
    [{ when: new Date(0), x: NaN }, 'value.x is NaN'],
    [new Float64Array([1, NaN]), 'value["1"] is NaN'],
  ]) {
    await assert.rejects(server.put('a', value), (error) => {
      assert.equal(error.name, 'OptionError');
      assert.equal(error.option, 'value');
      assert.ok(error.message.includes(place), `${error.message} says ${place}`);
      return true;
    });
  }
  const ring = { a: {} };
  ring.a.ring = ring;
  await assert.rejects(server.put('a', ring), { name: 'OptionError', message: /circular/ });
  assert.equal(await server.get('a'), 'as it was');
});

test('what a resolver returns is held to the same', async (t) => {
  const { ConflictResolver } = require('rejoin');
  const older = { value: 1, timestamp: 1, origin: 'a', vectorClock: { a: 1 } };
  const newer = { value: 2, timestamp: 2, origin: 'b', vectorClock: { b: 1 } };
  for (const value of [{ x: NaN }, { m: new Map() }, [new Set()]]) {
    const resolver = new ConflictResolver({ customResolvers: { x: (_, local) => ({ ...local, value }) } });
    const warned = warning('REJOIN_RESOLVER');
    assert.equal(resolver.resolve('x', older, newer).value, 2);
    assert.match((await warned).message, /JSON cannot hold: value/);
  }
});
