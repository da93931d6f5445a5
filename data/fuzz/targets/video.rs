#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // What the fence around the decoder catches is an error, as for users.
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !data::fence::inside() {
                abort(panic);
            }
        }));
        // Files that only ffmpeg reads are refused at once.
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("PATH", "") };
    },
    |bytes: &[u8]| {
        drop(data::formats::video::decode("fuzz.mp4".as_ref(), bytes, &mut |_| Ok(())));
    }
);
