'use strict';

const { shown } = require('./errors.js');

/** A clock's entry; what is none counts as 0. */
const entryOf = (value) => (Number.isSafeInteger(value) && value >= 0 ? value : 0);

/** The entries of something that may be a clock; `undefined` for what is none. */
function entriesOf(clock) {
  if (clock instanceof VectorClock) return clock.entries();
  if (typeof clock !== 'object' || clock === null || Array.isArray(clock)) return undefined;
  return Object.entries(clock);
}

/**
 * How many writes of each node something has seen.
 *
 * Entries that are no whole number from 0 up are 0, those that are undefined are ignored, and a node without an entry has
 * 0. `increment` changes the clock and returns it; `merge` gives a new one and changes neither.
 */
class VectorClock {
  #entries = new Map();

  /** A clock with the entries of an object or of another clock. */
  constructor(entries = {}) {
    for (const [node, value] of entriesOf(entries) ?? []) {
      if (value !== undefined) this.#entries.set(node, entryOf(value));
    }
  }

  /** The clock that `toJSON` gave, as an object or as its JSON text; empty for anything else. */
  static fromJSON(json) {
    if (typeof json !== 'string') return new VectorClock(json ?? {});
    try {
      return new VectorClock(JSON.parse(json) ?? {});
    } catch {
      return new VectorClock();
    }
  }

  /** The entry of a node. */
  get(node) {
    return this.#entries.get(node) ?? 0;
  }

  /** Nodes and their entries, by node. */
  entries() {
    return [...this.#entries].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Counts one more write of a node; of no node, nothing. */
  increment(node) {
    if (node === null || node === undefined) return this;
    if (typeof node !== 'string' || node === '') throw new TypeError(`increment: the id of a node is a text, not ${shown(node)}`);
    this.#entries.set(node, this.get(node) + 1);
    return this;
  }

  clone() {
    return new VectorClock(this);
  }

  /** A new clock that has seen what this one and another one have. */
  merge(other) {
    const merged = this.clone();
    for (const [node, value] of entriesOf(other) ?? []) {
      if (value !== undefined) merged.#entries.set(node, Math.max(merged.get(node), entryOf(value)));
    }
    return merged;
  }

  /** 1: this one is after the other, -1: before, 0: neither (so is every clock with what is none), 2: identical. */
  compare(other) {
    const entries = entriesOf(other);
    if (entries === undefined) return 0;
    const theirs = new VectorClock(other);
    const nodes = new Set([...this.#entries.keys(), ...entries.map(([node]) => node)]);
    let [ahead, behind] = [false, false];
    for (const node of nodes) {
      const difference = this.get(node) - theirs.get(node);
      ahead ||= difference > 0;
      behind ||= difference < 0;
    }
    if (ahead && behind) return 0;
    return ahead ? 1 : behind ? -1 : 2;
  }

  isBefore(other) {
    return this.compare(other) === -1;
  }

  isAfter(other) {
    return this.compare(other) === 1;
  }

  isConcurrent(other) {
    return this.compare(other) === 0;
  }

  isIdentical(other) {
    return this.compare(other) === 2;
  }

  /** `compare` in words: dominates, dominated, concurrent or identical. */
  dominanceRelation(other) {
    return { 1: 'dominates', '-1': 'dominated', 0: 'concurrent', 2: 'identical' }[this.compare(other)];
  }

  /**
   * The later of two clocks; of two concurrent ones, the one with the greater entry for the first node, by id, in which
   * they differ. Whichever of the two is asked, the answer is the same.
   */
  deterministicWinner(other) {
    const theirs = entriesOf(other) === undefined ? new VectorClock() : other instanceof VectorClock ? other : new VectorClock(other);
    const order = this.compare(theirs);
    if (order !== 0) return order === -1 ? theirs : this;
    const nodes = this.merge(theirs).entries();
    const [differs] = nodes.find(([node]) => this.get(node) !== theirs.get(node));
    return this.get(differs) > theirs.get(differs) ? this : theirs;
  }

  /** A plain object: node to number. */
  toJSON() {
    return Object.fromEntries(this.entries());
  }

  toString() {
    return `{${this.entries().map(([node, value]) => `${node}:${value}`).join(', ')}}`;
  }
}

module.exports = { VectorClock };
