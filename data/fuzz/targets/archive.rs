#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    data_fuzz::with_file(bytes, ".zip", |path| {
        if let Ok(archive) = data::formats::archive::Archive::open(path) {
            for member in archive.members().files {
                drop(member.read());
            }
        }
    });
});
