use super::*;
use hound::{SampleFormat, WavSpec, WavWriter};
use proptest::prelude::*;
use std::f64::consts::TAU;

fn write<S: hound::Sample + Copy>(path: &Path, spec: WavSpec, values: &[S]) {
    let mut writer = WavWriter::create(path, spec).unwrap();
    for &value in values {
        writer.write_sample(value).unwrap();
    }
    writer.finalize().unwrap();
}

fn spec(channels: u16, bits: u16, format: SampleFormat) -> WavSpec {
    WavSpec { channels, sample_rate: 48_000, bits_per_sample: bits, sample_format: format }
}

#[test]
fn every_width_gives_the_same_half_scale() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let half = |path: &Path| {
        let sound = read(path).unwrap();
        assert_eq!(sound.rate, 48_000);
        assert_eq!(sound.samples, [0.5, -0.5, 0.0]);
    };
    write(&path, spec(1, 8, SampleFormat::Int), &[64i8, -64, 0]);
    half(&path);
    write(&path, spec(1, 16, SampleFormat::Int), &[16_384i16, -16_384, 0]);
    half(&path);
    write(&path, spec(1, 24, SampleFormat::Int), &[1i32 << 22, -(1 << 22), 0]);
    half(&path);
    write(&path, spec(1, 32, SampleFormat::Int), &[1i32 << 30, -(1 << 30), 0]);
    half(&path);
    write(&path, spec(1, 32, SampleFormat::Float), &[0.5f32, -0.5, 0.0]);
    half(&path);
}

#[test]
fn channels_are_mixed_down_by_their_mean() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write(&path, spec(3, 32, SampleFormat::Float), &[0.3f32, 0.6, 0.0, -0.3, 0.0, 0.0]);
    let sound = read(&path).unwrap();
    assert!((sound.samples[0] - 0.3).abs() < 1e-6 && (sound.samples[1] + 0.1).abs() < 1e-6);
}

#[test]
fn a_cut_file_says_how_much_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.wav");
    write(&path, spec(1, 16, SampleFormat::Int), &[1i16; 1000]);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let message = read(&path).unwrap_err().to_string();
    assert!(
        message.contains("cut.wav") && message.contains("1000") && message.contains("950"),
        "{message}"
    );
}

#[test]
fn empty_and_not_a_number_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write::<i16>(&path, spec(1, 16, SampleFormat::Int), &[]);
    assert!(read(&path).unwrap_err().to_string().contains("no samples"));
    write(&path, spec(1, 32, SampleFormat::Float), &[0.0, f32::NAN]);
    let message = read(&path).unwrap_err().to_string();
    assert!(message.contains("number 2, is NaN"), "{message}");
    assert_eq!(
        read(&folder.path().join("none.wav")).unwrap_err().kind(),
        crate::ErrorKind::MissingData
    );
}

/// A chunk with its pad byte.
fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let pad = &[0][..body.len() % 2];
    [&name[..], &(body.len() as u32).to_le_bytes(), body, pad].concat()
}

/// A chunk `fmt ` for 16 kHz with true byte rate and block size; `more` follows the 16 bytes.
fn fmt(tag: u16, channels: u16, bits: u16, more: &[u8]) -> Vec<u8> {
    let block = channels * bits.div_ceil(8);
    let byte_rate = 16_000 * u32::from(block);
    let start = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
    let end = [block.to_le_bytes(), bits.to_le_bytes()].concat();
    chunk(
        b"fmt ",
        &[&start, &16_000u32.to_le_bytes()[..], &byte_rate.to_le_bytes(), &end, more].concat(),
    )
}

/// The rest of an extensible `fmt `: this many valid bits of this coding.
fn extension(valid: u16, tag: u16) -> Vec<u8> {
    let rest = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";
    [&22u16.to_le_bytes()[..], &valid.to_le_bytes(), &[0; 4], &tag.to_le_bytes(), rest].concat()
}

fn riff(chunks: &[&[u8]]) -> Vec<u8> {
    let body = chunks.concat();
    [b"RIFF", &(4 + body.len() as u32).to_le_bytes()[..], b"WAVE", &body].concat()
}

