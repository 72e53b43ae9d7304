/** A client of rejoin's HTTP API, for browsers, workers, Node and Deno. docs/javascript-client.md has the whole of it. */

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json | undefined };

/** Options of {@link createClient}. Times are milliseconds. */
export interface ClientOptions {
  /** URL of a node. In a page, its own origin when neither this nor `urls` is given. */
  url?: string;
  /** URLs of nodes of one cluster: the client stays with one until it fails. */
  urls?: readonly string[];
  /** The bearer token, or what gives it. A function is asked again, with the `refused` token, after a 401. */
  token?:
    string | ((why: { refused: string | undefined }) => string | undefined | Promise<string | undefined>);
  /** Closes the client when it is aborted. */
  signal?: AbortSignal;
  /** For one attempt of a request, until its whole answer is there. Default 30,000. */
  timeout?: number;
  /** Attempts of a request that may be sent again, the first included. Default 4. */
  attempts?: number;
  /** Whether each answer knows all that this client has seen, on any node. Default true. */
  session?: boolean;
  /** How long a node may wait until it has applied that. Default 2,000; the server allows 30,000. */
  sessionWait?: number;
  /** Keeps writes until the server has them: `indexedDBQueue`, `fileQueue` or `memoryQueue`. */
  queue?: QueueStore;
  /** Instead of the global one. */
  fetch?: typeof fetch;
  /** Instead of the global one; null for none, so that feeds come over HTTP. */
  WebSocket?: (new (url: string, protocols?: string | string[]) => WebSocket) | null;
  /** Instead of `JSON.parse`: for numbers that JavaScript cannot hold. Reads whole answers. */
  parse?: (text: string) => any;
  /** Instead of `JSON.stringify`. */
  stringify?: (value: any) => string | undefined;
}

/** Options of every request. */
export interface RequestOptions {
  /** Gives up; the promise rejects with its reason. */
  signal?: AbortSignal;
  /** For one attempt, in ms. */
  timeout?: number;
  /** False: an answer that does not know all that this client has seen is welcome. */
  session?: boolean;
}

/** When and how a write is done. */
export interface WriteOptions extends RequestOptions {
  /** Only over this state (an `etag`), one of these, or any (`*`). Else {@link PreconditionFailedError}. */
  ifMatch?: string | readonly string[];
  /** `*`: only where nothing is. An etag: over any other state. */
  ifNoneMatch?: string | readonly string[];
  /** Replaces exactly the versions that were read with this context; others stay beside it. */
  context?: string;
  /** How long the node may wait until it has what the context names, in ms. */
  wait?: number;
  /** Answers when so many other nodes hold the write, or the time (5,000 ms) is up: see `receipt`. */
  ack?: number | { nodes: number; timeout?: number };
  /** The value ends then, everywhere, as if deleted: ms, or text such as `10m`. Of `put` and `patch`. */
  ttl?: number | string;
  /** Names the write, so that it is done once however often it is sent, for a day: 1 to 64 visible characters of ASCII. Each
   * write has one of its own; give one to go on after a restart. */
  idempotencyKey?: string;
}

/** The visible state of a path. */
export interface Entry<T = any> {
  path: string;
  value: T;
  /** Names the live versions; the same on every node that has them. */
  etag: string;
  /** Names the write that is shown. */
  version: string;
  /** Unix time of that write, in ms. */
  timestamp: number;
  /** The node that wrote it. */
  origin: string;
  /** How many other versions are live. */
  conflicts: number;
  vectorClock: Record<string, number>;
  strategy: string;
  resolverFailed: boolean;
  /** Stands for the versions that were read; a write may send it back. */
  context: string;
}

/** What a write did. */
export interface Written<T = any> {
  path: string;
  /** What is visible now; absent after a delete. */
  value?: T;
  deleted?: true;
  etag: string;
  version: string;
  timestamp: number;
  vectorClock: Record<string, number>;
  applied: true;
  durable: 'disk' | 'os' | 'memory';
  context?: string;
  /** Of a write with `ack`. */
  receipt?: { wanted: number; complete: boolean; holders: string[] };
  /** The write was done before, by an earlier attempt: this is what was answered then. */
  replayed?: true;
}

