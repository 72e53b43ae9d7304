'use strict';

// Two servers: what is written on one is read, scanned and heard on the other, and a delete arrives as one.
// Run it with: node examples/basic-example.js

const { createServer } = require('rejoin');
const { example, freePorts, until, check } = require('./stage.js');

example(async (directory) => {
  const [port1, port2] = await freePorts(2);
  const server1 = createServer({ port: port1, dbPath: directory('server1'), peers: [] });
  const server2 = createServer({ port: port2, dbPath: directory('server2'), peers: [`http://localhost:${port1}`] });
  await server1.start();
  await server2.start();
  console.log(`Two servers: ${server1.serverID} and ${server2.serverID}\n`);

  console.log('Storing users on server 1, listening on server 2');
  const heard = [];
  const unsubscribe = await server2.subscribe('users', (value, path) => heard.push([path, value]));
  const { vectorClock } = await server1.put('users/user1', { name: 'Alice', age: 30 });
  await server1.put('users/user2', { name: 'Bob', age: 40 });
  await until('server 2 hears of both', () => heard.length === 2);
  check('server 2 was told of both users', heard.map(([path]) => path), ['users/user1', 'users/user2']);
  check('server 2 reads what server 1 wrote', await server2.get('users/user1'), { name: 'Alice', age: 30 });
  check('a scan finds them by their prefix', (await server2.scan('users/')).map(({ path }) => path), ['users/user1', 'users/user2']);
  check('the vector clock counts the write under the id of server 1', Object.keys(vectorClock), [server1.serverID]);

  console.log('Changing and deleting them on server 2');
  await server2.put('users/user1', { name: 'Alice', age: 31 });
  check('there was a user 2', await server2.del('users/user2'), true);
  await until('server 1 has both changes', async () =>
    (await server1.get('users/user2')) === null && (await server1.get('users/user1')).age === 31);
  check('on server 1 Alice is older and Bob is gone', (await server1.scan('users/')).map(({ value }) => value), [{ name: 'Alice', age: 31 }]);
  check('history tells what was before', server1.getVersionHistory('users/user1').map(({ value }) => value), [{ name: 'Alice', age: 30 }]);
  unsubscribe();

  console.log('The same data over HTTP');
  const answer = await fetch(`http://localhost:${port2}/api/users/user1`);
  check('GET /api/users/user1', await answer.json(), { name: 'Alice', age: 31 });

  await server1.close();
  await server2.close();
});
