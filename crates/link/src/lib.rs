//! Authenticated, ordered byte-frame streams between nodes over WebSocket.