export interface ScanOptions extends RequestOptions {
  /** As many as this, in pages. Without it, everything is streamed. */
  limit?: number;
  reverse?: boolean;
  /** Only paths at or after. */
  start?: string;
  /** Only paths before. */
  end?: string;
  /** Such as `age>=18`; several must all hold. */
  where?: string | readonly string[];
  /** Only these members of values. */
  fields?: string | readonly string[];
  /** What is deeper is listed as directories. */
  depth?: number;
  keysOnly?: boolean;
  /** With version, etag and the rest. */
  meta?: boolean;
}

export interface ScanItem<T = any> extends Partial<Omit<Entry<T>, 'path' | 'value'>> {
  path: string;
  value?: T;
  [more: string]: any;
}

/** A version that was replaced. */
export interface PastVersion<T = any> {
  op: 'put' | 'delete';
  value?: T;
  version: string;
  origin: string;
  timestamp: number;
  supersededBy: string | null;
  concurrent: boolean;
  /** `expired`: its time had come. */
  outcome: 'replaced' | 'won' | 'lost' | 'expired';
}

export interface LiveVersion<T = any> {
  version: string;
  origin: string;
  timestamp: number;
  counter: number;
  op: 'put' | 'delete';
  value?: T;
  wins: boolean;
}

/** A path whose versions compete on the server, or did. */
export interface ConflictItem<T = any> {
  path: string;
  state: 'open' | 'resolved';
  strategy?: string;
  winner?: string;
  why?: string;
  value?: T;
  deleted?: boolean;
  versions?: LiveVersion<T>[];
  etag?: string;
  context?: string;
  resolved: { by: string | null; versions: PastVersion<T>[] }[];
}

export interface Explanation<T = any> {
  path: string;
  strategy: string;
  winner: string;
  why: string;
  resolverFailed: boolean;
  deleted: boolean;
  value?: T;
  etag: string;
  context: string;
  vectorClock: Record<string, number>;
  conflicts: number;
  versions: LiveVersion<T>[];
}

/** One write of a batch. */
export interface Operation {
  /** Default `put`. */
  op?: 'put' | 'replace' | 'patch' | 'delete';
  path: string;
  value?: any;
  /** Such as `10m`. */
  ttl?: string;
  ifMatch?: string | readonly string[];
  ifNoneMatch?: string | readonly string[];
}

/** What became of one. */
export interface OperationResult {
  /** As the operation would have been answered alone. */
  status: number;
  path: string;
  /** Absent when it was done. */
  error?: string;
  message?: string;
  hint?: string;
  etag?: string;
  version?: string;
  [more: string]: any;
}

export interface BatchResult {
  atomic: boolean;
  applied: number;
  refused: number;
  results: OperationResult[];
}

/** A sequence that is fetched while it is read. */
export interface Items<T> extends AsyncIterable<T> {
  /** Everything, in an array. */
  toArray(): Promise<T[]>;
}

/** A path shows another value than before, or is part of the current values. */
export interface ChangeEvent<T = any> {
  event: 'change';
  path: string;
  /** `expire`: the time of the value had come. */
  op: 'put' | 'delete' | 'expire';
  /** Absent unless `put`. */
  value?: T;
  version: string;
  etag: string;
  origin: string;
  timestamp: number;
  conflicts: number;
  token: string;
}

export type FeedEvent<T = any> =
  | ChangeEvent<T>
  /** The current values are complete; what follows happens now. */
  | { event: 'snapshot-end'; token: string; count: number }
  /** Forget what you hold: the current values follow, then `snapshot-end`. */
  | { event: 'resync'; reason: string; oldest?: string }
  /** The connection is lost; the feed goes on behind the last event over another one. */
  | { event: 'interrupted'; error: RejoinError; token?: string };

export interface SubscribeOptions {
  /** `0`: the current values first (default). `now`, or the `token` of an event of the same prefixes. */
  since?: string | 0;
  signal?: AbortSignal;
}

/** A feed that outlives its connections. */
export interface Subscription<T = any> extends AsyncIterable<FeedEvent<T>> {
  /** From where to go on behind the last event that was read. */
  readonly token: string | undefined;
  /** Resolves when the current values were read, or the subscription has ended. */
  readonly ready: Promise<void>;
  /** Resolves when it has ended, with the error if it failed. Never rejects. */
  readonly closed: Promise<{ error: unknown }>;
  close(): void;
}

