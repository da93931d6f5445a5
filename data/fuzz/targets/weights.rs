#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".pt", |path| {
        if let Ok(weights) = data::formats::weights::Weights::open(path) {
            for entry in weights.entries() {
                assert_eq!(weights.values(entry).unwrap().data().len(), entry.count());
            }
        }
    });
});
