#![no_main]
//! See `rejoin_fuzz::json`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::json(data));
