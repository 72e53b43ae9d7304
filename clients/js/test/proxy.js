/** A way to a server that can fail: cut, silent, refusing, or losing answers. */

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Proxy {
  #server;
  #port;
  #target;
  #sockets = new Set();
  #held = [];
  /** `pass`; `silent`: answers never come; `hold`: they come with `release`; `lose`: a connection ends when its answer would come. */
  mode = 'pass';
  /** Connections that came in. */
  connections = 0;
  /** Answers that were lost. */
  lost = 0;

  static async to(t, url) {
    const proxy = new Proxy();
    proxy.#target = Number(new URL(url).port);
    await proxy.listen();
    t.after(() => proxy.refuse());
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen() {
    if (this.#server) return;
    this.#server = createServer((client) => this.#carry(client)).listen(this.#port ?? 0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = this.#server.address().port;
  }

  /** Cuts every connection and takes no further one, until `listen`. */
  async refuse() {
    this.cut();
    if (!this.#server) return;
    const server = this.#server;
    this.#server = undefined;
    server.close();
    await once(server, 'close');
  }

  release() {
    this.mode = 'pass';
    for (const give of this.#held.splice(0)) give();
  }

  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  #carry(client) {
    this.connections += 1;
    const server = connect(this.#target, '127.0.0.1');
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on('data', (bytes) => server.write(bytes));
    server.on('data', (bytes) => {
      if (this.mode === 'lose') {
        this.lost += 1;
        client.destroy();
      }
      if (this.mode === 'hold') this.#held.push(() => client.write(bytes));
      if (this.mode === 'pass') client.write(bytes);
    });
  }
}
