#![no_main]
//! See `rejoin_fuzz::record`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::record(data));
