//! Hands `weir_fuzz::config` to libFuzzer; asserts nothing itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_fuzz::config::run(bytes));
