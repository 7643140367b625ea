//! A look at a WebP's chunks before the codec runs. Its canvas size and the size in its frames' own headers are two
//! things: the codec decodes a frame whole before it compares them, reads a cut frame as if zeros followed, and allocates
//! whatever length a chunk claims. So all of it is settled here: the number of frames and each one's own size against the
//! limits, and every length that is claimed against what there is.

use super::Settings;
use super::frames::check_count;
use super::pixels::{check_size, corrupt};
use crate::error::Refusal;

const FILE_HEADER: usize = 12;
/// Position, size, duration and flags in front of an animation frame's chunks.
const FRAME_HEADER: usize = 16;

/// A file that may be given to the codec.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    /// Without what follows its claimed end, which a codec need not see.
    pub(super) file: &'a [u8],
    /// Bytes of the longest part in lossless coding, pixels or alpha.
    pub(super) lossless: usize,
}

pub(super) fn check<'a>(bytes: &'a [u8], settings: &Settings) -> Result<Checked<'a>, Refusal> {
    let claimed = number(bytes, 4).map_or(0, |length| length.saturating_add(8));
    let file = bytes.get(..claimed).ok_or_else(|| cut("WebP", bytes.len(), claimed))?;
    let mut lossless = 0;
    for frame in check_chunks(file.get(FILE_HEADER..).unwrap_or_default(), settings, &mut lossless)? {
        check_chunks(frame, settings, &mut lossless)?;
    }
    Ok(Checked { file, lossless })
}

fn cut(what: &str, there: usize, claimed: usize) -> Refusal {
    corrupt(format!("{what} cut: {there} of {claimed} bytes"))
}

/// Checks the frames among these chunks; returns the chunks inside the animation frames among them.
fn check_chunks<'a>(mut rest: &'a [u8], settings: &Settings, lossless: &mut usize) -> Result<Vec<&'a [u8]>, Refusal> {
    let mut frames = Vec::new();
    while let (Some(name), Some(length), Some(behind)) = (rest.get(..4), number(rest, 4), rest.get(8..)) {
        let body = behind.get(..length).ok_or_else(|| cut("WebP chunk", behind.len(), length))?;
        if matches!(name, b"VP8L" | b"ALPH") {
            *lossless = length.max(*lossless);
        }
        let size = match name {
            b"VP8 " => number(body, 6).map(|packed| (packed & 0x3FFF, packed >> 16 & 0x3FFF)),
            b"VP8L" => number(body, 1).map(|packed| ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)),
            // The canvas, in three bytes each.
            b"VP8X" => number(body, 4).zip(number(body, 6)).map(|(low, high)| ((low & 0xFF_FFFF) + 1, (high >> 8) + 1)),
            _ => None,
        };
        if let Some((width, height)) = size {
            check_size(side(width), side(height), settings)?;
        }
        if name == b"ANMF" {
            frames.push(body.get(FRAME_HEADER..).unwrap_or_default());
            check_count(frames.len(), settings)?;
        }
        rest = behind.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    Ok(frames)
}

fn side(pixels: usize) -> u32 {
    u32::try_from(pixels).unwrap_or(u32::MAX)
}

/// The little-endian number at a place.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*four)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{settings, webp};
    use super::*;
    use crate::error::Reason;

    fn reason(bytes: &[u8]) -> Option<Reason> {
        check(bytes, &settings()).err().map(|refusal| refusal.reason)
    }

    fn chunk(name: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("short");
        [name, &length.to_le_bytes(), body, &vec![0; body.len() % 2]].concat()
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        chunk(b"RIFF", &[b"WEBP".to_vec(), chunks.concat()].concat())
    }

    #[test]
    fn a_cut_webp_is_refused() {
        let whole = webp(40, 30);
        assert_eq!(reason(&whole), None);
        for length in 12..whole.len() {
            assert_eq!(reason(&whole[..length]), Some(Reason::CorruptImage));
        }
    }

    #[test]
    fn frames_beyond_the_limit_are_refused() {
        let frames = |count| file(&vec![chunk(b"ANMF", &[0; 24]); count]);
        assert_eq!(reason(&frames(3)), None);
        assert_eq!(reason(&frames(4)), Some(Reason::TooManyFrames));
    }

    #[test]
    fn a_chunk_longer_than_the_file_is_refused_and_what_follows_the_file_is_not_seen() {
        let mut lying = chunk(b"EXIF", &[0; 10]);
        lying[4..8].fill(0xFF);
        assert_eq!(reason(&file(&[lying.clone()])), Some(Reason::CorruptImage));
        assert_eq!(
            reason(&file(&[chunk(b"ANMF", &[vec![0; 16], lying.clone()].concat())])),
            Some(Reason::CorruptImage)
        );
        let whole = webp(40, 30);
        let followed = [whole.clone(), lying].concat();
        assert_eq!(check(&followed, &settings()).expect("sound").file, whole);
    }

    #[test]
    fn a_frame_larger_than_its_canvas_is_refused_by_its_own_header() {
        let canvas = chunk(b"VP8X", &[0; 10]);
        let wide = chunk(b"VP8X", &[0, 0, 0, 0, 0xA0, 0x0F, 0, 0, 0, 0]);
        assert_eq!(reason(&file(std::slice::from_ref(&canvas))), None);
        assert_eq!(reason(&file(&[wide])), Some(Reason::TooManyPixels), "a canvas of 4,001 x 1");
        let lossy = chunk(b"VP8 ", &[0, 0, 0, 0x9D, 1, 0x2A, 0xFF, 0x3F, 0xFF, 0x3F]);
        let lossless = chunk(b"VP8L", &[0x2F, 0xFF, 0xFF, 0xFF, 0x0F]);
        assert_eq!(reason(&file(&[canvas.clone(), lossy.clone()])), Some(Reason::TooManyPixels));
        assert_eq!(reason(&file(&[canvas.clone(), lossless])), Some(Reason::TooManyPixels));
        let frame = chunk(b"ANMF", &[vec![0; 16], chunk(b"ALPH", &[1; 3]), lossy].concat());
        assert_eq!(reason(&file(&[canvas, chunk(b"ANIM", &[0; 6]), frame])), Some(Reason::TooManyPixels));
    }
}
