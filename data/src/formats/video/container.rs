//! Containers of videos, recognised by their first bytes: extensions may be wrong.

use super::mp4::is_mp4;

/// The length of a packet of MPEG transport streams, of Blu-ray's, and of those with error correction; each begins with
/// [`SYNC`], Blu-ray's after 4 bytes.
const PACKETS: [(usize, usize); 3] = [(0, 188), (4, 192), (0, 204)];
const SYNC: u8 = 0x47;

/// What the bytes are, in words for "it is ..."; `None` when they are no known container.
pub(super) fn named(bytes: &[u8]) -> Option<&'static str> {
    let begins = |with: &[u8]| bytes.starts_with(with);
    if is_mp4(bytes) {
        return Some("an MP4 file");
    }
    Some(match bytes {
        _ if begins(b"\x1a\x45\xdf\xa3") => "a Matroska or WebM file",
        _ if begins(b"RIFF") && bytes.get(8..12) == Some(b"AVI ") => "an AVI file",
        _ if begins(b"FLV") => "a Flash video",
        _ if begins(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11") => "a Windows Media file",
        _ if begins(b"OggS") => "an Ogg file",
        _ if begins(b"\0\0\x01\xba") || begins(b"\0\0\x01\xb3") => "an MPEG program stream",
        _ if is_transport_stream(bytes) => "an MPEG transport stream",
        _ if begins(b"\0\0\0\x01\x67") || begins(b"\0\0\x01\x67") => "H.264 without a container",
        _ if begins(b".RMF") => "a RealMedia file",
        _ if begins(b"DKIF") => "an IVF file",
        _ if begins(b"GIF8") => "a GIF animation",
        _ => return None,
    })
}

/// What the bytes are when they certainly have no frames, in words for "is ...".
pub(super) fn without_frames(bytes: &[u8]) -> Option<&'static str> {
    let begins = |with: &[u8]| bytes.starts_with(with);
    Some(match bytes {
        _ if begins(b"\0\x05\x16\x07") => "a companion of macOS (AppleDouble)",
        _ if begins(b"\x93NUMPY") => "a NumPy array",
        _ if begins(b"RIFF") && bytes.get(8..12) == Some(b"WAVE") => "a WAV recording",
        _ if begins(b"PK\x03\x04") => "a ZIP archive",
        _ if begins(b"%PDF") => "a PDF document",
        _ => return None,
    })
}

fn is_transport_stream(bytes: &[u8]) -> bool {
    PACKETS.iter().any(|&(first, length)| {
        let marks = (0..3).map(|packet| bytes.get(first + packet * length));
        marks.into_iter().all(|mark| mark == Some(&SYNC))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_first_bytes() {
        let stream = |first: usize, length: usize| {
            let mut bytes = vec![0; 3 * length];
            (0..3).for_each(|packet| bytes[first + packet * length] = SYNC);
            bytes
        };
        for (bytes, name) in [
            (b"\0\0\0\x18ftyp3gp4".to_vec(), "MP4"),
            (b"\x1a\x45\xdf\xa3\x9f".to_vec(), "WebM"),
            (b"RIFF\0\0\0\0AVI LIST".to_vec(), "AVI"),
            (b"FLV\x01".to_vec(), "Flash"),
            (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6".to_vec(), "Windows Media"),
            (b"\0\0\x01\xba\x44".to_vec(), "program stream"),
            (stream(0, 188), "transport stream"),
            (stream(4, 192), "transport stream"),
            (b"\0\0\0\x01\x67\x42".to_vec(), "H.264"),
        ] {
            assert!(named(&bytes).is_some_and(|found| found.contains(name)), "{name}");
        }
        for bytes in [&b""[..], b"RIFF\0\0\0\0WAVE", b"\x93NUMPY", b"Great", b"<!DOCTYPE html>"] {
            assert_eq!(named(bytes), None);
        }
        assert_eq!(without_frames(b"RIFF\0\0\0\0WAVE"), Some("a WAV recording"));
        assert_eq!((without_frames(b"RIFF\0\0\0\0AVI "), without_frames(b"")), (None, None));
    }
}