/** The current values below some prefixes, kept up to date. */
export declare class LiveMap<T = any> {
  private constructor();
  readonly subscription: Subscription<T>;
  /** Resolves when it is whole for the first time. */
  ready(): Promise<this>;
  get(path: string): T | undefined;
  entry(path: string): LiveEntry<T> | undefined;
  has(path: string): boolean;
  readonly size: number;
  /** In path order. */
  entries(): LiveEntry<T>[];
  on(name: 'change', listener: (change: LiveChange<T>) => void): () => void;
  on(name: 'resync', listener: (why: { reason: string }) => void): () => void;
  /** Nothing comes at present. */
  on(name: 'interrupted', listener: (why: { error: RejoinError }) => void): () => void;
  on(name: 'error', listener: (error: unknown) => void): () => void;
  close(): void;
}

export type LiveEntry<T = any> = Omit<ChangeEvent<T>, 'event' | 'op' | 'token' | 'value'> & { value: T };

export interface LiveChange<T = any> {
  path: string;
  /** Undefined after a delete. */
  value: T | undefined;
  previous: T | undefined;
  entry: LiveEntry<T> | undefined;
}

/** What a queue keeps its writes in. */
export interface QueueStore {
  /** Whether others may send what is added here. */
  isShared: boolean;
  open(changed: () => void): Promise<void>;
  items(): QueueItem[] | Promise<QueueItem[]>;
  append(item: QueueItem): Promise<void>;
  change(change: { removed?: string[]; changed?: QueueItem[]; left?: unknown }): Promise<void>;
  /** Of stores that several processes share. */
  left?(id: string): Promise<unknown>;
  exclusive<R>(signal: AbortSignal, work: () => Promise<R>): Promise<R>;
  close(): Promise<void>;
}

/** A write in a store. Its form is the queue's own. */
export interface QueueItem {
  id: string;
  [more: string]: unknown;
}

/** A write that waits. */
export interface QueuedWrite {
  id: string;
  op: 'put' | 'patch' | 'delete';
  path: string;
  /** The value as text; absent of a delete. */
  json?: string;
  /** Unix time at which it was made, in ms. */
  madeAt: number;
  state: 'pending' | 'held';
}

/** What became of a queued write. */
export type Outcome =
  /** The server has it. Without `result` when another tab has sent it. */
  | { state: 'sent'; id: string; result?: Partial<Written> }
  | { state: 'conflict'; id: string; conflict: QueueConflict }
  /** It is set aside: {@link Queue.refused}. */
  | { state: 'refused'; id: string; refused: QueueRefused }
  /** The client was closed before. The write is still in the queue. */
  | { state: 'unknown'; id: string };

/** On what a queued write is made. Without any, on what this client last saw at the path; nothing, if it saw nothing. */
export interface QueueOptions {
  ifMatch?: string | readonly string[];
  ifNoneMatch?: string | readonly string[];
  context?: string;
  /** The id of a queued write: over what it leaves, whether it is still waiting or was sent. */
  after?: string;
  /** Over whatever is there. */
  unconditional?: boolean;
  /** Gives up before the write is in the queue. */
  signal?: AbortSignal;
}

/** A queued write that was refused, by a node or by something before it, for another reason than what is there. */
export interface QueueRefused<T = any> extends QueuedWrite {
  /** What this client wants there. */
  value?: T;
  /** Of the answer; undefined when there was none, again and again. */
  status?: number;
  /** The node's code; `refused_on_the_way` when something before it refused. */
  error: string;
  message: string;
  hint?: string;
  /** The node's whole answer. */
  problem: Record<string, any>;
  /** Queues it again: over what it was made over, unless options say otherwise. */
  retry(options?: QueueOptions): Promise<QueuedWrite & { outcome: Promise<Outcome> }>;
  /** Queues this value instead. */
  resolve(value: T, options?: QueueOptions): Promise<QueuedWrite & { outcome: Promise<Outcome> }>;
  /** Drops it. */
  discard(): Promise<void>;
}

/** A queued write over which there is a conflict. It stays until one of its methods is called. */
export interface QueueConflict<T = any> extends QueuedWrite {
  /** What this client wants there. */
  value?: T;
  /** `precondition_failed`, `rejected_by_strategy` or `based_on_held`. */
  error: string;
  message: string;
  hint?: string;
  /** What is there instead; undefined for nothing. */
  current?: { value: T; etag: string; version: string; timestamp: number };
  /** Queues this value instead, over what was shown as `current`. */
  resolve(value: T, options?: QueueOptions): Promise<QueuedWrite & { outcome: Promise<Outcome> }>;
  /** Queues the write again, over what was shown as `current`. */
  overwrite(options?: QueueOptions): Promise<QueuedWrite & { outcome: Promise<Outcome> }>;
  /** Drops it. */
  discard(): Promise<void>;
}

