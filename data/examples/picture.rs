//! The pixels of a picture, upright: RGB bytes on standard output, height and width on standard error.
//!
//! `cargo run -p mpuc-data --example picture -- FILE > FILE.rgb`
//!
//! `tests/fixtures/pictures.py` compares them with Pillow's.

use std::error::Error;
use std::io::Write;
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
    let path = std::env::args_os().nth(1).ok_or("usage: picture FILE")?;
    let picture = data::formats::pictures::read(Path::new(&path))?;
    std::io::stdout().lock().write_all(picture.data())?;
    eprintln!("{} {}", picture.shape()[0], picture.shape()[1]);
    Ok(())
}
