#![no_main]
//! See `rejoin_fuzz::frame`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::frame(data));