/** Writes that are kept until the server has them: sent in order, each with a condition. */
export interface Queue {
  /** Resolves when the write is durable in the queue. */
  put(
    path: string,
    value: unknown,
    options?: QueueOptions,
  ): Promise<QueuedWrite & { outcome: Promise<Outcome> }>;
  patch(
    path: string,
    patch: unknown,
    options?: QueueOptions,
  ): Promise<QueuedWrite & { outcome: Promise<Outcome> }>;
  del(path: string, options?: QueueOptions): Promise<QueuedWrite & { outcome: Promise<Outcome> }>;
  /** Writes that are not sent yet. */
  readonly pending: number;
  /** Why nothing is sent at present. */
  readonly stuck: unknown;
  readonly ready: Promise<void>;
  items(): Promise<QueuedWrite[]>;
  /** Writes that were not done because somebody else's state is there. */
  conflicts(): Promise<QueueConflict[]>;
  /** Writes that were refused for another reason, whoever refused. Those behind them have gone on. */
  refused(): Promise<QueueRefused[]>;
  /** Tries to send now. */
  flush(): void;
  /** Stops sending; what waits stays. `Client.close` does it. */
  close(): Promise<void>;
}

export type State = 'connecting' | 'online' | 'offline' | 'closed';

export interface ClientEvents {
  state: { state: State; error?: unknown };
  online: { error?: unknown };
  offline: { error?: unknown };
  /** How many queued writes the server does not have. */
  pending: number;
  /** Anything in the queue has changed. */
  queue: { pending: number; held: number; refused: number };
  sent: { item: QueuedWrite; result: Partial<Written> };
  conflict: QueueConflict;
  refused: QueueRefused;
  /** Streams are held up on the way: changes come by polling from now on. */
  stalled: StalledError;
  discarded: { id: string };
  /** What nobody else is told of: of a subscription that a function reads, or of the queue. */
  error: unknown;
}

export declare class Client {
  constructor(options?: ClientOptions);
  readonly state: State;
  /** How changes come. */
  readonly feedWay: 'websocket' | 'stream' | 'poll';
  /** Writes in the queue that the server does not have. */
  readonly pending: number;
  /** Throws without the option `queue`. */
  readonly queue: Queue;
  readonly hasQueue: boolean;
  readonly session: Session;
  on<N extends keyof ClientEvents>(name: N, listener: (event: ClientEvents[N]) => void): () => void;

  /** Undefined when there is none; null is a value. */
  get<T = any>(path: string, options?: RequestOptions): Promise<T | undefined>;
  entry<T = any>(path: string, options?: RequestOptions): Promise<Entry<T> | undefined>;
  scan<T = any>(prefix?: string, options?: ScanOptions): Items<ScanItem<T>>;
  scanPage<T = any>(
    prefix?: string,
    options?: ScanOptions & { cursor?: string },
  ): Promise<{ items: ScanItem<T>[]; cursor: string | null }>;
  count(
    prefix?: string,
    options?: RequestOptions & Pick<ScanOptions, 'where' | 'start' | 'end'>,
  ): Promise<number>;
  history<T = any>(
    path: string,
    options?: RequestOptions & { limit?: number; values?: boolean },
  ): Items<PastVersion<T>>;
  conflicts<T = any>(
    prefix?: string,
    options?: RequestOptions & { limit?: number; state?: 'open' | 'resolved' | 'all' },
  ): Items<ConflictItem<T>>;
  explain<T = any>(path: string, options?: RequestOptions): Promise<Explanation<T> | undefined>;
  status(options?: RequestOptions): Promise<any>;

  put<T = any>(path: string, value: T, options?: WriteOptions): Promise<Written<T>>;
  /** Changes members of a value (RFC 7396). */
  patch<T = any>(path: string, patch: unknown, options?: WriteOptions): Promise<Written<T>>;
  /** Undefined when there was nothing. */
  del(path: string, options?: WriteOptions): Promise<Written<never> | undefined>;
  /** Replaces all competing versions by one write. */
  resolve<T = any>(
    path: string,
    resolution: ({ value: T } | { keep: string }) & WriteOptions,
  ): Promise<Written<T>>;
  /** Writes again what an old version said. */
  revert<T = any>(path: string, version: string, options?: WriteOptions): Promise<Written<T>>;
  /** Up to 1,000 writes in one request; with `atomic`, all or nothing. */
  batch(
    operations: Iterable<Operation>,
    options?: RequestOptions & { atomic?: boolean; idempotencyKey?: string },
  ): Promise<BatchResult>;
  /** Any number of writes; a result for each, in order, or only for those that were refused. */
  load(
    operations: Iterable<Operation> | AsyncIterable<Operation>,
    options?: RequestOptions & { results?: 'all' | 'refused' },
  ): Items<OperationResult & { operation: number }>;

