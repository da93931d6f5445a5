//! A video's decoded frames, brightness and colour differences one after the other, as ffmpeg writes raw video:
//!
//! `cargo run --release -p mpuc-data --example planes -- VIDEO.mp4 | cmp - <(ffmpeg -i VIDEO.mp4 -f rawvideo -pix_fmt yuv420p -)`

use data::formats::video::{Reader, decode};
use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: planes VIDEO")?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    let info = decode(Path::new(&path), &std::fs::read(&path)?, &mut |frame| {
        for plane in [&frame.y, &frame.u, &frame.v] {
            if written.is_ok() {
                written = output.write_all(plane);
            }
        }
        Ok(())
    })?;
    written?;
    output.flush()?;
    let reader = match info.reader {
        Reader::Own => "this program's decoder",
        Reader::Ffmpeg => "ffmpeg",
    };
    eprintln!("{} frames, {:.3} a second, by {reader}", info.frames, info.frames_per_second);
    Ok(())
}
