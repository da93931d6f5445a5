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
        // A caller's error ends decoding after a few frames: the rest repeats the same code.
        let mut left = 4;
        let mut each = |_| {
            left -= 1;
            let enough = data::Error::Config { message: String::new() };
            if left == 0 { Err(enough) } else { Ok(()) }
        };
        drop(data::formats::video::decode("fuzz.mp4".as_ref(), bytes, &mut each));
    }
);
