//! `catalogue` for libFuzzer; what it checks is in the library.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| busel_fuzz::catalogue(data));

#[cfg(not(fuzzing))]
fn main() {}
