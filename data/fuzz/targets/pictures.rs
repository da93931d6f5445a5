#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".jpg", |path| {
        drop(data::formats::pictures::read(path));
    });
});
