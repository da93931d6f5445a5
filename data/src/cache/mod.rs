//! An on-disk cache of decoded features: one file each, keyed by content and settings.
//!
//! The key of an entry is a hash of the source's content (of an archive member: its name, size and checksum) and of every
//! setting that the values depend on. An entry is therefore never out of date: a changed file or setting has another key.
//! Entries are written to a temporary file and renamed. A truncated or corrupt entry is computed and written again.
//! Hashes of large files are cached too: see the module `content`.

pub(crate) mod content;
pub(crate) mod entry;

use std::fs;
use std::path::{Path, PathBuf};

use crate::feature::Feature;
use crate::features::{Decoder, Source};
use crate::{Error, Result};

/// A folder of decoded features.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// A cached feature with the warnings of its decoder.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The feature, on disk.
    pub feature: Feature,
    /// Frames of the feature; 0 when the source has nothing for the sample.
    pub frames: usize,
    /// As [`Decoded::warnings`](crate::features::Decoded::warnings).
    pub warnings: Vec<String>,
    /// Whether the feature was computed now (true) or found in the cache (false).
    pub computed: bool,
}

impl Cache {
    /// Opens a cache folder and creates it if it does not exist.
    ///
    /// # Errors
    /// Input/output errors when the folder cannot be created or written.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::writing(folder, e))?;
        tempfile::tempfile_in(folder).map_err(|e| Error::writing(folder, e))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The feature of `source`: from the cache, or decoded and stored when the cache has no valid entry for it.
    ///
    /// # Errors
    /// Errors of the decoder, and input/output errors of the cache folder.
    pub fn fetch(&self, decoder: &Decoder, source: &Source) -> Result<Cached> {
        let path = self.entry(decoder, source)?;
        if let Some(header) = entry::verify(&path) {
            let frames = header.shape.first().copied().unwrap_or(0);
            let feature = Feature::File(path);
            return Ok(Cached { feature, frames, warnings: header.warnings, computed: false });
        }
        let decoded = decoder.decode(source)?;
        entry::write(&path, &decoded)?;
        Ok(Cached {
            feature: Feature::File(path),
            frames: decoded.frames(),
            warnings: decoded.warnings,
            computed: true,
        })
    }

    /// The path of the entry for `source`, whether or not it exists.
    fn entry(&self, decoder: &Decoder, source: &Source) -> Result<PathBuf> {
        let content = source.content(&|path| content::hash(&self.folder, path))?;
        let mut key = blake3::Hasher::new();
        key.update(content.as_bytes()).update(decoder.fingerprint().as_bytes());
        let name = key.finalize().to_hex();
        Ok(self.folder.join(format!("{}.feature", &name.as_str()[..40])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Extractor, SequenceSettings};
    use crate::formats::npy;
    use crate::values::View;
    use crate::{Array, ErrorKind};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn entries_are_reused_and_damaged_ones_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let array = Array::new([3, 2], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        npy::write(&path, &array).unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let decoder = |rate| {
            let settings = SequenceSettings { frames_per_second: rate, ..Default::default() };
            Extractor::Sequence(settings).decoder(None).unwrap()
        };
        let source = Source::File(path.clone());
        let fetch = |rate| cache.fetch(&decoder(rate), &source).unwrap();
        assert!(fetch(None).computed && !fetch(None).computed && fetch(Some(25.0)).computed);
        let Feature::File(entry) = fetch(None).feature else { panic!() };
        let good = fs::read(&entry).unwrap();
        for at in (0..good.len()).step_by(7) {
            fs::write(&entry, &good[..at]).unwrap();
            assert!(fetch(None).computed, "cut at {at}");
        }
        assert_eq!(fs::read(&entry).unwrap(), good);
        let View::F32(values) = entry::open(&entry).unwrap() else { panic!() };
        assert_eq!((values.shape(), &values[..]), (array.shape(), array.data()));
        npy::write(&path, &Array::new([1, 1], vec![0.0f32]).unwrap()).unwrap();
        assert!(fetch(None).computed);
    }

    /// 200 flips, or as many as `MPUC_FLIPS` says.
    #[test]
    fn an_entry_with_any_flipped_bit_is_computed_again() {
        let count = std::env::var("MPUC_FLIPS").map_or(200, |count| count.parse().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let numbers = (0..600u16).map(|i| f32::from(i).sin()).collect();
        npy::write(&path, &Array::new([100, 6], numbers).unwrap()).unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let decoder = Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap();
        let fetch = || cache.fetch(&decoder, &Source::File(path.clone())).unwrap();
        let Feature::File(entry) = fetch().feature else { panic!() };
        let good = fs::read(&entry).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..count {
            let (at, bit) = (random.random_range(0..good.len()), random.random_range(0..8));
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(&entry, &bad).unwrap();
            assert!(fetch().computed, "bit {bit} of byte {at} was not noticed");
            assert!(!fetch().computed && fs::read(&entry).unwrap() == good);
        }
    }

    #[test]
    fn members_of_archives_are_told_apart_by_their_checksums() {
        use crate::features::landmarks::LandmarkSettings;
        use crate::formats::archive::{self, Archive};
        let folder = tempfile::tempdir().unwrap();
        let zip = folder.path().join("a.zip");
        let names: Vec<String> =
            (0..136).map(|i| format!("{}_{}", ["x", "y"][i / 68], i % 68)).collect();
        let write = |digit: char| {
            let row = vec![digit.to_string(); 136].join(",");
            let text = format!("{}\n{row}\n", names.join(","));
            archive::tests::write(&zip, &[("a.csv", text.as_bytes())]);
        };
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let decoder = Extractor::Landmarks(LandmarkSettings::default()).decoder(None).unwrap();
        let fetch = || {
            let member = Archive::open(&zip).unwrap().members().files.remove(0);
            cache.fetch(&decoder, &Source::Member(member)).unwrap().computed
        };
        write('1');
        assert!(fetch() && !fetch());
        write('2');
        assert!(fetch() && !fetch());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::open(&file.join("cache")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("file/cache: cannot write"), "{error}");
    }
}
