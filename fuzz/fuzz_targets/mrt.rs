//! Hands `weir_fuzz::mrt` to libFuzzer; asserts nothing itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_fuzz::mrt::run(bytes));
