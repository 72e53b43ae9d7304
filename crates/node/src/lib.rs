//! A peer-to-peer JSON data synchronization node to embed in a program.
