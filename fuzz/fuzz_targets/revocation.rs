//! Runs [`busel_fuzz::revocation`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    busel_fuzz::revocation(data);
});
