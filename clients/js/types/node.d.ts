export * from './index.js';
import type { QueueStore } from './index.js';

/** A queue in a file. One process may have it open at a time. */
export declare function fileQueue(path: string): QueueStore;
