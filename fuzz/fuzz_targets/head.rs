//! Runs [`busel_fuzz::head`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    busel_fuzz::head(data);
});