/// A chunk `data` whose head gives this length.
fn data_of(length: u32, body: &[u8]) -> Vec<u8> {
    [b"data", &length.to_le_bytes()[..], body].concat()
}

const RAMP: [i16; 6] = [0, 1_000, 16_056, -16_056, -1_000, 7];

/// The ramp in 16 bits.
fn ramp() -> Vec<u8> {
    RAMP.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn samples(bytes: &[u8]) -> Vec<f32> {
    let sound = parse(Path::new("a.wav"), bytes).unwrap();
    assert_eq!(sound.rate, 16_000);
    sound.samples
}

fn message(bytes: &[u8]) -> String {
    parse(Path::new("a.wav"), bytes).unwrap_err().to_string()
}

#[track_caller]
fn is_ramp(bytes: &[u8], precision: f32) {
    let found = samples(bytes);
    let wrong =
        found.iter().zip(RAMP).find(|(a, b)| (**a - f32::from(*b) / 32_768.0).abs() > precision);
    assert!(found.len() == RAMP.len() && wrong.is_none(), "{found:?}");
}

#[test]
fn fewer_valid_bits_are_the_upper_ones() {
    let left = |width: usize| -> Vec<u8> {
        let wide = |value: &i16| (i64::from(*value) << 48).to_le_bytes()[8 - width..].to_vec();
        RAMP.iter().flat_map(wide).collect()
    };
    for (bits, valid) in
        [(32u16, 24), (32, 20), (24, 20), (24, 16), (16, 12), (32, 32), (24, 0), (64, 64)]
    {
        let samples = left(usize::from(bits / 8));
        is_ramp(
            &riff(&[&fmt(0xfffe, 1, bits, &extension(valid, 1)), &chunk(b"data", &samples)]),
            0.0,
        );
    }
    for bits in [12u16, 14, 20, 28] {
        let samples = left(usize::from(bits.div_ceil(8)));
        is_ramp(&riff(&[&fmt(1, 1, bits, &[]), &chunk(b"data", &samples)]), 0.0);
    }
    // Bytes are unsigned.
    let bytes = RAMP.map(|value| (value >> 8) as u8 ^ 0x80);
    is_ramp(&riff(&[&fmt(1, 1, 8, &[]), &chunk(b"data", &bytes)]), 1.0 / 128.0);
}

#[test]
fn floats_of_both_widths_are_read() {
    let short: Vec<u8> =
        RAMP.iter().flat_map(|&v| (f32::from(v) / 32_768.0).to_le_bytes()).collect();
    let long: Vec<u8> =
        RAMP.iter().flat_map(|&v| (f64::from(v) / 32_768.0).to_le_bytes()).collect();
    for (bits, samples) in [(32, short), (64, long)] {
        is_ramp(&riff(&[&fmt(3, 1, bits, &[0, 0]), &chunk(b"data", &samples)]), 0.0);
        is_ramp(
            &riff(&[&fmt(0xfffe, 1, bits, &extension(bits, 3)), &chunk(b"data", &samples)]),
            0.0,
        );
        // 40 bytes with the tag of plain floats.
        is_ramp(&riff(&[&fmt(3, 1, bits, &[0; 24]), &chunk(b"data", &samples)]), 0.0);
    }
}

/// Codes and values of ITU-T G.711, as ffmpeg and soundfile decode them.
#[test]
fn a_law_and_mu_law_are_decoded() {
    for (tag, codes, values) in [
        (6u16, [0x55u8, 0xd5, 0x2a, 0xaa, 0x00, 0x80], [-8i16, 8, -32_256, 32_256, -5_504, 5_504]),
        (7, [0x00, 0x80, 0x7f, 0xff, 0x55, 0xd5], [-32_124, 32_124, 0, 0, -716, 716]),
    ] {
        let expected = values.map(|value| f32::from(value) / 32_768.0);
        // Some programs give 16 bits, those of the decoded values.
        for format in
            [fmt(tag, 1, 8, &[0, 0]), fmt(tag, 1, 16, &[]), fmt(0xfffe, 1, 8, &extension(8, tag))]
        {
            assert_eq!(samples(&riff(&[&format, &chunk(b"data", &codes)])), expected);
        }
    }
}

#[test]
fn a_chunk_of_odd_length_needs_no_pad_byte() {
    let (format, data) = (fmt(1, 1, 16, &[]), chunk(b"data", &ramp()));
    let note = chunk(b"LIST", b"INFOISFT\x0b\0\0\0Recorder 7\0");
    let (junk, bext) = (chunk(b"JUNK", b"12345"), chunk(b"bext", &[b'x'; 603]));
    let bare = |chunk: &[u8]| chunk[..chunk.len() - 1].to_vec();
    for odd in [note, junk, bext] {
        for odd in [bare(&odd), odd] {
            is_ramp(&riff(&[&odd, &format, &data]), 0.0);
            is_ramp(&riff(&[&format, &odd, &data]), 0.0);
            is_ramp(&riff(&[&format, &data, &odd]), 0.0);
        }
    }
    // A chunk may be unknown.
    is_ramp(&riff(&[&format, &chunk(b"abcd", b"123"), &data]), 0.0);
}

#[test]
fn a_longer_or_displaced_format_chunk_is_read() {
    let data = chunk(b"data", &ramp());
    for more in [&[][..], &[0, 0], &[0; 4], &[0; 24], &[7; 100]] {
        is_ramp(&riff(&[&fmt(1, 1, 16, more), &data]), 0.0);
    }
    // Two bytes more than its length says.
    is_ramp(&riff(&[&fmt(1, 1, 16, &[]), &[0, 0], &data]), 0.0);
    is_ramp(&riff(&[&data, &fmt(1, 1, 16, &[])]), 0.0);
    // An extensible format without its extension, or with an empty one.
    is_ramp(&riff(&[&fmt(0xfffe, 1, 16, &[]), &data]), 0.0);
    is_ramp(&riff(&[&fmt(0xfffe, 1, 16, &[0; 24]), &data]), 0.0);
    // A tag of a music library before the file.
    let tag = [&b"ID3\x04\0\0\0\0\x01\x02"[..], &[0; 130]].concat();
    is_ramp(&[tag, riff(&[&fmt(1, 1, 16, &[]), &data])].concat(), 0.0);
}

#[test]
fn wrong_byte_rates_and_block_sizes_do_not_matter() {
    for (byte_rate, block) in
        [(16_000u32, 2u16), (32_000, 4), (0, 0), (u32::MAX, u16::MAX), (64_000, 4)]
    {
        let mut format = fmt(1, 1, 16, &[]);
        format[16..20].copy_from_slice(&byte_rate.to_le_bytes());
        format[20..22].copy_from_slice(&block.to_le_bytes());
        is_ramp(&riff(&[&format, &chunk(b"data", &ramp())]), 0.0);
    }
    // 24 bits in blocks of 32: packed when the byte rate agrees, otherwise nothing tells the layout.
    let mut format = fmt(1, 1, 24, &[]);
    format[20] = 4;
    let packed: Vec<u8> =
        RAMP.iter().flat_map(|v| (i32::from(*v) << 8).to_le_bytes()[..3].to_vec()).collect();
    is_ramp(&riff(&[&format, &chunk(b"data", &packed)]), 0.0);
    format[16..20].copy_from_slice(&64_000u32.to_le_bytes());
    assert!(
        message(&riff(&[&format, &chunk(b"data", &[0; 24])])).contains("whose layout is unclear")
    );
}

#[test]
fn a_stream_of_unknown_length_is_read_to_its_end() {
    let format = fmt(1, 1, 16, &[]);
    for length in [0u32, u32::MAX, u32::MAX - 36, 0x7fff_f000, 0x7fff_ffff, 0x8000_0000] {
        let mut bytes = riff(&[&format, &data_of(length, &ramp())]);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        is_ramp(&bytes, 0.0);
    }
    // The length of the file stands where that of the samples belongs.
    let whole = riff(&[&format, &data_of(44 + 12, &ramp())]);
    is_ramp(&whole, 0.0);
    is_ramp(&riff(&[&format, &data_of(36 + 12, &ramp())]), 0.0);
    // An empty recording with a note is empty.
    let note = chunk(b"LIST", b"INFO");
    assert!(message(&riff(&[&format, &data_of(0, &[]), &note])).contains("no samples"));
}

#[test]
fn the_forms_for_large_and_big_endian_files_are_read() {
    let sizes = |data: u64| {
        let fields = [0u64, data, 6].map(u64::to_le_bytes).concat();
        chunk(b"ds64", &[&fields[..], &[0; 4]].concat())
    };
    let format = fmt(1, 1, 16, &[]);
    for name in [b"RF64", b"BW64"] {
        for before in [sizes(12), sizes(0), sizes(u64::MAX), Vec::new()] {
            let mut bytes = riff(&[&before, &format, &data_of(u32::MAX, &ramp())]);
            bytes[..4].copy_from_slice(name);
            is_ramp(&bytes, 0.0);
        }
    }
    // The note after the samples is not taken for samples.
    let note = chunk(b"LIST", b"INFO");
    is_ramp(&riff(&[&sizes(12), &format, &data_of(u32::MAX, &ramp()), &note]), 0.0);
    let cut = message(&riff(&[&sizes(1 << 40), &format, &data_of(u32::MAX, &ramp())]));
    assert!(cut.contains("gives 549755813888 samples, the file has 6"), "{cut}");
    let big: Vec<u8> = RAMP.iter().flat_map(|value| value.to_be_bytes()).collect();
    let head = b"RIFX\0\0\0\x30WAVEfmt \0\0\0\x10\0\x01\0\x01\0\0\x3e\x80\0\0\x7d\0\0\x02\0\x10data\0\0\0\x0c";
    is_ramp(&[&head[..], &big].concat(), 0.0);
}

#[test]
fn an_odd_length_and_a_last_partial_frame_lose_nothing() {
    let more = [ramp(), vec![5]].concat();
    is_ramp(&riff(&[&fmt(1, 1, 16, &[]), &chunk(b"data", &more)]), 0.0);
    is_ramp(&riff(&[&fmt(1, 1, 16, &[]), &data_of(13, &ramp())]), 0.0);
    let both: Vec<u8> =
        RAMP.iter().flat_map(|v| [v.to_le_bytes(), v.to_le_bytes()].concat()).collect();
    let half = [both, vec![1, 2]].concat();
    is_ramp(&riff(&[&fmt(1, 2, 16, &[]), &chunk(b"data", &half)]), 0.0);
    let stereo: Vec<u8> =
        RAMP.iter().flat_map(|v| [0, v.to_le_bytes()[0], v.to_le_bytes()[1]].repeat(2)).collect();
    is_ramp(&riff(&[&fmt(1, 2, 24, &[]), &chunk(b"data", &[stereo, vec![9; 5]].concat())]), 0.0);
}

#[test]
fn too_loud_floats_are_refused_with_the_largest_sample() {
    let float = |values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        riff(&[&fmt(3, 1, 32, &[]), &chunk(b"data", &bytes)])
    };
    for (value, text) in
        [(1e30f32, "1.000e30"), (-3e38, "-3.000e38"), (f32::INFINITY, "inf"), (f32::NAN, "NaN")]
    {
        let message = message(&float(&[0.0, 2e10, value, 1e20]));
        assert!(message.starts_with("a.wav: its largest sample, number 3, is "), "{message}");
        assert!(message.contains(text), "{message}");
    }
    let long = [0.5f64, 1e300].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let long = message(&riff(&[&fmt(3, 2, 64, &[]), &chunk(b"data", &long)]));
    assert!(long.contains("number 1, is 1.000e300"), "{long}");
    // Floats as large as integers are accepted, and every accepted sound can be resampled.
    let sound = parse(Path::new("a.wav"), &float(&[1e10; 4_000])).unwrap();
    assert!(sound.resampled(22_050).unwrap().samples.iter().all(|x| x.is_finite()));
}

