#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".wav", |path| {
        drop(data::formats::wav::read(path));
    });
});
