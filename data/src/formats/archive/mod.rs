//! Files inside ZIP archives, read without unpacking the archive (RAVDESS is published as 49 archives).
//!
//! An archive is memory-mapped and its directory read once; a member is decompressed into memory when it is read. Sizes in
//! the directory are checked against the size of the archive before memory is allocated, and the checksum afterwards.

use std::fmt;
use std::io::{Cursor, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;
use memmap2::Mmap;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::{foreign, map_file};
use crate::{Error, Result};

/// Largest accepted member, in bytes; a video of RAVDESS has 8 MB.
const LARGEST_MEMBER: u64 = 1 << 28;
/// Largest accepted number of members; RAVDESS's largest archive has 2,452.
const MOST_MEMBERS: u64 = 1 << 20;
/// Largest expansion of deflate: its longest match is 258 bytes and takes 2 bits.
const MOST_FROM_A_BYTE: u64 = 1_032;
/// Largest member that may be compressed as far as deflate can, in bytes. Recordings and tables of coordinates are compressed
/// at most tenfold; a larger member that was compressed more is made to fill the memory.
const LARGEST_EXPANDED: u64 = 1 << 24;
/// Largest expansion of a larger member.
const USUAL_FROM_A_BYTE: u64 = 64;
/// Length of the end of an archive that is searched for its closing records: a comment of 64 KiB and the records.
const TAIL: usize = (1 << 16) + 64;

/// The mapped file, shared by all concurrent readers.
#[derive(Clone)]
struct Bytes(Arc<Mmap>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// An opened ZIP archive.
pub struct Archive {
    path: PathBuf,
    zip: ZipArchive<Cursor<Bytes>>,
}

/// One file in an [`Archive`].
#[derive(Clone)]
pub struct Member {
    archive: Arc<Archive>,
    index: usize,
    /// The archive's path and the member's name, for messages.
    path: PathBuf,
    size: u64,
    checksum: u32,
}

/// The members of an archive.
#[derive(Debug, Default)]
pub struct Members {
    /// Its files.
    pub files: Vec<Member>,
    /// The number of members that are left out: their names lead out of the archive (`..`), or cannot be read.
    pub unusable: usize,
}

/// A member that is left out.
struct Unusable;

impl Archive {
    /// Opens the archive and reads its directory; members are not read.
    ///
    /// # Errors
    /// Bad data when it is not a ZIP archive or is truncated; input/output errors.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let bytes = Bytes(Arc::new(map_file(path)?));
        if !bytes.0.starts_with(b"PK") {
            let otherwise = "not a ZIP archive; download it again, or remove it from the folder";
            return Err(foreign::refuse(path, &bytes.0, otherwise));
        }
        if !believable_count(&bytes.0) {
            return Err(Error::bad(
                path,
                format!(
                    "claims more than {MOST_MEMBERS} members or has lost the end of its directory; download it again"
                ),
            ));
        }
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
            Error::bad(
                path,
                format!(
                    "not a complete ZIP archive ({error}); download it again, or remove it from the folder"
                ),
            )
        })?;
        Ok(Arc::new(Self { path: path.to_owned(), zip }))
    }

    /// The files in the archive, in the order of its directory.
    pub fn members(self: &Arc<Self>) -> Members {
        let mut members = Members::default();
        for index in 0..self.zip.len() {
            match self.member(index) {
                Ok(member) => members.files.extend(member),
                Err(Unusable) => members.unusable += 1,
            }
        }
        members
    }

    /// The member at a place of the directory; `None` for a folder.
    fn member(self: &Arc<Self>, index: usize) -> Result<Option<Member>, Unusable> {
        let entry = self.zip.by_index_data(index).map_err(|_| Unusable)?;
        if !entry.is_file() {
            return Ok(None);
        }
        // UTF-8 when the bytes are valid, else CP437.
        let name = entry.name().map_err(|_| Unusable)?;
        // Programs of Windows write `a\b`; as Info-ZIP, a backslash separates folders where no slash does.
        let name = if name.contains('/') { name } else { name.replace('\\', "/").into() };
        let name = Path::new(name.trim_start_matches('/'));
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Unusable);
        }
        Ok(Some(Member {
            path: self.path.join(name),
            archive: self.clone(),
            index,
            size: entry.size(),
            checksum: entry.crc32(),
        }))
    }
}

