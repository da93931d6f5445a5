#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".csv", |path| {
        drop(data::corpora::manifest::read(path, &Default::default()));
    });
});
