import rejoin, { createServer, P2PServer } from 'rejoin';

const server: P2PServer = createServer();
const other: P2PServer = rejoin.createServer({ durability: 'memory' });
void [server, other];
