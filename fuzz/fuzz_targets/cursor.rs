#![no_main]
//! See `rejoin_fuzz::cursor`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::cursor(data));
