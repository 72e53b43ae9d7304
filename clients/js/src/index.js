/** A client of rejoin's HTTP API, for browsers, workers, Node and Deno. */

export { Client, createClient } from './client.js';
export {
  ClosedError,
  ConflictError,
  ConnectionError,
  ConnectionLostError,
  DiskFullError,
  ForbiddenError,
  InvalidArgumentError,
  InvalidRequestError,
  NotCaughtUpError,
  NotFoundError,
  PreconditionFailedError,
  ProblemError,
  QueueError,
  RejoinError,
  ServerError,
  StalledError,
  TimedOutError,
  TokenTooOldError,
  UnauthorizedError,
  UnavailableError,
  UnexpectedAnswerError,
  UnreachableError,
} from './errors.js';
export { LiveMap } from './feed/live.js';
export { indexedDBQueue } from './queue/indexeddb.js';
export { memoryQueue } from './queue/memory.js';
