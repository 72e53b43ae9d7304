/**
 * Requests over HTTP: to the current node, within a time, again where that is safe.
 *
 * Sent again are requests that were certainly not received or that the server refused for the moment, and those that
 * may arrive twice: reads, and writes with a key, which are done once.
 */

import {
  AGAIN,
  ConnectionLostError,
  ProblemError,
  TimedOutError,
  UnauthorizedError,
  UnexpectedAnswerError,
  UnreachableError,
  fateOf,
  foreignError,
  isProblem,
  problemError,
} from '../errors.js';
import { ANSWER_BYTES_MAX, BACKOFF_LEAST, BACKOFF_MAX, RETRY_AFTER_MAX } from '../limits.js';
import { backoff, joined, sleep } from '../time.js';

/** What undici (Node) says when nothing was sent. Browsers do not say. */
const NOT_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** No cache, cookie or redirect of a browser comes between; other places do not know these. */
const OF_PAGES = globalThis.location ? { cache: 'no-store', credentials: 'omit', redirect: 'error' } : {};

export class Transport {
  #fetch;
  #nodes;
  #credentials;
  #session;
  #parse;
  #attempts;
  #timeout;
  #wait;
  #signal;
  #reach;

  /** `reach` is told of each node that answered or did not. */
  constructor({ fetch, nodes, credentials, session, parse, attempts, timeout, wait, signal, reach }) {
    this.#fetch = fetch;
    this.#nodes = nodes;
    this.#credentials = credentials;
    this.#session = session;
    this.#parse = parse;
    this.#attempts = attempts;
    this.#timeout = timeout;
    this.#wait = wait;
    this.#signal = signal;
    this.#reach = reach;
  }

