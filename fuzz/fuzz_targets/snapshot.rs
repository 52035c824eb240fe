//! Runs [`busel_fuzz::snapshot`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    busel_fuzz::snapshot(data);
});
