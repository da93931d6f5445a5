#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".safetensors", |path| {
        drop(engine::checkpoint::Checkpoint::load(path));
    });
});