  subscribe<T = any>(prefixes: string | readonly string[], options?: SubscribeOptions): Subscription<T>;
  /** Calls the function for each event in order, and waits for what it returns. */
  subscribe<T = any>(
    prefixes: string | readonly string[],
    listener: (event: FeedEvent<T>) => unknown,
    options?: SubscribeOptions,
  ): Subscription<T>;
  live<T = any>(prefixes: string | readonly string[], options?: { signal?: AbortSignal }): LiveMap<T>;

  /** Ends everything; what waits in the queue stays there. */
  close(): Promise<void>;
}

/** What a client has seen. */
export interface Session {
  /** As text, for `resume` elsewhere; empty when nothing was seen. */
  readonly token: string;
  resume(token: string): void;
  /** Forgets everything: for a server that was set up anew. */
  reset(): void;
}

/** Makes a client. */
export declare function createClient(options?: ClientOptions | string): Client;
/** A queue in IndexedDB, shared by all tabs of an origin that give it the same name. */
export declare function indexedDBQueue(name?: string): QueueStore;
/** A queue that does not outlive the process. */
export declare function memoryQueue(): QueueStore;

/** The body of an error of the server. */
export interface Problem {
  error: string;
  message: string;
  hint: string;
  path: string | null;
  retryable: boolean;
  [more: string]: any;
}

/** All errors of this client. */
export declare class RejoinError extends Error {
  /** Stable name, in snake_case. */
  readonly code: string;
  /** What to do. */
  readonly hint?: string;
  readonly path?: string;
  /** The same request may succeed later. */
  readonly retryable: boolean;
}
/** The server refused. Nothing was changed, unless `ambiguous`. */
export declare class ProblemError extends RejoinError {
  readonly status: number;
  readonly problem: Problem;
  readonly reason?: string;
  /** In ms. */
  readonly retryAfter?: number;
  /** An earlier attempt of the same request got no answer: of a 412, what is there may be this write. */
  readonly ambiguous: boolean;
  /** Something before the node refused; `code` is `refused_on_the_way`. */
  readonly foreign: boolean;
}
export declare class InvalidRequestError extends ProblemError {}
export declare class UnauthorizedError extends ProblemError {}
export declare class ForbiddenError extends ProblemError {}
export declare class NotFoundError extends ProblemError {}
export declare class ConflictError extends ProblemError {
  readonly current?: Current;
}
export declare class PreconditionFailedError extends ProblemError {
  readonly current?: Current;
}
/** What is there instead. */
export interface Current<T = any> {
  value: T;
  etag: string;
  version: string;
  timestamp: number;
}
export declare class TokenTooOldError extends ProblemError {}
export declare class UnavailableError extends ProblemError {}
export declare class NotCaughtUpError extends UnavailableError {
  readonly missing?: { count: number; writes: { node: string; first: string; last: string }[] };
}
export declare class DiskFullError extends ProblemError {}
export declare class ServerError extends ProblemError {}
/** No whole answer. A write may have been done, unless it is an {@link UnreachableError}. */
export declare class ConnectionError extends RejoinError {
  readonly url: string;
}
export declare class UnreachableError extends ConnectionError {}
export declare class ConnectionLostError extends ConnectionError {
  /** Of something before the node that got no answer of it, such as 502. */
  readonly status?: number;
  /** In ms. */
  readonly retryAfter?: number;
}
/** A streamed answer is held up on the way, while requests are answered. Code `stalled`. */
export declare class StalledError extends ConnectionError {
  /** In ms. */
  readonly waited: number;
}
export declare class TimedOutError extends ConnectionError {
  /** In ms. */
  readonly waited: number;
}
export declare class UnexpectedAnswerError extends RejoinError {
  readonly url: string;
  readonly status?: number;
}
/** Nothing was sent. */
export declare class InvalidArgumentError extends RejoinError {}
export declare class ClosedError extends RejoinError {}
/** The write is not in the queue. */
export declare class QueueError extends RejoinError {}
