/** The bearer token: text, or a function that is asked for it, and asked again when the server refuses it. */

export class Credentials {
  #source;
  #current;
  #asking;

  constructor(token) {
    if (token !== undefined && token !== null && typeof token !== 'string' && typeof token !== 'function') {
      throw new TypeError('The option `token` is text or a function that returns text.');
    }
    this.#source = token ?? undefined;
  }

  /** The token to send; undefined for none. */
  async token() {
    if (typeof this.#source !== 'function') return this.#source;
    if (this.#current !== undefined) return this.#current;
    return this.#ask(undefined);
  }

  /** Another token than `refused`, for requests that the server refused; undefined when there is none. */
  async renewed(refused) {
    if (typeof this.#source !== 'function') return undefined;
    // Another request has renewed it meanwhile.
    if (this.#current !== undefined && this.#current !== refused) return this.#current;
    const token = await this.#ask(refused);
    return token === refused ? undefined : token;
  }

  /** Requests that overlap ask once. */
  #ask(refused) {
    this.#asking ??= (async () => {
      try {
        const token = (await this.#source({ refused })) ?? undefined;
        this.#current = token;
        return token;
      } finally {
        this.#asking = undefined;
      }
    })();
    return this.#asking;
  }
}
