/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** How many writes of each node, by its id. */
export type Clock = Record<string, number>;

/** How concurrent writes of one path become one value. `vector-dominance` is another name of `last-write-wins`. */
export type Strategy = 'last-write-wins' | 'first-write-wins' | 'merge-fields' | 'custom' | 'vector-dominance';

/** One version of a path, as a resolver gets it. */
export interface VersionData<T = any> {
  /** The value; `null` is a delete. */
  value: T | null;
  /** When it was written, in Unix milliseconds of the writer's hybrid clock. */
  timestamp: number;
  /** The id of the node on which it was written. */
  origin: string;
  vectorClock: Clock;
}

/**
 * Decides between two versions that did not see each other. It must be a pure function and the same on every node:
 * `localData` is the older of the two, `remoteData` the newer. `null` as value deletes.
 */
export type Resolver<T = any> = (
  path: string,
  localData: VersionData<T>,
  remoteData: VersionData<T>,
) => Pick<VersionData<T>, 'value'> & Partial<VersionData<T>>;

export interface ConflictOptions {
  /** Of paths without a strategy of their own. Default: `last-write-wins`. */
  defaultStrategy?: Strategy;
  /** Strategies by path; each rules its path and what is below it, and the longest path wins. */
  pathStrategies?: Record<string, Strategy>;
  /** Functions by path. A path without a strategy in `pathStrategies` gets `custom`. */
  customResolvers?: Record<string, Resolver>;
}

export interface ServerOptions {
  /** Port of the HTTP API and of links from peers, 1 to 65535. Default: 3000. */
  port?: number;
  /** Directory of the database; made when it is not there. Default: `./db`. */
  dbPath?: string;
  /** URLs of peers to keep a link to. */
  peers?: readonly string[];
  /** A name of this server, 1 to 64 bytes: `server.serverID`, which peers are told. The key in every `vectorClock` is `server.nodeID`. */
  serverID?: string | null;
  sync?: {
    /** Milliseconds between comparisons with the peers, at least 1000; `null`: only on request. Default: 60000. */
    antiEntropyInterval?: number | null;
    /** Accepted, without effect: exact causality takes the place of a cache of messages. */
    maxMessageAge?: number;
    /** Superseded versions kept of each path. Default: 10. */
    maxVersions?: number;
  };
  conflict?: ConflictOptions;
  /** Address to listen on. Default: 127.0.0.1. Another one needs `authToken`. */
  host?: string;
  /** Bearer token that HTTP requests and peers must show, and that this server shows to its peers. */
  authToken?: string | null;
  /** A secret that all servers of one network know; others are refused. */
  clusterSecret?: string | null;
  /** What an answered write survives: a power cut (`disk`), the end of the process (`os`) or nothing (`memory`). */
  durability?: 'disk' | 'os' | 'memory';
  /** Names, beside localhost and the address itself, under which browsers may reach this server without a token. */
  allowedHosts?: string[];
  /** Origins of pages that may use this server, such as `https://app.example.com`. */
  allowedOrigins?: string[];
  /** What values may be at most; those of peers may be more. */
  limits?: {
    /** Bytes of the JSON text, up to 16 MiB. Default: 1048576. */
    valueBytes?: number;
    /** Levels of arrays and objects, up to 126. Default: 64. */
    valueDepth?: number;
  };
}

/** What a write led to: the value after the resolution of conflicts. */
export interface WriteResult<T = any> {
  path: string;
  value: T | null;
  timestamp: number;
  vectorClock: Clock;
}

/** A value with what is known of it. */
export interface Entry<T = any> {
  path: string;
  value: T;
  timestamp: number;
  origin: string;
  vectorClock: Clock;
}

/** A superseded version. */
export interface HistoryEntry<T = any> extends VersionData<T> {
  /** It was a delete. */
  deleted: boolean;
  /** Names the write. */
  version: string;
  /** The write that replaced it, as far as this node knows. */
  supersededBy: string | null;
  /** `replaced` by a write that saw it; or, while others were live beside it, shown (`won`) or not (`lost`). `expired`: its time had come. */
  outcome: 'replaced' | 'won' | 'lost' | 'expired';
}

/** A peer: linked, or dialed. */
export interface PeerStats {
  id: string | null;
  name: string | null;
  url: string | null;
  direction: 'in' | 'out';
  state: 'connected' | 'backoff' | 'rejected';
  /** Since when, in Unix milliseconds. */
  since: number;
  rttMs: number | null;
  bytesIn: number;
  bytesOut: number;
  /** It has other conflict strategies, so that the two may show different values. */
  policyDiffers: boolean;
  lastError: string | null;
  nextRetryAt: number | null;
}

export interface ConnectionStats {
  /** Peers with a link. */
  connected: number;
  /** Of these, those that dialed. */
  inbound: number;
  /** Of these, those that this server dialed. */
  outbound: number;
  peers: PeerStats[];
}

/** What a comparison with the peers did. */
export interface AntiEntropyReport {
  /** What was compared: the paths that begin with this; empty for everything. */
  prefix: string;
  /** Peers compared. */
  peers: number;
  /** Of these, those that are equal now. */
  equal: number;
  unequal: number;
  documentsSent: number;
  documentsReceived: number;
  /** Versions that no message had brought or removed. */
  repaired: number;
}