/// Whether a 64-bit directory claims at most [`MOST_MEMBERS`] members; true without one. The ZIP reader allocates memory
/// for the claimed number; older directories cannot claim more than 65,535.
pub(super) fn believable_count(bytes: &[u8]) -> bool {
    let tail = bytes.len().saturating_sub(TAIL);
    let number = |at: usize| {
        let field = bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(field.try_into().ok()?))
    };
    memmem::find_iter(&bytes[tail..], b"PK\x06\x07").all(|locator| {
        let claimed = || {
            let record = usize::try_from(number(tail + locator + 8)?).ok()?;
            bytes.get(record..)?.starts_with(b"PK\x06\x06").then_some(())?;
            number(record.checked_add(32)?)
        };
        claimed().is_some_and(|count| count <= MOST_MEMBERS)
    })
}

impl Member {
    /// The archive's path joined with the member's name: for messages and extensions, not to be opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path that the member would have if the archive were unpacked in its folder.
    pub fn unpacked(&self) -> PathBuf {
        self.archive.path.with_file_name("").join(self.name())
    }

    /// The member's name in the archive.
    pub(crate) fn name(&self) -> &Path {
        self.path.strip_prefix(&self.archive.path).unwrap_or(&self.path)
    }

    /// The decompressed size in bytes, according to the directory.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// An identity of the member's content for cache keys, without decompressing it: name, size and CRC-32 of the archive's
    /// directory. [`Member::read`] verifies the checksum, so other content cannot have this identity by accident.
    pub fn identity(&self) -> String {
        format!("member {} {} {:08x}", self.name().display(), self.size, self.checksum)
    }

    /// Decompresses the member.
    ///
    /// # Errors
    /// Bad data when it is encrypted, has an unsupported compression, an impossible size, or a wrong checksum.
    pub fn read(&self) -> Result<Vec<u8>> {
        let bad = |what: String| Error::bad(&self.path, what);
        let damaged = "the archive is damaged; download it again";
        let mut zip = self.archive.zip.clone(); // shares the map and the directory
        let refused = |error: ZipError| match error {
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
                bad("is encrypted; unpack the archive with its password".into())
            }
            ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
                bad("has an unsupported compression; unpack the archive".into())
            }
            error => bad(format!("cannot be found where its directory says ({error}): {damaged}")),
        };
        let mut file = zip.by_index(self.index).map_err(refused)?;
        if !matches!(file.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(bad("has an unsupported compression; unpack the archive".into()));
        }
        let compressed = file.compressed_size();
        let possible = compressed.saturating_mul(MOST_FROM_A_BYTE);
        let usual = compressed.saturating_mul(USUAL_FROM_A_BYTE).max(LARGEST_EXPANDED);
        if self.size > LARGEST_MEMBER || self.size > possible.min(usual) {
            return Err(bad(format!(
                "claims {} bytes, compressed to {}, which is out of range; unpack the archive, or remove it",
                self.size, compressed
            )));
        }
        let mut bytes = Vec::with_capacity(self.size as usize);
        file.by_ref().take(self.size + 1).read_to_end(&mut bytes).map_err(|error| {
            match error.to_string() == "Invalid checksum" {
                true => bad(format!("does not have its checksum: {damaged}")),
                false => bad(format!("cannot be unpacked ({error}): {damaged}")),
            }
        })?;
        if bytes.len() as u64 != self.size {
            return Err(bad(format!(
                "unpacks to other than the {} bytes its directory says: {damaged}",
                self.size
            )));
        }
        Ok(bytes)
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.size, self.checksum) == (&other.path, other.size, other.checksum)
    }
}

impl Eq for Member {}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.path.display())
    }
}

#[cfg(test)]
pub(crate) mod tests;
