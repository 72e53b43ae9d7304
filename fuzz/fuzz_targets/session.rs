#![no_main]
//! See `rejoin_fuzz::session`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_fuzz::session(data));