/** A node with an HTTP API on its port. */
export class P2PServer {
  constructor(options?: ServerOptions);
  /** The name that was chosen; without one, the same as `nodeID`. */
  readonly serverID: string | null;
  /** The id of this node, the key of its writes in every `vectorClock`; `null` before the first start. */
  readonly nodeID: string | null;
  readonly port: number;
  readonly dbPath: string;
  /** The URLs that are dialed. Frozen: see `addPeer`. */
  readonly peers: readonly string[];
  /** Keeps a link to a peer from now on; false when it does already. */
  addPeer(url: string): boolean;
  /** Ends the link to a peer, and does not dial it any more; false when it was not dialed. */
  removePeer(url: string): boolean;
  /** Opens the database, listens, and dials the peers. */
  start(): Promise<void>;
  /** Lets the database, the port and the process go. May be called at any time, and again. */
  close(): Promise<void>;
  /**
   * Stores a value as JSON.stringify has it; `null` deletes. Resolves once the write is as durable as configured. This and what
   * else gives a promise waits for the start.
   */
  put<T = any>(path: string, value: T): Promise<WriteResult<T>>;
  get<T = any>(path: string): Promise<T | null>;
  /** Resolves to false when there is nothing to delete. */
  del(path: string): Promise<boolean>;
  /** Every value whose path begins with `prefix`, in path order. A limit of 0 or `null` is none. */
  scan<T = any>(prefix?: string, options?: { limit?: number | null }): Promise<Entry<T>[]>;
  /** Tells of changes of the path, of what is below it and of its ancestors; `null` for a delete. */
  subscribe<T = any>(path: string, callback: (value: T | null, path: string) => unknown): Promise<() => void>;
  /** The superseded versions of a path, newest first. */
  getVersionHistory<T = any>(path: string): HistoryEntry<T>[];
  setConflictStrategy(path: string, strategy: Strategy): void;
  registerConflictResolver<T = any>(path: string, resolver: Resolver<T>): void;
  /** Compares the paths that begin with `prefix` with all peers, and exchanges what differs; resolves when that is done. */
  runAntiEntropy(prefix?: string): Promise<AntiEntropyReport>;
  /** The newest write of each node that this one has. */
  getVectorClock(): Clock;
  getConnectionStats(): ConnectionStats;
}

/** A server with these options; it does nothing until it is started. */
export function createServer(options?: ServerOptions): P2PServer;

/** The options that a server has when none is given. */
export function getDefaultConfig(): Required<Omit<ServerOptions, 'sync' | 'conflict' | 'limits'>> & {
  sync: Required<NonNullable<ServerOptions['sync']>>;
  conflict: Required<ConflictOptions>;
  limits: Required<NonNullable<ServerOptions['limits']>>;
};

/** How many writes of each node something has seen. */
export class VectorClock {
  constructor(entries?: VectorClock | Clock | null);
  static fromJSON(json: unknown): VectorClock;
  get(node: string): number;
  entries(): [node: string, count: number][];
  /** Counts one more write of a node, nothing for `null`; changes this clock and returns it. */
  increment(node?: string | null): this;
  clone(): VectorClock;
  /** A new clock that has seen what this one and another one have; changes neither. */
  merge(other: unknown): VectorClock;
  /** 1: after the other, -1: before, 0: concurrent, 2: identical. */
  compare(other: unknown): 1 | -1 | 0 | 2;
  isBefore(other: unknown): boolean;
  isAfter(other: unknown): boolean;
  isConcurrent(other: unknown): boolean;
  isIdentical(other: unknown): boolean;
  dominanceRelation(other: unknown): 'dominates' | 'dominated' | 'concurrent' | 'identical';
  /** The later of two clocks; of two concurrent ones, the same whichever is asked. */
  deterministicWinner(other: unknown): VectorClock;
  toJSON(): Clock;
  toString(): string;
}

/**
 * What two versions of a path come to: the rules of the engine, for use on their own. One that saw the other comes to what a `put`
 * of it there would.
 */
export class ConflictResolver {
  constructor(conflict?: ConflictOptions);
  resolve<T = any>(path: string, local: VersionData<T>, remote: VersionData<T>): VersionData<T>;
  getStrategyForPath(path: string): Exclude<Strategy, 'vector-dominance'>;
  setStrategy(path: string, strategy: Strategy): void;
  registerCustomResolver<T = any>(path: string, resolver: Resolver<T>): void;
}

/** An operation was not done; nothing is half-done after it. */
export class RejoinError extends Error {
  /** For programs: `closed`, `not_started`, `invalid_path`, `too_large`, `disk_full`, `listen_failed`, `locked`, … */
  readonly code: string;
  /** What to do. */
  readonly hint: string | null;
  /** The same call may succeed later. */
  readonly retryable: boolean;
}

/** An option of `createServer`, or an argument of a method, is not what it has to be. */
export class OptionError extends TypeError {
  readonly code: 'invalid_option';
  /** Which, as in `sync.antiEntropyInterval`. */
  readonly option: string;
}
