/** A sequence that is fetched while it is read: an async iterable that can also be read as a whole. */
export class Items {
  #make;

  /** `make` begins an iteration; each one asks anew. */
  constructor(make) {
    this.#make = make;
  }

  [Symbol.asyncIterator]() {
    return this.#make()[Symbol.asyncIterator]();
  }

  /** Everything, in an array. */
  async toArray() {
    const all = [];
    for await (const item of this) all.push(item);
    return all;
  }
}
