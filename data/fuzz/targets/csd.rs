#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".csd", |path| {
        let Ok(csd) = data::formats::csd::Csd::open(path) else { return };
        drop(csd.dimension_names());
        for id in csd.videos().flat_map(|video| csd.parts(video)) {
            let rows = csd.intervals(id).map_or(1, |intervals| intervals.len());
            drop(csd.features(id, 0..rows));
            drop(csd.words(id, 0..rows));
        }
    });
});
