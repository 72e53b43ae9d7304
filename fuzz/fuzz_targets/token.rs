#![no_main]
//! See `rejoin_fuzz::token`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::token(data));
