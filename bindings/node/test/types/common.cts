// Compiled, never run: what the types allow, and what they do not.

import { createServer, getDefaultConfig, ConflictResolver, VectorClock, RejoinError, type Entry } from 'rejoin';

interface User {
  name: string;
  age: number;
}

async function use(): Promise<void> {
  const server = createServer({
    port: 3000,
    dbPath: './db',
    peers: ['http://localhost:3001'],
    sync: { antiEntropyInterval: null, maxMessageAge: 300000, maxVersions: 10 },
    conflict: { defaultStrategy: 'last-write-wins', pathStrategies: { users: 'merge-fields', inventory: 'custom' } },
  });
  await server.start();
  const { value, timestamp, vectorClock } = await server.put('users/alice', { name: 'Alice', age: 30 });
  const name: string | undefined = value?.name;
  const own: number | undefined = vectorClock[server.serverID ?? ''];
  const user: User | null = await server.get<User>('users/alice');
  const gone: boolean = await server.del('users/alice');
  const users: Entry<User>[] = await server.scan<User>('users/', { limit: 10 });
  const unsubscribe: () => void = await server.subscribe<User>('users', (value, path) => [value?.age, path.length]);
  unsubscribe();
  const versions: string[] = server.getVersionHistory('users/alice').map(({ version }) => version);
  server.registerConflictResolver<{ stock: number }>('inventory', (path, local, remote) => {
    const stock = Math.min(local.value?.stock ?? 0, remote.value?.stock ?? 0);
    return { ...remote, value: { stock } };
  });
  server.setConflictStrategy('users', 'vector-dominance');
  const { equal } = await server.runAntiEntropy();
  const changed: boolean[] = [server.addPeer('http://localhost:3002'), server.removePeer('http://localhost:3002')];
  const ids: (string | null)[] = [server.serverID, server.nodeID, ...server.peers];
  const merged: VectorClock = new VectorClock().increment(null).merge({ a: 1 });
  createServer({ limits: { valueBytes: getDefaultConfig().limits.valueBytes * 2 } });
  const seen = VectorClock.fromJSON(server.getVectorClock()).compare({ a: 1 });
  const linked: number = server.getConnectionStats().connected;
  await server.close().catch((error: unknown) => (error instanceof RejoinError ? error.hint : error));

  const interval: number | null = getDefaultConfig().sync.antiEntropyInterval;
  const data = { value: 1, timestamp: 1, origin: 'a', vectorClock: { a: 1 } };
  const resolved: number | null = new ConflictResolver().resolve<number>('x', data, data).value;
  void [changed, ids, merged, name, own, timestamp, user, gone, users, versions, equal, seen, linked, interval, resolved];

  // @ts-expect-error: a port is a number
  createServer({ port: '3000' });
  // @ts-expect-error: no such strategy
  server.setConflictStrategy('users', 'newest');
  // @ts-expect-error: it cannot be changed in place
  server.peers.push('http://localhost:3002');
  // @ts-expect-error: it cannot be changed
  server.port = 1;
}

void use;
