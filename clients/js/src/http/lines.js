/** The lines of a streamed answer. */

import { ConnectionLostError, TimedOutError, UnexpectedAnswerError } from '../errors.js';
import { LINE_MAX } from '../limits.js';

/**
 * Each line without its end, empty ones included. Nothing is read ahead of its reader. `silence` is the time in ms
 * without a byte, while somebody waits for one, after which the connection counts as dead.
 */
export async function* lines(stream, url, signal, silence) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let parts = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await read(reader, url, signal, silence);
      if (done) break;
      const pieces = decoder.decode(value, { stream: true }).split('\n');
      for (let at = 0; at < pieces.length; at += 1) {
        parts.push(pieces[at]);
        length += pieces[at].length;
        if (length > LINE_MAX)
          throw new UnexpectedAnswerError(url, `a line has more than ${LINE_MAX} characters`);
        if (at === pieces.length - 1) break;
        const line = parts.join('');
        parts = [];
        length = 0;
        yield line;
      }
    }
    if (length > 0) throw new ConnectionLostError(url, new Error('the last line is not whole'));
  } finally {
    // Its connection is of no more use: nothing of it is read.
    reader.cancel().catch(() => {});
  }
}

async function read(reader, url, signal, silence) {
  let timer;
  let aborted;
  const given = new Promise((_, reject) => {
    if (silence !== undefined) timer = setTimeout(() => reject(new TimedOutError(url, silence)), silence);
    aborted = () => reject(signal.reason);
    if (signal?.aborted) aborted();
    signal?.addEventListener('abort', aborted, { once: true });
  });
  try {
    return await Promise.race([reader.read(), given]);
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    if (cause instanceof TimedOutError) throw cause;
    throw new ConnectionLostError(url, cause);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', aborted);
  }
}
