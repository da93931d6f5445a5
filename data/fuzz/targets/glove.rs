#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".txt", |path| {
        if let Ok(vectors) = data::formats::glove::Glove::open(path, None) {
            drop(vectors.embed("the word's 3.5 ways"));
        }
    });
});
