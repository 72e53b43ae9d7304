/** A proxy of the kind that stands before servers: it speaks HTTP, refuses in its own words, and may gather answers. */

import { once } from 'node:events';
import { createServer, request as ask } from 'node:http';

/** As large as nginx's buffer: what is smaller waits for more, or for the end. */
const GATHERED_BYTES = 4_096;

export class Front {
  url;
  /** Given a request, what is answered instead of the node's answer: `{ status, headers, body }`; undefined to pass it on. */
  refuse = () => undefined;
  /** Whether answers are gathered before they are passed on. */
  gathers = false;
  /** Whether even the head of an answer waits for its body. */
  holdsHeads = false;
  /** Requests that were refused, as `METHOD /path`. */
  refused = [];
  /** Requests that were passed on. */
  passed = [];

  /** Before the node at `url`. Upgrades are not passed on, as by a plain `proxy_pass`. */
  static async to(t, url) {
    const front = new Front();
    const server = createServer((request, response) => front.#serve(url, request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    front.url = `http://127.0.0.1:${server.address().port}`;
    return front;
  }

  #serve(url, request, response) {
    const said = `${request.method} ${request.url}`;
    const refusal = this.refuse(request);
    if (refusal) {
      this.refused.push(said);
      const { status, headers = {}, body = `<html><h1>${status}</h1><hr>proxy</html>` } = refusal;
      request.resume();
      // Once all of it was read: what happens before is another matter.
      request.on('end', () =>
        response.writeHead(status, { 'content-type': 'text/html', ...headers }).end(body),
      );
      return;
    }
    this.passed.push(said);
    const { connection: _, upgrade: __, ...headers } = request.headers;
    const passed = ask(url + request.url, { method: request.method, headers }, (answer) =>
      this.#pass(answer, response),
    );
    passed.on('error', () => response.destroy());
    response.on('close', () => passed.destroy());
    request.pipe(passed);
  }

  #pass(answer, response) {
    const { 'transfer-encoding': _, connection: __, ...headers } = answer.headers;
    let gathered = [];
    let bytes = 0;
    const send = () => {
      if (gathered.length > 0) response.write(Buffer.concat(gathered));
      [gathered, bytes] = [[], 0];
    };
    response.writeHead(answer.statusCode, headers);
    if (!this.holdsHeads) response.flushHeaders();
    answer.on('data', (chunk) => {
      gathered.push(chunk);
      bytes += chunk.length;
      if (!this.gathers || bytes >= GATHERED_BYTES) send();
    });
    answer.on('error', () => response.destroy());
    answer.on('end', () => {
      send();
      response.end();
    });
  }
}
