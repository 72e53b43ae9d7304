/** The same from CommonJS, which finds the types of its own form. */

import client = require('@rejoin/client');
import node = require('@rejoin/client/node');

export const made: client.Client = client.createClient({
  url: 'http://127.0.0.1:3000',
  queue: node.fileQueue('./queue'),
});
