/** Writes numbers into a queue, and prints each when it was acknowledged; runs until it is killed. */

import { createClient, fileQueue } from '../src/node.js';

const [url, file, from, count] = process.argv.slice(2);
const client = createClient({ url, queue: fileQueue(file), attempts: 1 });
client.on('error', (error) => console.error(error));
for (let n = Number(from); n < Number(from) + Number(count); n += 1) {
  await client.queue.put(`q/${n}`, n);
  process.stdout.write(`${n}\n`);
}
setInterval(() => {}, 1_000);
