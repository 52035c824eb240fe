//! Runs [`busel_fuzz::sealed_request`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    busel_fuzz::sealed_request(data);
});
