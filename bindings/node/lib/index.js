'use strict';

const { createServer, P2PServer } = require('./server.js');
const { VectorClock } = require('./vector-clock.js');
const { ConflictResolver } = require('./conflict-resolver.js');
const { getDefaultConfig } = require('./config.js');
const { RejoinError, OptionError } = require('./errors.js');

module.exports = { createServer, P2PServer, VectorClock, ConflictResolver, getDefaultConfig, RejoinError, OptionError };