#[test]
fn what_cannot_be_read_is_named() {
    let data = chunk(b"data", &ramp());
    for (bytes, part) in [
        (riff(&[&fmt(0x11, 1, 4, &[]), &data]), "4-bit samples in the coding IMA ADPCM"),
        (riff(&[&fmt(0x55, 1, 16, &[]), &data]), "the coding MP3"),
        (riff(&[&fmt(0x9999, 1, 16, &[]), &data]), "the coding 0x9999"),
        (riff(&[&fmt(3, 1, 16, &[]), &data]), "16-bit samples in the coding float"),
        (riff(&[&fmt(1, 0, 16, &[]), &data]), "0 channels at 16000 Hz"),
        (riff(&[&data]), "no chunk `fmt `"),
        (riff(&[&fmt(1, 1, 16, &[])]), "no chunk `data`"),
        (riff(&[&chunk(b"fmt ", &[1, 0, 1, 0])]), "`fmt ` of 4 bytes"),
        (b"RIFF\x30\0\0\0AVI LIST".to_vec(), "RIFF file of the kind `AVI `"),
        (b"RIFF\x30\0".to_vec(), "cut short inside its header"),
        (b"<!DOCTYPE html><title>Busy</title>".to_vec(), "is a web page (\"Busy\")"),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "run `git lfs pull`"),
        (b"ID3\x04\0\0\0\0\0\0\xff\xfb".to_vec(), "is an MP3 recording, not a WAV file"),
        (Vec::new(), "is empty"),
    ] {
        let message = message(&bytes);
        assert!(message.starts_with("a.wav: ") && message.contains(part), "{message}");
    }
}

