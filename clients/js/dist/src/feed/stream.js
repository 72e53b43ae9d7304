"use strict";
/** The feed over HTTP: one request for each subscription, for places without WebSockets. Its reader sets the pace. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.openStream = openStream;
const errors_js_1 = require("../errors.js");
const lines_js_1 = require("../http/lines.js");
const limits_js_1 = require("../limits.js");
/** Opens a feed; `token` is where it begins, as far as that is known. */
async function openStream(transport, parse, prefixes, from, signal) {
    const query = prefixes.map((prefix) => `&prefix=${encodeURIComponent(prefix)}`).join('');
    let { since } = from;
    if (since === 'now') {
        // Nothing that carries a token may come for long, and what happens until then must not be missed.
        const answer = await transport.ask({
            method: 'GET',
            target: `/api/_changes?feed=normal&since=now${query}`,
            session: false,
            attempts: 1,
            signal,
        });
        since = answer.body.token;
    }
    const target = `/api/_changes?since=${encodeURIComponent(since)}&heartbeat=${limits_js_1.HEARTBEAT}${query}`;
    const answer = await transport.open({
        method: 'GET',
        target,
        headers: { accept: 'application/x-ndjson' },
        session: false,
        attempts: 1,
        signal,
    });
    return new StreamFeed(answer, parse, since === '0' ? undefined : since);
}
class StreamFeed {
    token;
    #answer;
    #lines;
    #parse;
    #stop = new AbortController();
    constructor(answer, parse, token) {
        this.#answer = answer;
        this.#parse = parse;
        this.token = token;
        this.#lines = (0, lines_js_1.lines)(answer.stream, answer.url, this.#stop.signal, limits_js_1.SILENCE_MAX);
    }
    async next(signal) {
        const aborted = () => this.#stop.abort(signal.reason);
        if (signal.aborted)
            aborted();
        signal.addEventListener('abort', aborted, { once: true });
        try {
            for (;;) {
                const { done, value } = await this.#lines.next();
                if (done)
                    throw new errors_js_1.ConnectionLostError(this.#answer.url, new Error('the node closed the feed'));
                // An empty line is a sign of life.
                if (value.trim() !== '')
                    return this.#event(value);
            }
        }
        finally {
            signal.removeEventListener('abort', aborted);
        }
    }
    #event(line) {
        try {
            return this.#parse(line);
        }
        catch (cause) {
            throw new errors_js_1.UnexpectedAnswerError(this.#answer.url, 'an event is not JSON', { cause });
        }
    }
    close() {
        this.#lines.return().catch(() => { });
        this.#stop.abort(new DOMException('The subscription was closed.', 'AbortError'));
        this.#answer.free();
    }
}
