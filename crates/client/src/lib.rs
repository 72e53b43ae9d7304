//! Typed client of the rejoin HTTP API.
