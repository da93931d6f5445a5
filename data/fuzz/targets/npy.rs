#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".npy", |path| {
        drop(data::formats::npy::read(path));
    });
});
