/**
 * A queue in a file, for Node: a journal of JSON lines, each with a checksum, each on disk before it counts.
 *
 * A line that a crash cut off at the end is taken away; it was never acknowledged. Any other line that does not read
 * is damage, and told.
 */

import { open, readFile, rename, unlink } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { QueueError } from '../errors.js';
import { QUEUE_FILE_REWRITE_BYTES } from '../limits.js';

/** Keeps the queue in this file. One process may have it open at a time. */
export function fileQueue(path) {
  if (typeof path !== 'string' || path === '') throw new TypeError('The path of a queue is text.');
  return new FileStore(resolve(path));
}

class FileStore {
  isShared = false;
  #path;
  #file;
  #items = new Map();
  #bytes = 0;
  #unlock;
  #waiting = [];
  #writing;
  #broken;

  constructor(path) {
    this.#path = path;
  }

  async open(_changed) {
    this.#unlock = await lock(`${this.#path}.lock`);
    try {
      const bytes = await readFile(this.#path).catch((error) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      this.#bytes = bytes === undefined ? 0 : this.#replay(bytes);
      // `a+`: created when it is missing; every write goes to the end.
      this.#file = await open(this.#path, 'a+', 0o600);
      if (bytes === undefined) await syncDirectory(this.#path);
      else if (this.#bytes < bytes.length) {
        await this.#file.truncate(this.#bytes);
        await this.#file.datasync();
      }
      if (this.#bytes > QUEUE_FILE_REWRITE_BYTES) await this.#rewrite();
    } catch (error) {
      await this.close();
      throw error instanceof QueueError ? error : this.#failed(error);
    }
  }

  items() {
    return [...this.#items.values()];
  }

  async append(item) {
    await this.#write({ add: item });
    this.#items.set(item.id, item);
  }

  async change({ removed = [], changed = [] }) {
    await this.#write({ removed, changed });
    this.#apply({ removed, changed });
    if (this.#items.size === 0 && this.#bytes > QUEUE_FILE_REWRITE_BYTES) await this.#rewrite();
  }

  async exclusive(_signal, work) {
    return work();
  }

  async close() {
    await this.#writing?.catch(() => {});
    await this.#file?.close();
    this.#file = undefined;
    await this.#unlock?.();
    this.#unlock = undefined;
  }

  /** Reads the journal; returns how many bytes of it are whole. */
  #replay(bytes) {
    let begin = 0;
    for (let line = 1; begin < bytes.length; line += 1) {
      const end = bytes.indexOf(0x0a, begin);
      const record = end < 0 ? undefined : parsed(bytes.subarray(begin, end));
      if (record === undefined) {
        // Writers append: what a crash leaves behind is at the end.
        if (end < 0 || bytes.indexOf(0x0a, end + 1) < 0) return begin;
        throw new QueueError('queue_damaged', `Line ${line} of the queue ${this.#path} is damaged.`, {
          hint: 'Nothing of it was sent again. Look at the file, keep a copy, and remove the line or the file.',
        });
      }
      if (record.add) this.#items.set(record.add.id, record.add);
      else this.#apply(record);
      begin = end + 1;
    }
    return begin;
  }

  #apply({ removed, changed }) {
    for (const id of removed) this.#items.delete(id);
    for (const item of changed) if (this.#items.has(item.id)) this.#items.set(item.id, item);
  }

  /** Writes that wait while another is being synced share the next sync. */
  #write(record) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line: line(record), resolve, reject });
      this.#writing ??= this.#drain();
    });
  }

  async #drain() {
    // So that those who write in one turn of the event loop are together.
    await undefined;
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        if (this.#broken) throw this.#broken;
        if (!this.#file) throw new QueueError('queue_failed', 'The queue is not open.');
        const text = group.map(({ line }) => line).join('');
        await this.#file.appendFile(text);
        await this.#file.datasync();
        this.#bytes += Buffer.byteLength(text);
        for (const { resolve } of group) resolve();
      } catch (error) {
        // After a failed write or sync nobody knows what is in the file: nothing is acknowledged any more.
        this.#broken ??= error instanceof QueueError ? error : this.#failed(error);
        for (const { reject } of group) reject(this.#broken);
      }
    }
    this.#writing = undefined;
  }

  /** A new file with what is left. */
  async #rewrite() {
    const path = `${this.#path}.new`;
    const text = [...this.#items.values()].map((item) => line({ add: item })).join('');
    const file = await open(path, 'w', 0o600);
    await file.writeFile(text);
    await file.datasync();
    await file.close();
    await rename(path, this.#path);
    await syncDirectory(this.#path);
    await this.#file.close();
    this.#file = await open(this.#path, 'a+', 0o600);
    this.#bytes = Buffer.byteLength(text);
  }

  #failed(cause) {
    return new QueueError(
      'queue_failed',
      `The queue ${this.#path} cannot be read or written: ${cause.message}.`,
      {
        cause,
        hint: 'Is there room on the disk, and may this process write there? Create the client anew afterwards.',
      },
    );
  }
}

function line(record) {
  const text = JSON.stringify(record);
  return `${crc32(text)} ${text}\n`;
}

function parsed(bytes) {
  const text = bytes.toString('utf8');
  const json = text.slice(9);
  if (text[8] !== ' ' || text.slice(0, 8) !== crc32(json)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

const TABLE = Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum >>> 0;
});

/** CRC-32 as of zip, in hexadecimal (`zlib.crc32` is younger than Node 20). */
function crc32(text) {
  let sum = 0xffffffff;
  for (const byte of Buffer.from(text, 'utf8')) sum = TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  return ((sum ^ 0xffffffff) >>> 0).toString(16).padStart(8, '0');
}

async function syncDirectory(path) {
  // Windows has no such thing.
  const directory = await open(dirname(path), 'r').catch(() => undefined);
  await directory?.sync().catch(() => {});
  await directory?.close();
}

/** The lock files that this process holds: a number of a dead process may be ours now. */
const held = new Set();

/** Takes a lock file, also one whose process is gone; returns what gives it back. */
async function lock(path) {
  if (held.has(path)) throw inUse(path, process.pid);
  held.add(path);
  try {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      const file = await open(path, 'wx', 0o600).catch((error) => {
        if (error.code === 'EEXIST') return undefined;
        throw error;
      });
      if (file) {
        await file.writeFile(JSON.stringify({ pid: process.pid, started: startOf(process.pid) }));
        await file.close();
        return async () => {
          await unlink(path).catch(() => {});
          held.delete(path);
        };
      }
      const text = await readFile(path, 'utf8').catch(() => '');
      const owner = owned(text);
      // An empty one is being written, or its writer died in between.
      if (text === '' && attempt < 3) {
        await new Promise((resolve) => {
          setTimeout(resolve, 50);
        });
        continue;
      }
      if (owner !== undefined) throw inUse(path, owner);
      // Away by a name that only one can give: whoever comes second finds nothing to move.
      await rename(path, `${path}.${process.pid}`)
        .then(() => unlink(`${path}.${process.pid}`))
        .catch(() => {});
    }
    throw inUse(path, 'unknown');
  } catch (error) {
    held.delete(path);
    throw error;
  }
}

/** The living process that a lock file names. */
function owned(text) {
  let owner;
  try {
    owner = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Number.isInteger(owner?.pid) || owner.pid === process.pid) return undefined;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if (error.code === 'ESRCH') return undefined;
  }
  // Its number may have gone to another process since.
  const started = startOf(owner.pid);
  return started !== undefined && owner.started !== undefined && started !== owner.started
    ? undefined
    : owner.pid;
}

/** When a process was started, as Linux counts; undefined elsewhere. */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function inUse(path, pid) {
  return new QueueError('queue_in_use', `The queue of ${path} is open in process ${pid}.`, {
    hint: 'Give each process a file of its own, or close the other one.',
  });
}
