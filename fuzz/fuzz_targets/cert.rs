//! Runs [`busel_fuzz::cert`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    busel_fuzz::cert(data);
});
