//! espeak-ng as a program: found once, then asked for one utterance after the other.

use super::SynthError;
use crate::formats::wav::{self, Sound};
use crate::process::{self, Trouble};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "espeak-ng";
/// Longest time for one utterance, which takes some 15 ms.
const MOST_TIME: Duration = Duration::from_secs(30);
/// Most bytes of an utterance: a minute and a half of its 22,050 Hz.
const MOST_BYTES: u64 = 4 << 20;
/// Bytes of the header that it writes before the samples, and where that keeps its two sizes.
const HEADER: usize = 44;
const SIZES: [usize; 2] = [4, 40];

/// The speaking program of this machine.
#[derive(Debug)]
pub(super) struct Speaker {
    program: OsString,
    /// Name and version, e.g. "espeak-ng 1.51".
    pub(super) version: String,
}

/// One utterance.
#[derive(Debug)]
pub(super) struct Utterance {
    /// Language and variant, e.g. "en-us+f3".
    pub(super) voice: String,
    /// Words a minute.
    pub(super) speed: u32,
    /// SSML.
    pub(super) text: String,
}

impl Speaker {
    /// The espeak-ng on the program path.
    pub(super) fn find() -> Result<Self, SynthError> {
        Self::at(OsStr::new(PROGRAM))
    }

    /// A program that takes espeak-ng's arguments.
    pub(super) fn at(program: &OsStr) -> Result<Self, SynthError> {
        let told = run(program, &["--version"])?;
        let told = String::from_utf8_lossy(&told);
        // eSpeak NG text-to-speech: 1.51  Data at: /usr/lib/espeak-ng-data
        let version = told.split_once(": ").and_then(|(_, rest)| rest.split_whitespace().next());
        let Some(version) = version.filter(|v| v.starts_with(|c: char| c.is_ascii_digit())) else {
            return Err(failed("does not say its version"));
        };
        Ok(Self { program: program.to_owned(), version: format!("{PROGRAM} {version}") })
    }

    /// Has something said; as it comes, at the program's own rate.
    pub(super) fn say(&self, utterance: &Utterance) -> Result<Sound, SynthError> {
        let speed = utterance.speed.to_string();
        let arguments =
            ["--stdout", "-m", "-v", &utterance.voice, "-s", &speed, "--", &utterance.text];
        let mut bytes = run(&self.program, &arguments)?;
        fill_sizes(&mut bytes);
        wav::parse(Path::new(PROGRAM), &bytes).map_err(|_| failed("did not answer with a WAV file"))
    }
}

/// Standard output cannot be wound back, so its header promises two gigabytes: the true sizes take their place.
fn fill_sizes(bytes: &mut [u8]) {
    let length = bytes.len();
    if length < HEADER || &bytes[..4] != b"RIFF" || &bytes[36..40] != b"data" {
        return;
    }
    for place in SIZES {
        if let Ok(size) = u32::try_from(length - place - 4) {
            bytes[place..place + 4].copy_from_slice(&size.to_le_bytes());
        }
    }
}

fn run(program: &OsStr, arguments: &[&str]) -> Result<Vec<u8>, SynthError> {
    let mut command = Command::new(program);
    command.args(arguments);
    process::output(&mut command, MOST_BYTES, MOST_TIME).map_err(|trouble| match trouble {
        Trouble::System(error) if error.kind() == ErrorKind::NotFound => SynthError::NoSpeaker,
        Trouble::System(error) => failed(&format!("cannot be used: {error}")),
        Trouble::TooMuch => failed("went on and on"),
        Trouble::TooLate => {
            failed(&format!("did not answer within {} seconds", MOST_TIME.as_secs()))
        }
        Trouble::Failed(told) if told.is_empty() => failed("broke off without a word"),
        Trouble::Failed(told) => failed(&format!("broke off: {told}")),
    })
}

pub(super) fn failed(what: &str) -> SynthError {
    SynthError::Speaker(what.to_owned())
}