#[test]
fn an_endless_file_is_refused_by_its_first_bytes() {
    let message = read(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(message.contains("/dev/zero: not a WAV file"), "{message}");
}

#[test]
fn resampling_keeps_a_tone_and_removes_what_cannot_be_carried() {
    let wave = |hz: f64, rate: u32, n: usize| (TAU * hz * n as f64 / f64::from(rate)).sin() as f32;
    let tone = |hz: f64| Sound {
        samples: (0..48_000).map(|n| wave(hz, 48_000, n)).collect(),
        rate: 48_000,
    };
    for rate in [22_050u32, 16_000, 44_100, 96_000] {
        let out = tone(440.0).resampled(rate).unwrap();
        assert_eq!(out.samples.len(), rate as usize);
        let worst = (2_000..rate as usize - 2_000)
            .map(|n| (out.samples[n] - wave(440.0, rate, n)).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-4, "{rate}: {worst}");
    }
    let gone = tone(12_000.0).resampled(16_000).unwrap();
    let loudest = gone.samples[2_000..14_000].iter().fold(0.0f32, |a, x| a.max(x.abs()));
    assert!(loudest < 1e-4, "{loudest}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_files_never_panic(cut in 0usize..200, at in 0usize..200, byte: u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        write(&path, spec(2, 16, SampleFormat::Int), &[7i16; 64]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some(value) = bytes.get_mut(at) { *value = byte; }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(sound) = read(&path) {
            prop_assert!(sound.samples.len() <= bytes.len());
        }
    }

    #[test]
    fn any_chunks_give_an_answer(
        parts in proptest::collection::vec((0usize..6, proptest::collection::vec(any::<u8>(), 0..60)), 0..6),
        stray in 0usize..3,
    ) {
        let names = [b"fmt ", b"data", b"ds64", b"LIST", b"\0\0\0\0", b"abcd"];
        let chunks: Vec<Vec<u8>> = parts.iter().map(|(name, body)| {
            let whole = chunk(names[*name], body);
            whole[..whole.len() - stray.min(whole.len())].to_vec()
        }).collect();
        let bytes = riff(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if let Ok(sound) = parse(Path::new("a.wav"), &bytes) {
            prop_assert!(sound.samples.len() <= bytes.len());
        }
    }
}
