//! The checksums of a world's files, in `world.checksums` beside them, so that a damaged file does not pass as other data.
//!
//! Each line is a BLAKE3 hash and the path of a file in the world, in the order of paths. The last line is the hash of the
//! lines above it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;
use walkdir::WalkDir;

use super::generate::WORLD_FILE;
use crate::cache::content;
use crate::corpus::Corpus;
use crate::features::Source;
use crate::{Error, Result};

/// The file with the checksums.
const FILE: &str = "world.checksums";
/// A recording's folder lies at most this number of folders below its world.
const DEPTH: usize = 2;

/// The result of [`verify`].
#[derive(Debug, Default)]
pub struct Verified {
    /// The errors of files that differ from their checksums, by path.
    pub damaged: BTreeMap<PathBuf, Error>,
    /// Notices about files that are absent, and about worlds without checksums.
    pub notices: Vec<String>,
}

/// Compares all files of the worlds that a corpus was read from with their checksums: of the world at `root`, and of worlds
/// that its samples' files lie in. Files that a world's checksums do not name are not compared.
///
/// # Errors
/// Input/output errors of reading the files.
pub fn verify(root: &Path, corpus: &Corpus) -> Result<Verified> {
    let files = corpus.samples.iter().flat_map(|sample| sample.files.iter().flatten());
    // A corpus may have a folder for each of 20,000 samples, so only those are looked at where a world can be.
    let lowest = |source: &Source| match source {
        Source::File(path) => path.parent().and_then(Path::parent).map(Path::to_owned),
        Source::Excerpt(excerpt) => excerpt.path().parent().map(Path::to_owned),
        Source::Member(_) | Source::Text(_) => None,
    };
    let lowest: BTreeSet<PathBuf> = files.filter_map(lowest).collect();
    let above = lowest.iter().flat_map(|folder| folder.ancestors().take(DEPTH));
    let folders: BTreeSet<&Path> = above.chain([root]).collect();
    let (mut verified, mut known) = (Verified::default(), BTreeSet::new());
    // `.` before the empty path, which is the same folder: files are found as `./NAME`.
    for world in folders.into_iter().rev() {
        if !world.join(WORLD_FILE).is_file() && !world.join(FILE).is_file() {
            continue;
        }
        if !known.insert(fs::canonicalize(world.join(".")).map_err(|e| Error::reading(world, e))?) {
            continue;
        }
        if world.join(FILE).is_file() {
            verify_world(world, &mut verified)?;
        } else {
            verified.notices.push(format!(
                "{}: a synthetic world without {FILE}, so damage of its files is not noticed; remove it and make it again",
                world.display()
            ));
        }
    }
    Ok(verified)
}

fn verify_world(world: &Path, verified: &mut Verified) -> Result<()> {
    let path = world.join(FILE);
    let bytes = fs::read(&path).map_err(|e| Error::reading(&path, e))?;
    let Some(listed) = parse(&bytes) else {
        let error = Error::bad(&path, format!("differs from its checksum: {}", advice(world)));
        verified.damaged.insert(path, error);
        return Ok(());
    };
    let compare = |(hash, name): &(blake3::Hash, &str)| -> Result<Option<(PathBuf, bool)>> {
        let file = world.join(name);
        if !file.is_file() {
            return Ok(Some((file, true)));
        }
        Ok((content::of_file(&file)? != *hash).then_some((file, false)))
    };
    let differing: Vec<_> = listed.par_iter().map(compare).collect::<Result<_>>()?;
    let mut absent = 0;
    for (file, is_absent) in differing.into_iter().flatten() {
        absent += usize::from(is_absent);
        if !is_absent {
            let what = format!("differs from its checksum in {FILE}: {}", advice(world));
            verified.damaged.insert(file.clone(), Error::bad(&file, what));
        }
    }
    if absent > 0 {
        let of = listed.len();
        let what = format!("{}: {absent} of the world's {of} files are absent", world.display());
        verified.notices.push(what);
    }
    Ok(())
}

fn advice(world: &Path) -> String {
    format!(
        "it was damaged or changed; remove {} and make the world again, or remove {FILE} and {WORLD_FILE} to use the files as they are",
        world.display()
    )
}

/// Writes the checksums of all files in the folder of a complete world.
///
/// # Errors
/// Input/output errors.
pub(super) fn write(world: &Path) -> std::io::Result<()> {
    let mut names = Vec::new();
    for entry in WalkDir::new(world).sort_by_file_name() {
        let path = entry?.into_path();
        if path.is_file() {
            names.push(path.strip_prefix(world).unwrap_or(&path).to_owned());
        }
    }
    let line = |name: &PathBuf| -> std::io::Result<String> {
        let hash = content::of_file(&world.join(name)).map_err(std::io::Error::other)?;
        Ok(format!("{}  {}\n", hash.to_hex(), name.display()))
    };
    let mut text = names.par_iter().map(line).collect::<std::io::Result<String>>()?;
    text.push_str(&last_line(text.as_bytes()));
    fs::write(world.join(FILE), text)
}

