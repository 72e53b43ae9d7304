import rejoin from './index.js';

export const { createServer, P2PServer, VectorClock, ConflictResolver, getDefaultConfig, RejoinError, OptionError } = rejoin;
export default rejoin;
