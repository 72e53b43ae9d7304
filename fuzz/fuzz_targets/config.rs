#![no_main]
//! See `rejoin_fuzz::config`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::config(data));
