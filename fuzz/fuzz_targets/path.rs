#![no_main]
//! See `rejoin_fuzz::path`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::path(data));
