//! The cases of `mpuc bench data`: reading files and making batches, on a small synthetic world.

use super::case::{Case, Ready};
use crate::experiment::{AHEAD, WORKERS};
use crate::failure::{Failure, Result};
use data::OnError;
use data::corpora::{Options, Wanted, ravdess};
use data::corpus::Corpus;
use data::features::clip::ClipSettings;
use data::features::landmarks::LandmarkSettings;
use data::features::mel::MelSettings;
use data::features::{Decoder, Extractor, Source};
use data::formats::glove::Glove;
use data::formats::wav;
use data::loader::{Item, Loader, Padding, Window};
use data::prepare::prepare;
use data::synth::{WorldSettings, generate};
use std::cell::OnceCell;
use std::fmt::Write;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The time for which a case is repeated.
const BUDGET: Duration = Duration::from_secs(1);
/// The world: two actors with eight clips each, with RAVDESS's sample rate and face size.
const ACTORS: usize = 2;
const CLIPS: usize = 8;
const SIDE: usize = 112;
/// The number of synthetic word vectors, and their width.
const WORDS: usize = 10_000;
const WIDTH: usize = 300;
/// The loader's batches.
const BATCHES: usize = 16;
const BATCH: usize = 32;

/// A world in a temporary folder, which is removed with the last case.
struct World {
    _folder: TempDir,
    settings: WorldSettings,
    corpus: Corpus,
}

/// The world, made by the first case that needs it.
#[derive(Clone, Default)]
struct Shared(Rc<OnceCell<Rc<World>>>);

impl Shared {
    fn world(&self) -> Result<Rc<World>> {
        if let Some(world) = self.0.get() {
            return Ok(world.clone());
        }
        let world = Rc::new(World::new()?);
        Ok(self.0.get_or_init(|| world).clone())
    }
}

/// A temporary folder, for the world or for one case.
fn folder() -> Result<TempDir> {
    let made = tempfile::tempdir();
    made.map_err(|error| Failure::io("make a temporary folder", &std::env::temp_dir(), &error))
}

impl World {
    fn new() -> Result<Self> {
        let settings = WorldSettings {
            actors: ACTORS,
            clips_per_actor: CLIPS,
            face_size: SIDE,
            ..WorldSettings::default()
        };
        let folder = folder()?;
        let root = folder.path().join("world");
        generate(&settings, &root, &|_| ControlFlow::Continue(()))?;
        let wanted = extractors(&settings).map(|feature| {
            let name = feature.kind().name().to_owned();
            Wanted { name, feature }
        });
        let corpus = ravdess::FORMAT.find(&root, &wanted, &Options::default())?.corpus;
        Ok(World { _folder: folder, settings, corpus })
    }

    /// The sources of a modality.
    fn sources(&self, modality: usize) -> Vec<Source> {
        let samples = self.corpus.samples.iter();
        samples.filter_map(|sample| sample.files[modality].clone()).collect()
    }

    fn decoders(&self) -> Result<Vec<Decoder>> {
        Ok(extractors(&self.settings)
            .iter()
            .map(|extractor| extractor.decoder(None))
            .collect::<data::Result<_>>()?)
    }
}

/// The feature of each modality of a world.
fn extractors(world: &WorldSettings) -> [Extractor; 3] {
    let clip = ClipSettings { height: SIDE, width: SIDE, frames_per_second: world.video_fps };
    [
        Extractor::Voice(MelSettings::paper()),
        Extractor::Landmarks(LandmarkSettings::default()),
        Extractor::Clip(clip),
    ]
}

/// All cases.
pub(super) fn cases() -> Vec<Case> {
    let shared = Shared::default();
    // A case that reads the world and keeps it alive.
    let on_world = |name: &str, make: fn(&Rc<World>) -> Result<Ready>| {
        let shared = shared.clone();
        Case::new(name, BUDGET, move |_| make(&shared.world()?))
    };
    vec![
        on_world("wav/48000", wav_alone),
        on_world("mel/paper-48000", |world| mel(world, MelSettings::paper())),
        on_world("mel/authors-48000", |world| mel(world, MelSettings::authors(30.0))),
        on_world("mel/world-48000", |world| mel(world, MelSettings::world())),
        on_world("openface/68", |world| decode(world, 1)),
        on_world("npy/frames-112", |world| decode(world, 2)),
        Case::new("glove/open-10000x300", BUDGET, |_| glove_open()),
        Case::new("glove/embed-30", BUDGET, |_| glove_embed()),
        on_world("prepare/all", prepare_all),
        on_world("loader/b32", loader),
    ]
}

