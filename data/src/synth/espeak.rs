//! espeak-ng as a child process, one for each utterance.

use super::SynthError;
use crate::formats::wav::{self, Sound};
use crate::process::{self, Trouble};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "espeak-ng";
/// Time limit for one utterance, which takes about 15 ms.
const MOST_TIME: Duration = Duration::from_secs(30);
/// Largest output for an utterance, in bytes: 90 seconds at 22,050 Hz.
const MOST_BYTES: u64 = 4 << 20;

/// The installed espeak-ng.
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
    /// Words per minute.
    pub(super) speed: u32,
    /// SSML.
    pub(super) text: String,
}

impl Speaker {
    /// Finds espeak-ng on the program path.
    pub(super) fn find() -> Result<Self, SynthError> {
        Self::at(OsStr::new(PROGRAM))
    }

    /// A program with espeak-ng's arguments.
    pub(super) fn at(program: &OsStr) -> Result<Self, SynthError> {
        let told = run(program, &["--version"])?;
        let told = String::from_utf8_lossy(&told);
        // eSpeak NG text-to-speech: 1.51  Data at: /usr/lib/espeak-ng-data
        let version = told.split_once(": ").and_then(|(_, rest)| rest.split_whitespace().next());
        let Some(version) = version.filter(|v| v.starts_with(|c: char| c.is_ascii_digit())) else {
            return Err(failed("printed no version"));
        };
        Ok(Self { program: program.to_owned(), version: format!("{PROGRAM} {version}") })
    }

    /// Synthesises an utterance; returns the recording at espeak-ng's rate.
    pub(super) fn say(&self, utterance: &Utterance) -> Result<Sound, SynthError> {
        let speed = utterance.speed.to_string();
        let arguments =
            ["--stdout", "-m", "-v", &utterance.voice, "-s", &speed, "--", &utterance.text];
        let bytes = run(&self.program, &arguments)?;
        wav::parse(Path::new(PROGRAM), &bytes).map_err(|_| failed("wrote no WAV file"))
    }
}

fn run(program: &OsStr, arguments: &[&str]) -> Result<Vec<u8>, SynthError> {
    let mut command = Command::new(program);
    command.args(arguments);
    process::output(&mut command, MOST_BYTES, MOST_TIME).map_err(|trouble| match trouble {
        Trouble::System(error) if error.kind() == ErrorKind::NotFound => SynthError::NoSpeaker,
        Trouble::System(error) => failed(&format!("cannot be used: {error}")),
        Trouble::TooMuch => failed("wrote too much output"),
        Trouble::TooLate => {
            failed(&format!("did not finish within {} seconds", MOST_TIME.as_secs()))
        }
        Trouble::Failed(told) if told.is_empty() => failed("failed without a message"),
        Trouble::Failed(told) => failed(&format!("failed: {told}")),
    })
}

pub(super) fn failed(what: &str) -> SynthError {
    SynthError::Speaker(what.to_owned())
}
