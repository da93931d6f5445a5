use super::*;
use crate::formats::npy;
use std::path::Path;

/// The signal of tests/fixtures/make_mel.py.
fn tone(rate: u32, seconds: f64) -> Sound {
    let mut state = 12_345u64;
    let samples = (0..(f64::from(rate) * seconds) as usize)
        .map(|i| {
            state = (state * 1_103_515_245 + 12_345) & 0x7FFF_FFFF;
            let noise = state as f64 / f64::from(0x7FFF_FFFF) - 0.5;
            let t = i as f64 / f64::from(rate);
            (0.5 * (2.0 * PI * (200.0 + 300.0 * t) * t).sin() + 0.05 * noise) as f32
        })
        .collect();
    Sound { samples, rate }
}

fn worst(settings: MelSettings, seconds: f64, fixture: &str) -> f32 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mel").join(fixture);
    let wanted = npy::read(&path).unwrap().into_f32().unwrap();
    let sound = tone(settings.sample_rate, seconds);
    let got = Mel::new(&settings).unwrap().compute(&sound).unwrap();
    let bands = settings.bands;
    assert_eq!([got.shape()[0].div_ceil(16), bands], wanted.shape());
    let kept = got.data().chunks(bands).step_by(16).flatten();
    kept.zip(wanted.data()).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

#[test]
fn the_presets_equal_librosa() {
    let errors = [
        worst(MelSettings::paper(), 3.5, "paper.npy"),
        worst(MelSettings::authors(30_000.0 / 1_001.0), 2.0, "authors.npy"),
        worst(MelSettings::world(), 2.0, "world.npy"),
    ];
    println!("worst differences from librosa: {errors:?}");
    assert!(errors.iter().all(|&error| error < 1e-4), "{errors:?}");
}

#[test]
fn silence_is_finite_and_constant() {
    for settings in [MelSettings::paper(), MelSettings::authors(30.0), MelSettings::world()] {
        let silent = Sound { samples: vec![0.0; 5_000], rate: 16_000 };
        let mel = Mel::new(&settings).unwrap().compute(&silent).unwrap();
        let first = mel.data()[0];
        assert!(first.is_finite() && mel.data().iter().all(|&x| x == first));
    }
}

#[test]
fn one_sample_gives_one_frame_and_bad_settings_say_which() {
    let click = Sound { samples: vec![1.0], rate: 16_000 };
    assert_eq!(Mel::new(&MelSettings::world()).unwrap().compute(&click).unwrap().shape(), [1, 40]);
    let message = |settings: MelSettings| Mel::new(&settings).err().unwrap().to_string();
    assert!(message(MelSettings { hop: f64::NAN, ..MelSettings::world() }).contains("hop"));
    assert!(
        message(MelSettings { window_length: 4096, ..MelSettings::paper() })
            .contains("window_length")
    );
    assert!(
        message(MelSettings { highest_hz: Some(9e3), ..MelSettings::world() })
            .contains("highest_hz")
    );
}

#[test]
fn settings_survive_being_written_down() {
    let settings = MelSettings::authors(29.97);
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<MelSettings>(&text).unwrap(), settings);
    assert!(serde_json::from_str::<MelSettings>(r#"{"band": 3}"#).is_err());
}