/// A case that reads the files of a world one after another.
fn each<T>(
    world: &Rc<World>,
    modality: usize,
    read: impl Fn(&Source) -> data::Result<T> + 'static,
) -> Ready {
    let sources = world.sources(modality);
    let clips = sources.len() as f64;
    let run = move || {
        for source in &sources {
            black_box(read(source)?);
        }
        Ok(())
    };
    Ready::new(run).items("clips", clips)
}

/// A case that reads the voices of a world; it also reports seconds of sound.
fn voices<T>(world: &Rc<World>, read: impl Fn(&Source) -> data::Result<T> + 'static) -> Ready {
    let seconds = world.settings.seconds * world.corpus.samples.len() as f64;
    each(world, 0, read).realtime(seconds)
}

fn wav_alone(world: &Rc<World>) -> Result<Ready> {
    Ok(voices(world, |source| wav::read(source.path())))
}

fn mel(world: &Rc<World>, settings: MelSettings) -> Result<Ready> {
    let decoder = Extractor::Voice(settings).decoder(None)?;
    Ok(voices(world, move |source| decoder.decode(source)))
}

fn decode(world: &Rc<World>, modality: usize) -> Result<Ready> {
    let decoder = extractors(&world.settings)[modality].decoder(None)?;
    Ok(each(world, modality, move |source| decoder.decode(source)))
}

/// All modalities of all clips into memory, on all cores.
fn prepare_all(world: &Rc<World>) -> Result<Ready> {
    let (world, decoders) = (world.clone(), world.decoders()?);
    let clips = world.corpus.samples.len() as f64;
    let run = move || {
        black_box(prepare(&world.corpus, &decoders, None, OnError::Fail, &|_, _| ())?);
        Ok(())
    };
    Ok(Ready::new(run).items("clips", clips))
}

/// Batches of all three modalities, features in memory: 128 frames of mel, 30 of landmarks, 10 of faces.
fn loader(world: &Rc<World>) -> Result<Ready> {
    let prepared = prepare(&world.corpus, &world.decoders()?, None, OnError::Fail, &|_, _| ())?;
    let dataset = Arc::new(prepared.dataset);
    let window =
        |steps, pick| Window { steps, pick, padding: Padding::RepeatLast, standardiser: None };
    let windows = vec![window(128, None), window(30, None), window(30, Some(10))];
    let item = |number: usize| Item { sample: number % dataset.len(), starts: vec![0; 3] };
    let batch = |number: usize| (0..BATCH).map(|i| item(number * BATCH + i)).collect();
    let plan: Vec<Vec<Item>> = (0..BATCHES).map(batch).collect();
    let run = move || {
        let (dataset, windows) = (dataset.clone(), windows.clone());
        for batch in Loader::new(dataset, windows, plan.clone(), WORKERS, AHEAD)? {
            black_box(batch?);
        }
        Ok(())
    };
    Ok(Ready::new(run).items("batches", BATCHES as f64).detail("batch", BATCH))
}

/// Synthetic word vectors in GloVe's format, in a temporary folder.
fn vectors() -> Result<(TempDir, PathBuf)> {
    let folder = folder()?;
    let path = folder.path().join("vectors.txt");
    let mut text = String::new();
    for word in 0..WORDS {
        text += &format!("w{word}");
        for number in 0..WIDTH {
            // Five digits, as in GloVe's files. Writing to a string cannot fail.
            let _ = write!(text, " {:.5}", (word * WIDTH + number) as f64 % 1.7 - 0.85);
        }
        text.push('\n');
    }
    let write = |path: &Path| std::fs::write(path, text);
    write(&path).map_err(|error| Failure::io("write", &path, &error))?;
    Ok((folder, path))
}

fn glove_open() -> Result<Ready> {
    let (folder, path) = vectors()?;
    let run = move || {
        black_box(Glove::open(&path, None)?);
        Ok(())
    };
    Ok(Ready::new(run).items("words", WORDS as f64).keep(folder))
}

/// A sentence of thirty words.
fn glove_embed() -> Result<Ready> {
    let (folder, path) = vectors()?;
    let glove = Glove::open(&path, None)?;
    let words: Vec<String> = (0..30).map(|i| format!("w{}", i * 331)).collect();
    let sentence = words.join(" ");
    let run = move || {
        black_box(glove.embed(&sentence)?);
        Ok(())
    };
    Ok(Ready::new(run).items("sentences", 1.0).keep(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs() -> Result<()> {
        for case in cases() {
            let mut ready = case.prepare(&engine::Device::Cpu)?;
            (ready.run)()?;
            assert!(ready.items.is_some_and(|items| items.count >= 1.0), "{}", case.name);
        }
        Ok(())
    }
}
