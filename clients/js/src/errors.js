/**
 * What can go wrong, and who must act.
 *
 * An error of the server keeps its problem document unchanged. Nothing was changed by a request that ended in a
 * {@link ProblemError}; a write that ended in another {@link ConnectionError} than {@link UnreachableError} may have
 * been done.
 */

/** All errors of this client. `code` is stable snake_case; `hint` says what to do. */
export class RejoinError extends Error {
  constructor(code, message, { hint, path, retryable = false, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = hint;
    this.path = path;
    this.retryable = retryable;
  }
}

/** The server refused. Nothing was changed, unless `ambiguous` says that an earlier attempt may have been. */
export class ProblemError extends RejoinError {
  constructor(status, problem, { retryAfter } = {}) {
    super(problem.error, problem.message, {
      hint: problem.hint,
      path: problem.path ?? undefined,
      retryable: problem.retryable === true,
    });
    this.status = status;
    this.problem = problem;
    this.reason = problem.reason;
    /** Something between this client and the node refused, in words of its own: `problem` was made up here. */
    this.foreign = problem.error === FOREIGN;
    /** How long to wait before the same request may succeed, in ms, when the server said so. */
    this.retryAfter = retryAfter;
    /** An earlier attempt of this very request got no answer: of a 412, what is there may be this write. */
    this.ambiguous = false;
  }
}

/** 400, 405, 413, 414, 415, 421, 426, 431 and the like: the request itself is wrong, or too much for something in between. */
export class InvalidRequestError extends ProblemError {}

/** 401: the token is missing or not the one of this server. */
export class UnauthorizedError extends ProblemError {}

/** 403: the server does not serve pages of this origin, or something in between lets the request not pass. */
export class ForbiddenError extends ProblemError {}

/** 404: `reason` is `missing` or `deleted`. */
export class NotFoundError extends ProblemError {}

/** What 409 and 412 have in common: `current` is what is there instead. */
class CurrentError extends ProblemError {
  constructor(status, problem, more) {
    super(status, problem, more);
    const { value, etag, version, timestamp } = problem;
    /** Undefined when nothing is there. */
    this.current = version === undefined ? undefined : { value, etag, version, timestamp };
  }
}

/** 409: a strategy refused the write, or a conflict is not what the request says. */
export class ConflictError extends CurrentError {}

/** 412: the condition does not hold. */
export class PreconditionFailedError extends CurrentError {}

/** 410: the feed cannot go on from this token. */
export class TokenTooOldError extends ProblemError {}

/** 408, 425, 429, 503: later, or elsewhere. */
export class UnavailableError extends ProblemError {}

/** 503 `not_caught_up`: the node has not applied what the session has seen; `missing` says what. */
export class NotCaughtUpError extends UnavailableError {
  constructor(status, problem, more) {
    super(status, problem, more);
    this.missing = problem.missing;
  }
}

/** 507: the server's disk is full; reads and deletes work. */
export class DiskFullError extends ProblemError {}

/** 500: the server failed. */
export class ServerError extends ProblemError {}

/** No whole answer. A write may have been done, unless it is an {@link UnreachableError}. */
export class ConnectionError extends RejoinError {
  constructor(code, message, { url, hint, cause } = {}) {
    super(code, message, { hint, retryable: true, cause });
    this.url = url;
  }
}

/** No connection to any node. Nothing was changed. */
export class UnreachableError extends ConnectionError {
  constructor(url, cause) {
    super('unreachable', `Cannot reach ${url}: ${because(cause)}.`, {
      url,
      cause,
      hint: `Is a node running at ${url}? Start one with \`rejoin serve\`. Of a page: is its origin allowed?`,
    });
  }
}

/** The connection ended before the answer was complete. A write may have been done. */
export class ConnectionLostError extends ConnectionError {
  constructor(url, cause, { status, retryAfter } = {}) {
    super(
      'connection_lost',
      `The connection to ${url} ended before the answer was complete: ${because(cause)}.`,
      {
        url,
        cause,
        hint: 'A write may have been done: read the path before writing again, or write with a condition.',
      },
    );
    /** Of something in between that had no node to ask, such as 502; undefined when nothing answered. */
    this.status = status;
    /** How long it asks to wait, in ms, if it does. */
    this.retryAfter = retryAfter;
  }
}

/** No answer in time. A write may have been done. */
export class TimedOutError extends ConnectionError {
  constructor(url, waited) {
    super('timed_out', `${url} did not answer within ${waited} ms.`, {
      url,
      hint: 'A write may have been done: read the path before writing again, or write with a condition.',
    });
    this.waited = waited;
  }
}

/** Requests are answered, but a streamed answer is not passed on while it goes on: something in between gathers it. */
export class StalledError extends ConnectionError {
  constructor(url, waited) {
    super(
      'stalled',
      `Nothing of a streamed answer of ${url} has come for ${waited} ms, though other requests are answered.`,
      {
        url,
        hint:
          'A proxy gathers answers before it passes them on. Let it pass them at once for this node (nginx: `proxy_buffering ' +
          'off`), or let WebSockets through. Until then, changes come by long polling.',
      },
    );
    this.waited = waited;
  }
}

/** The answer is not one of this API. A write may have been done. */
export class UnexpectedAnswerError extends RejoinError {
  constructor(url, message, { status, cause } = {}) {
    super('unexpected_answer', `${url} did not answer as a rejoin node does: ${message}.`, {
      hint: `Is ${url} a rejoin node of this version?`,
      cause,
    });
    this.url = url;
    this.status = status;
  }
}

/** The path, prefix or an option cannot be sent. Nothing was sent. */
export class InvalidArgumentError extends RejoinError {}

/** The client was closed. */
export class ClosedError extends RejoinError {
  constructor() {
    super('closed', 'This client was closed.', { hint: 'Create another one with createClient.' });
  }
}

/** A write could not be put into the queue. It was not written and will not be sent. */
export class QueueError extends RejoinError {}

/** The code of what was refused by something that is no node. */
const FOREIGN = 'refused_on_the_way';

/** The error for an answer of the server that is not a success. */
export function problemError(status, problem, more) {
  return new (kindOf(status, problem.error))(status, problem, more);
}

/** The error for a refusal that is not in the words of this API. */
export function foreignError(url, status, statusText, more) {
  const message = `Something on the way to ${url} refused with ${status}${statusText ? ` ${statusText}` : ''}.`;
  const hint =
    FOREIGN_HINTS[status] ?? `Is ${url} a node, and does what stands before it let this request pass?`;
  return problemError(status, { error: FOREIGN, message, hint, retryable: fateOf(status) === LATER }, more);
}

const FOREIGN_HINTS = {
  401: 'Something before the node wants other credentials.',
  403: 'Something before the node forbids it: ask whoever runs that.',
  407: 'A proxy wants credentials.',
  413: 'It takes no body of that size: raise its limit (nginx: `client_max_body_size`), or split the value over several paths.',
  414: 'The URL is too long for it: raise its limit (nginx: `large_client_header_buffers`), or use a shorter path or fewer prefixes.',
  429: 'It limits how often it is asked: it is tried again later.',
  431: 'The header is too long for it: raise its limit (nginx: `large_client_header_buffers`), or use a shorter token.',
};

/** Whether a refusal is one of the API: whatever is missing in a body was not written by a node. */
export function isProblem(body) {
  return (
    typeof body === 'object' &&
    body !== null &&
    typeof body.error === 'string' &&
    typeof body.message === 'string' &&
    typeof body.retryable === 'boolean'
  );
}

/** It succeeds later, when whoever refused says so: nothing is wrong with the request. */
export const LATER = 'later';
/** It may succeed when it is sent again. */
export const AGAIN = 'again';
/** Whatever is sent there is refused, until a person or a new token changes that. */
export const STUCK = 'stuck';
/** This very request is refused, and would be again. */
export const FINAL = 'final';

/**
 * What becomes of a request that was answered with this status. Who has refused, a node or something before it, makes no
 * difference. docs/javascript-client.md has the table.
 */
export function fateOf(status) {
  // A page to sign in at, and other answers that no node gives.
  if (status < 400 || [401, 407, 421, 511].includes(status)) return STUCK;
  if ([408, 425, 429, 503, 507].includes(status)) return LATER;
  if (status >= 500 && status !== 501) return AGAIN;
  return FINAL;
}

/** What becomes of a request that has failed. */
export function fateOfError(error) {
  if (error instanceof ProblemError && error.retryable) return LATER;
  if (typeof error?.status === 'number') return fateOf(error.status);
  if (error instanceof UnreachableError) return LATER;
  return error?.retryable === true ? AGAIN : STUCK;
}

function kindOf(status, code) {
  if (code === 'not_caught_up') return NotCaughtUpError;
  // These classes say what is there instead, and only a node knows that.
  if (code === FOREIGN && [404, 409, 410, 412].includes(status)) return InvalidRequestError;
  switch (status) {
    case 401:
      return UnauthorizedError;
    case 403:
      return ForbiddenError;
    case 404:
      return NotFoundError;
    case 409:
      return ConflictError;
    case 410:
      return TokenTooOldError;
    case 412:
      return PreconditionFailedError;
    case 408:
    case 425:
    case 429:
    case 502:
    case 503:
    case 504:
      return UnavailableError;
    case 507:
      return DiskFullError;
    default:
      return status >= 500 ? ServerError : InvalidRequestError;
  }
}

/** The reason at the bottom of a chain of causes, in words. */
function because(cause) {
  let bottom = cause;
  // A chain that long is a ring.
  for (let depth = 0; depth < 8 && bottom?.cause; depth += 1) bottom = bottom.cause;
  const text = bottom?.message || bottom?.code || String(bottom ?? 'no reason is known');
  return text.replace(/\.$/, '');
}
