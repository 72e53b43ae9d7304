#![no_main]
//! See `rejoin_fuzz::handshake`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::handshake(data));
