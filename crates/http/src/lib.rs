//! The HTTP API of a rejoin node.
