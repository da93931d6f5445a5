//! The samples of a WAV file, mixed down to mono: little-endian `f32` on standard output, the rate on standard error.
//!
//! `cargo run -p mpuc-data --example sound -- FILE.wav > FILE.f32`
//!
//! `tests/fixtures/readers.py` compares them with soundfile's and ffmpeg's.

use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: sound FILE.wav")?;
    let sound = data::formats::wav::read(Path::new(&path))?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    for sample in &sound.samples {
        output.write_all(&sample.to_le_bytes())?;
    }
    output.flush()?;
    eprintln!("{}", sound.rate);
    Ok(())
}
