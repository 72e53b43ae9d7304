/** What the types promise, held by the compiler: nothing here runs. */

import {
  ConnectionError,
  PreconditionFailedError,
  ProblemError,
  RejoinError,
  UnauthorizedError,
  createClient,
  indexedDBQueue,
  type ChangeEvent,
  type Entry,
  type Written,
} from '@rejoin/client';
import { fileQueue } from '@rejoin/client/node';

interface User {
  name: string;
  age?: number;
}

export async function usage(signal: AbortSignal): Promise<void> {
  const client = createClient({
    urls: ['http://127.0.0.1:3000'],
    token: async ({ refused }) => refused ?? 'x',
    signal,
    queue: fileQueue('./queue'),
  });
  createClient('http://127.0.0.1:3000');
  createClient({ queue: indexedDBQueue('page'), WebSocket: null });

  const written: Written<User> = await client.put<User>(
    'users/alice',
    { name: 'Alice' },
    { ifNoneMatch: '*', ack: { nodes: 2 } },
  );
  const holders: string[] | undefined = written.receipt?.holders;
  const user: User | undefined = await client.get<User>('users/alice', { signal, timeout: 100 });
  const entry: Entry<User> | undefined = await client.entry<User>('users/alice');
  await client.put('users/alice', 1, { context: entry?.context, ifMatch: [written.etag] });
  const gone = await client.del('users/alice');
  if (gone) console.log(gone.version, holders, user?.name);

  for await (const { path, value } of client.scan<User>('users/', { where: 'age>=18' }))
    console.log(path, value?.age);
  const all = await client.scan('users/', { limit: 5 }).toArray();
  console.log(all.length, await client.count());
  for await (const past of client.history('users/alice'))
    console.log(past.outcome === 'lost', past.supersededBy);
  for await (const conflict of client.conflicts('', { state: 'open' })) {
    await client.resolve(conflict.path, { value: 1, context: conflict.context });
    await client.resolve(conflict.path, { keep: conflict.versions![0]!.version });
  }
  const batch = await client.batch(
    [
      { path: 'a', value: 1 },
      { op: 'delete', path: 'b' },
    ],
    { atomic: true },
  );
  console.log(batch.results[0]?.status);
  for await (const result of client.load(
    (async function* () {
      yield { path: 'a', value: 1 };
    })(),
  ))
    console.log(result.operation);

  for await (const event of client.subscribe<User>(['users', 'rooms/7'], { since: 'now' })) {
    if (event.event === 'change') {
      const change: ChangeEvent<User> = event;
      console.log(change.value?.name, change.token);
    } else if (event.event === 'interrupted') console.log(event.error.hint);
    else if (event.event === 'resync') console.log(event.reason);
    else console.log(event.count);
  }
  const subscription = client.subscribe('users', async (event) => event.event);
  await subscription.ready;
  const live = await client.live<User>('users').ready();
  live.on('change', ({ value, previous }) => console.log(value?.name, previous?.name));

  client.on('pending', (count) => count.toFixed());
  client.on('state', ({ state }) => state === 'offline');
  const { outcome } = await client.queue.put('users/alice', { name: 'A' });
  const result = await outcome;
  if (result.state === 'conflict') {
    console.log(result.conflict.current?.value);
    await result.conflict.resolve({ name: 'both' });
  }
  if (result.state === 'refused') await result.refused.retry({ unconditional: true });
  for (const refused of await client.queue.refused()) {
    console.log(refused.path, refused.status?.toFixed(), refused.hint);
    await refused.discard();
  }
  client.on('refused', async ({ path, status, resolve }) => console.log(path, status, await resolve(1)));
  client.on('stalled', ({ waited, hint }) => console.log(waited, hint, client.feedWay));
  live.on('interrupted', ({ error }) => console.log(error.code));
  try {
    await client.put('a', 1);
  } catch (error) {
    if (error instanceof PreconditionFailedError) console.log(error.current?.etag, error.ambiguous);
    else if (error instanceof UnauthorizedError || error instanceof ProblemError)
      console.log(error.status, error.problem.error);
    else if (error instanceof ConnectionError) console.log(error.url);
    else if (error instanceof RejoinError) console.log(error.code, error.hint);
  }

  // @ts-expect-error: no such option
  createClient({ tokn: 'x' });
  // @ts-expect-error: no such event
  client.on('nothing', () => {});
  // @ts-expect-error: a path is text
  await client.get(7);
  // @ts-expect-error: one or the other
  await client.resolve('a', {});
  // @ts-expect-error: an operation has a path
  await client.batch([{ op: 'delete' }]);
  // @ts-expect-error: there may be none
  (await client.get<User>('a')).name;
  // @ts-expect-error: no file in a page
  (await import('@rejoin/client')).fileQueue;
  await client.close();
}
