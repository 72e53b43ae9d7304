/** The nodes that a client may ask. It stays with one until that one fails. */

import { InvalidArgumentError } from '../errors.js';

export class Nodes {
  #urls;
  #at = 0;
  /** Failures since the last answer, over all nodes. */
  #failures = 0;

  constructor(urls) {
    this.#urls = urls.map(baseUrl);
  }

  get current() {
    return this.#urls[this.#at];
  }

  get count() {
    return this.#urls.length;
  }

  /** No node has answered, and all were asked. */
  get allFailed() {
    return this.#failures >= this.#urls.length;
  }

  answered() {
    this.#failures = 0;
  }

  /** Goes on to the next node, unless another request did. */
  failed(url) {
    this.#failures += 1;
    if (this.current === url) this.#at = (this.#at + 1) % this.#urls.length;
  }
}

function baseUrl(text) {
  let url;
  try {
    url = new URL(text, globalThis.location?.href);
  } catch (cause) {
    throw invalid(text, cause);
  }
  if (!/^https?:$/.test(url.protocol) || url.username || url.search || url.hash) throw invalid(text);
  return url.href.replace(/\/+$/, '');
}

function invalid(text, cause) {
  return new InvalidArgumentError('invalid_url', `\`${text}\` is not the URL of a node.`, {
    hint: 'Give the URL of a node, such as http://127.0.0.1:3000, without a query; a token goes into `token`.',
    cause,
  });
}