  /**
   * Asks for a whole answer: `{ status, headers, body }`, where `body` is what its JSON says.
   *
   * `repeatable`: the request may arrive twice. `session`: `true` asks of the node what was seen before, `'observe'` only
   * notes what is seen. `more` is time beyond the usual that the server may take, in ms. `expect` tells whether a body is
   * one of the API.
   */
  async ask(request) {
    return this.#run(request, async (response, limit, url) => {
      const text = await readText(response, limit, url);
      if (request.method === 'HEAD') return undefined;
      const body = text === '' ? undefined : this.#decode(text, response, url);
      if (request.expect && !request.expect(body)) {
        const { status } = response;
        throw new UnexpectedAnswerError(url, 'the answer has not what such an answer has', { status });
      }
      return body;
    });
  }

  /** Asks for an answer that is read as it comes: `{ status, headers, stream, url, free }`. `free` must be called. */
  async open(request) {
    return this.#run({ ...request, stream: true });
  }

  async #run(request, read) {
    const { repeatable = false, attempts = this.#attempts } = request;
    let failures = 0;
    let renewed = false;
    /** An attempt that may have been received. */
    let broken;
    /** What a node said. */
    let said;
    for (;;) {
      let error;
      try {
        return await this.#attempt(request, read);
      } catch (failed) {
        error = failed;
      }
      if (error instanceof UnauthorizedError && !renewed) {
        // Once for each request: a function that gives wrong tokens is not asked for ever.
        renewed = true;
        if ((await this.#credentials.renewed(error.sentToken)) !== undefined) continue;
      }
      const isUnsent = error instanceof UnreachableError;
      const isSaid = error instanceof ProblemError;
      if (isSaid) {
        error.ambiguous = broken !== undefined;
        said = error;
      }
      failures += 1;
      const wait = error.retryAfter ?? 0;
      const isOver =
        error.retryable !== true ||
        !(isUnsent || isSaid || repeatable) ||
        failures >= attempts ||
        wait > RETRY_AFTER_MAX;
      if (!isUnsent && !isSaid && error.retryable === true) broken = error;
      if (isOver) {
        if (error.retryable !== true) throw error;
        // That it may have been done matters most; then what a node said, before that another one is not there.
        throw broken ?? (isUnsent ? said : undefined) ?? error;
      }
      // Another node may answer at once.
      const elsewhere = this.#nodes.count > 1 && !this.#nodes.allFailed;
      const pause = elsewhere ? 0 : Math.max(wait, backoff(failures, BACKOFF_LEAST, BACKOFF_MAX));
      const waiting = joined([request.signal, this.#signal]);
      try {
        await sleep(pause, waiting.signal);
      } finally {
        waiting.free();
      }
    }
  }

  async #attempt(request, read) {
    const { method, target, body, stream = false, more = 0, signal } = request;
    const url = this.#nodes.current;
    const timeout = (request.timeout ?? this.#timeout) + more;
    const within = joined([signal, this.#signal], timeout);
    let handedOver = false;
    try {
      within.signal.throwIfAborted();
      const token = await this.#credentials.token();
      const { headers, sent } = this.#headers(request, token);
      let response;
      try {
        response = await this.#fetch(url + target, {
          method,
          headers,
          body,
          signal: within.signal,
          ...OF_PAGES,
        });
      } catch (cause) {
        throw this.#failure(cause, within, url, timeout, false, request.isQuiet);
      }
      if (request.session !== false) {
        const seen = response.headers.get('rejoin-token');
        if (seen) this.#session.saw(sent, seen);
      }
      const accepted = response.ok || response.status === 304;
      if (accepted && stream) {
        this.#answered();
        within.restart(undefined);
        handedOver = true;
        return {
          status: response.status,
          headers: response.headers,
          stream: response.body,
          url,
          free: within.free,
        };
      }
      let text;
      try {
        if (!accepted) text = await readText(response, ANSWER_BYTES_MAX, url);
        else
          return {
            status: response.status,
            headers: response.headers,
            body: await read(response, ANSWER_BYTES_MAX, url),
          };
      } catch (cause) {
        if (cause instanceof UnexpectedAnswerError) throw cause;
        throw this.#failure(cause, within, url, timeout, true);
      } finally {
        if (text !== undefined || accepted) this.#answered();
      }
      throw this.#refusal(response, text, url, token);
    } finally {
      if (!handedOver) within.free();
    }
  }

  #headers(request, token) {
    const headers = { ...request.headers };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    const sent = request.session === true ? this.#session.ask() : [];
    if (sent.length > 0) {
      headers['rejoin-token'] = sent.join(',');
      headers['rejoin-wait'] ??= `${this.#wait}ms`;
    }
    return { headers, sent };
  }

  #answered() {
    this.#nodes.answered();
    this.#reach.answered();
  }

  /** The error for an attempt without a whole answer. */
  #failure(cause, within, url, timeout, begun, isQuiet = false) {
    if (within.signal.aborted && !within.timedOut) return within.signal.reason;
    // Whoever asked finds out by another request whether anybody is there.
    if (within.timedOut && isQuiet) return new TimedOutError(url, timeout);
    this.#nodes.failed(url);
    let error;
    if (within.timedOut) error = new TimedOutError(url, timeout);
    else if (!begun && wasUnsent(cause)) error = new UnreachableError(url, cause);
    else error = new ConnectionLostError(url, cause);
    this.#reach.failed(url, error);
    return error;
  }

  #refusal(response, text, url, token) {
    const { status } = response;
    let problem;
    try {
      problem = this.#parse(text);
    } catch {
      problem = undefined;
    }
    const retryAfter = readRetryAfter(response.headers.get('retry-after'));
    const isForeign = !isProblem(problem);
    if (isForeign) {
      const cause = new UnexpectedAnswerError(url, `status ${status} without an error of the API`, {
        status,
      });
      // Redirects that `fetch` has not followed.
      if (status < 400) return cause;
      // Something in between has no node to ask, or lost it on the way.
      if (status === 503 || fateOf(status) === AGAIN) {
        const error = new ConnectionLostError(url, cause, { status, retryAfter });
        this.#nodes.failed(url);
        this.#reach.failed(url, error);
        return error;
      }
    }
    const error = isForeign
      ? foreignError(url, status, response.statusText, { retryAfter })
      : problemError(status, problem, { retryAfter });
    if (status === 401) Object.defineProperty(error, 'sentToken', { value: token });
    if (status === 503) this.#nodes.failed(url);
    return error;
  }

  #decode(text, response, url) {
    try {
      return this.#parse(text);
    } catch (cause) {
      throw new UnexpectedAnswerError(url, 'the answer is not JSON', { status: response.status, cause });
    }
  }
}

/** Seconds, or a date: both are in use. In ms; undefined for none. */
function readRetryAfter(text) {
  if (text === null) return undefined;
  const ms = /^\s*\d+\s*$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

function wasUnsent(cause) {
  let bottom = cause;
  for (let depth = 0; depth < 8 && bottom; depth += 1) {
    const all = bottom.errors ?? [bottom];
    if (all.length > 0 && all.every((error) => NOT_SENT.has(error?.code))) return true;
    bottom = bottom.cause;
  }
  return false;
}

async function readText(response, limit, url) {
  if (!response.body) return response.text();
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parts = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > limit) {
      await reader.cancel().catch(() => {});
      throw new UnexpectedAnswerError(url, `the answer has more than ${limit} bytes`, {
        status: response.status,
      });
    }
    parts.push(decoder.decode(value, { stream: true }));
  }
  parts.push(decoder.decode());
  return parts.join('');
}