fn last_line(lines: &[u8]) -> String {
    format!("{}  {FILE}\n", blake3::hash(lines).to_hex())
}

/// The hash and path of each file; `None` when the text is not as [`write()`] left it.
fn parse(bytes: &[u8]) -> Option<Vec<(blake3::Hash, &str)>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let end = text.strip_suffix('\n')?.rfind('\n').map_or(0, |end| end + 1);
    let (lines, last) = text.split_at(end);
    (last == last_line(lines.as_bytes())).then(|| lines.lines().map(split).collect())?
}

fn split(line: &str) -> Option<(blake3::Hash, &str)> {
    let (hash, name) = line.split_once("  ")?;
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    inside.then_some((blake3::Hash::from_hex(hash).ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OnError;
    use crate::corpora::{Format, Options, ravdess};
    use crate::synth::{WorldSettings, generate};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::ops::ControlFlow;

    fn find(root: &Path, on_error: OnError) -> Result<Corpus> {
        let format: Format = ravdess::FORMAT;
        let wanted = format.modalities(root, None).unwrap();
        let options = Options { on_error, ..Options::default() };
        Ok(format.find(root, &wanted, &options)?.corpus)
    }

    fn make(root: &Path) {
        let small = WorldSettings { actors: 2, clips_per_actor: 2, ..WorldSettings::default() };
        let settings = WorldSettings { face_size: 16, ..small };
        generate(&settings, root, &|_| ControlFlow::Continue(())).unwrap();
    }

    /// 200 flips, or as many as `MPUC_FLIPS` says.
    #[test]
    fn any_flipped_bit_of_a_world_is_noticed_and_its_file_named() {
        let count = std::env::var("MPUC_FLIPS").map_or(200, |count| count.parse().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("world");
        make(&root);
        let tree = WalkDir::new(&root).sort_by_file_name().into_iter();
        let paths = tree.map(|entry| entry.unwrap().into_path()).filter(|path| path.is_file());
        let files: Vec<(PathBuf, Vec<u8>)> =
            paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        // 4 recordings with 3 files each, the factors, the attributes, the settings and the checksums.
        assert_eq!(files.len(), 4 * 3 + 4);
        assert_eq!(find(&root, OnError::Fail).unwrap().notices, [""; 0]);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |below: usize| random.random_range(0..below);
        for _ in 0..count {
            let (path, good) = &files[draw(files.len())];
            let (at, bit) = (draw(good.len()), draw(8));
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(path, &bad).unwrap();
            let found = find(&root, OnError::Fail).map_err(|error| error.to_string());
            let named = format!("{}: differs from its checksum", path.display());
            let noticed = found.as_ref().is_err_and(|message| message.starts_with(&named));
            assert!(noticed, "{}: bit {bit} of byte {at}: {found:?}", path.display());
            fs::write(path, good).unwrap();
        }
        assert!(find(&root, OnError::Fail).is_ok());
    }

    #[test]
    fn damaged_files_can_be_left_out_and_absent_ones_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("world");
        make(&root);
        let whole = find(&root, OnError::Fail).unwrap();
        let voice = whole.samples[1].files[0].as_ref().unwrap().path().to_owned();
        fs::write(&voice, b"changed").unwrap();
        // Also where the recordings are found from a folder above or below the world's.
        for root in [&root, folder.path(), &root.join("Audio_Speech_Actors_01-24")] {
            let message = find(root, OnError::Fail).unwrap_err().to_string();
            assert!(message.contains("differs from its checksum"), "{message}");
        }
        let corpus = find(&root, OnError::Skip).unwrap();
        assert_eq!(corpus.samples[1].files[0], None);
        assert_eq!(corpus.samples[0], whole.samples[0]);
        assert!(corpus.notices[0].starts_with("left out: "), "{:?}", corpus.notices);
        fs::remove_file(&voice).unwrap();
        let corpus = find(&root, OnError::Fail).unwrap();
        let absent = |notice: &String| notice.ends_with("1 of the world's 15 files are absent");
        assert!(corpus.notices.iter().any(absent), "{:?}", corpus.notices);
        fs::remove_file(root.join(FILE)).unwrap();
        let corpus = find(&root, OnError::Fail).unwrap();
        let without = |notice: &String| notice.contains("a synthetic world without");
        assert!(corpus.notices.iter().any(without), "{:?}", corpus.notices);
    }
}
