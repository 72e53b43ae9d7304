//! Durable storage for a replica: the schema over an ordered key-value engine.
