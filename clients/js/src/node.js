/** What only Node (and what is like it) has: everything of the client, and a queue in a file. */

export * from './index.js';
export { fileQueue } from './queue/file.js';
