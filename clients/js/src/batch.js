/** Batches: several writes in one request, and any number of them in several. */

import { ConnectionLostError, InvalidArgumentError } from './errors.js';
import { LOAD_CHARS, LOAD_OPERATIONS } from './limits.js';

const MEMBERS = new Set(['op', 'path', 'value', 'ifMatch', 'ifNoneMatch', 'ttl']);

/** An operation as the server takes it; what it means is checked there. */
export function operation(given, stringify) {
  if (typeof given?.path !== 'string') {
    throw new InvalidArgumentError('invalid_operation', 'An operation is an object with a `path`.', {
      hint: 'Write `{ op: "put", path: "users/alice", value: {} }`.',
    });
  }
  const unknown = Object.keys(given).find((name) => !MEMBERS.has(name));
  if (unknown !== undefined) {
    throw new InvalidArgumentError('invalid_operation', `An operation has no member \`${unknown}\`.`, {
      path: given.path,
      hint: 'Its members are `op`, `path`, `value`, `ifMatch`, `ifNoneMatch` and `ttl`.',
    });
  }
  const { value, ...rest } = given;
  const members = Object.entries(rest)
    .filter(([, member]) => member !== undefined)
    .map(([name, member]) => `${JSON.stringify(name)}:${JSON.stringify(member)}`);
  const text = value === undefined ? undefined : stringify(value);
  if (text !== undefined) members.push(`"value":${text}`);
  return `{${members.join(',')}}`;
}

/**
 * Does operations in requests of bounded size, one after the other, and gives a result for each, in order.
 *
 * A request that is lost is sent again until its answer begins; one whose answer is lost is not: `results` tells how far it came.
 */
export async function* load(operations, { send, stringify, onlyRefused }) {
  let at = 0;
  let lines = [];
  let chars = 0;
  for await (const given of operations) {
    const text = operation(given, stringify);
    if (lines.length > 0 && (lines.length >= LOAD_OPERATIONS || chars + text.length > LOAD_CHARS)) {
      yield* results(await send(lines), at, lines.length, onlyRefused);
      at += lines.length;
      lines = [];
      chars = 0;
    }
    lines.push(text);
    chars += text.length;
  }
  if (lines.length > 0) yield* results(await send(lines), at, lines.length, onlyRefused);
}

async function* results(answer, before, count, onlyRefused) {
  let got = 0;
  for await (const result of answer) {
    if (result.done) {
      if (got === count) return;
      break;
    }
    if (result.progress) continue;
    const operation = before + got;
    got += 1;
    const isRefused = result.error !== undefined;
    if (isRefused || !onlyRefused) yield { ...result, operation };
  }
  throw new ConnectionLostError(answer.url, new Error(`${got} of ${count} operations were answered`));
}
