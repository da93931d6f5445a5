//! Files inside ZIP archives, used without unpacking (RAVDESS is served as 49 of them).
//!
//! An archive is mapped and its directory read once; a member is unpacked into memory when it is asked for. What the
//! directory promises is checked against what the archive can hold before anything is allocated, and the checksum
//! afterwards.

use std::fmt;
use std::io::{Cursor, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;
use memmap2::Mmap;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::map_file;
use crate::{Error, Result};

/// Largest member that is unpacked, in bytes; a video of RAVDESS has 8 MB.
const LARGEST_MEMBER: u64 = 1 << 28;
/// Most members that are believed; RAVDESS's largest archive has 2,452.
const MOST_MEMBERS: u64 = 1 << 20;
/// What deflate can make of one byte, at most (its longest match is 258 bytes and takes 2 bits).
const MOST_FROM_A_BYTE: u64 = 1_032;
/// Bytes at an archive's end in which its closing records must stand: a comment of 64 KiB and the records themselves.
const TAIL: usize = (1 << 16) + 64;

/// The whole file, shared by all who read members at the same time.
#[derive(Clone)]
struct Bytes(Arc<Mmap>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A ZIP archive, open.
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

impl Archive {
    /// Maps the archive and reads its directory; no member is read.
    ///
    /// # Errors
    /// Bad data when it is no ZIP archive or was cut short; input/output errors.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let bytes = Bytes(Arc::new(map_file(path)?));
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
                    "not a whole ZIP archive ({error}); download it again, or take it out of the folder"
                ),
            )
        })?;
        Ok(Arc::new(Self { path: path.to_owned(), zip }))
    }

    /// The files in the archive, in its own order; folders, names that are no text and names that lead out of the
    /// archive are left out.
    pub fn members(self: &Arc<Self>) -> Vec<Member> {
        let member = |index| {
            let entry = self.zip.by_index_data(index).ok().filter(|entry| entry.is_file())?;
            let name = entry.name().ok()?;
            let name = Path::new(name.trim_start_matches('/'));
            let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
            inside.then(|| Member {
                path: self.path.join(name),
                archive: self.clone(),
                index,
                size: entry.size(),
                checksum: entry.crc32(),
            })
        };
        (0..self.zip.len()).filter_map(member).collect()
    }
}

/// Whether a 64-bit directory, if there is one, claims no more members than [`MOST_MEMBERS`]. (The reader makes room
/// for as many as are claimed; older directories cannot claim more than 65,535.)
fn believable_count(bytes: &[u8]) -> bool {
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
    /// The archive's path and the member's name in it, as if it were a folder: for messages and endings, not to open.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the member would stand had the archive been unpacked where it lies.
    pub fn unpacked(&self) -> PathBuf {
        self.archive.path.with_file_name("").join(self.name())
    }

    /// The member's name in the archive.
    fn name(&self) -> &Path {
        self.path.strip_prefix(&self.archive.path).unwrap_or(&self.path)
    }

    /// Bytes unpacked, as the directory says.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What a cache may take for the member's content without unpacking it: name, size and CRC-32 from the archive's
    /// directory. [`Member::read`] gives no bytes that do not have that checksum, so nothing else can come under it.
    pub fn identity(&self) -> String {
        format!("member {} {} {:08x}", self.name().display(), self.size, self.checksum)
    }

    /// Unpacks the member.
    ///
    /// # Errors
    /// Bad data when it is encrypted, compressed in a way that is not read here, larger than can be, or does not have
    /// its checksum.
    pub fn read(&self) -> Result<Vec<u8>> {
        let bad = |what: String| Error::bad(&self.path, what);
        let damaged = "the archive is damaged; download it again";
        let mut zip = self.archive.zip.clone(); // shares the map and the directory
        let refused = |error: ZipError| match error {
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
                bad("is encrypted; unpack the archive with its password".into())
            }
            ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
                bad("is packed in a way this program does not read; unpack the archive".into())
            }
            error => bad(format!("cannot be found where its directory says ({error}): {damaged}")),
        };
        let mut file = zip.by_index(self.index).map_err(refused)?;
        if !matches!(file.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(bad(
                "is packed in a way this program does not read; unpack the archive".into()
            ));
        }
        let possible = file.compressed_size().saturating_mul(MOST_FROM_A_BYTE);
        if self.size > LARGEST_MEMBER || self.size > possible {
            return Err(bad(format!(
                "claims {} bytes, packed in {}, which no recording has; leave the archive out",
                self.size,
                file.compressed_size()
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
