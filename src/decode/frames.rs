//! A look at the frames of a GIF and of an animated PNG before the codec runs: their number, and each one's own size, which
//! need not be its canvas'. A file that breaks off or lies on the way is left to the codec, which tells what is wrong.
//! WebP, whose chunks are looked at for more than this, has a file of its own.

use super::Settings;
use super::pixels::check_size;
use crate::error::{Reason, Refusal};

const PNG_SIGNATURE: usize = 8;

/// Refuses the frame of this number, counted from 1, where it is beyond the limit.
pub(super) fn check_count(number: usize, settings: &Settings) -> Result<(), Refusal> {
    if number > settings.frames {
        let detail = format!("an animation of more than {} frames (decode.frames)", settings.frames);
        return Err(Refusal::new(Reason::TooManyFrames, detail));
    }
    Ok(())
}

/// Checks the frames of a GIF.
pub(super) fn check_gif(bytes: &[u8], settings: &Settings) -> Result<(), Refusal> {
    let Some((screen, mut rest)) = bytes.split_first_chunk::<13>() else { return Ok(()) };
    rest = rest.get(palette(screen[10])..).unwrap_or_default();
    let mut frames = 0;
    loop {
        rest = match rest {
            // An extension with its label.
            [0x21, _, blocks @ ..] => behind_blocks(blocks),
            [0x2C, _, _, _, _, w0, w1, h0, h1, packed, behind @ ..] => {
                frames += 1;
                check_count(frames, settings)?;
                // A frame without pixels changes nothing; the codec knows what to do where it is the first.
                let side = |bytes: [u8; 2]| u32::from(u16::from_le_bytes(bytes)).max(1);
                check_size(side([*w0, *w1]), side([*h0, *h1]), settings)?;
                // One byte between palette and pixels tells the size of their codes.
                behind_blocks(behind.get(palette(*packed) + 1..).unwrap_or_default())
            }
            _ => return Ok(()),
        };
    }
}

/// Bytes of the palette that a packed field announces.
fn palette(packed: u8) -> usize {
    if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) }
}

fn behind_blocks(mut rest: &[u8]) -> &[u8] {
    while let [length, behind @ ..] = rest {
        rest = behind.get(usize::from(*length)..).unwrap_or_default();
        if *length == 0 {
            break;
        }
    }
    rest
}

/// Checks the image of a PNG, which its codec takes for a matter of memory where it is large enough, and its frames.
pub(super) fn check_png(bytes: &[u8], settings: &Settings) -> Result<(), Refusal> {
    let mut rest = bytes.get(PNG_SIGNATURE..).unwrap_or_default();
    let mut frames = 0;
    while let Some((length, behind)) = number(rest) {
        let Some((name, body)) = behind.split_first_chunk::<4>() else { break };
        match (name, number(body)) {
            (b"acTL", Some((promised, _))) => check_count(promised, settings)?,
            (b"fcTL", Some((_sequence, size))) => {
                frames += 1;
                check_count(frames, settings)?;
                check_png_size(size, settings)?;
            }
            (b"IHDR", _) => check_png_size(body, settings)?,
            _ => {}
        }
        // Behind the body stands its checksum.
        rest = body.get(length.saturating_add(4)..).unwrap_or_default();
    }
    Ok(())
}

fn check_png_size(header: &[u8], settings: &Settings) -> Result<(), Refusal> {
    let Some((width, behind)) = number(header) else { return Ok(()) };
    let Some((height, _)) = number(behind) else { return Ok(()) };
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    check_size(side(width), side(height), settings)
}

/// A big-endian number, and what is behind it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (four, behind) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_be_bytes(*four)).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{encoded, settings};
    use super::*;

    fn reason(checked: Result<(), Refusal>) -> Option<Reason> {
        checked.err().map(|refusal| refusal.reason)
    }

    fn gif(frames: &[Vec<u8>]) -> Vec<u8> {
        // A palette of two colours, and an extension between the frames.
        let comment = b"!\xFE\x03,,,\0".to_vec();
        let frames = frames.iter().flat_map(|frame| [comment.clone(), frame.clone()].concat());
        [b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec(), frames.collect(), b";".to_vec()].concat()
    }

    /// A frame with a palette of its own, which is full of what looks like frames.
    fn gif_frame(width: u16, height: u16) -> Vec<u8> {
        let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
        [b",\0\0\0\0".as_slice(), &size, b"\x80,,,,,,\x02\x02D\x01\x01,\0"].concat()
    }

    fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let length = |body: &[u8]| u32::try_from(body.len()).expect("short").to_be_bytes();
        let chunks = chunks.iter().flat_map(|(name, body)| [&length(body), name.as_slice(), body, b"fcTL"].concat());
        [b"\x89PNG\r\n\x1A\n".to_vec(), chunks.collect()].concat()
    }

    fn control(width: u32, height: u32) -> (&'static [u8; 4], Vec<u8>) {
        (b"fcTL", [[0; 4], width.to_be_bytes(), height.to_be_bytes(), [0; 4]].concat())
    }

    #[test]
    fn frames_are_counted_as_they_are() {
        let frame = gif_frame(1, 1);
        for (frames, end) in [(0, None), (1, None), (3, None), (4, Some(Reason::TooManyFrames))] {
            assert_eq!(reason(check_gif(&gif(&vec![frame.clone(); frames]), &settings())), end, "GIF, {frames}");
            assert_eq!(reason(check_png(&png(&vec![control(1, 1); frames]), &settings())), end, "PNG, {frames}");
        }
        let promised = png(&[(b"acTL", [0, 0, 0, 4, 0, 0, 0, 0].to_vec())]);
        assert_eq!(reason(check_png(&promised, &settings())), Some(Reason::TooManyFrames));
    }

    #[test]
    fn a_frame_larger_than_its_canvas_is_refused_by_its_own_header() {
        let beyond = gif(&[gif_frame(1, 1), gif_frame(4_001, 1)]);
        assert_eq!(reason(check_gif(&beyond, &settings())), Some(Reason::TooManyPixels));
        let beyond_any = png(&[(b"IHDR", [0x7F, 0xFF, 0xFF, 0xFF].repeat(2))]);
        assert_eq!(reason(check_png(&beyond_any, &settings())), Some(Reason::TooManyPixels));
        let beyond = png(&[control(1, 1), control(3_000, 3_000)]);
        assert_eq!(reason(check_png(&beyond, &settings())), Some(Reason::TooManyPixels));
    }

    #[test]
    fn what_is_cut_anywhere_is_left_to_the_codec() {
        let wholes = [
            gif(&[gif_frame(1, 1), gif_frame(1, 1)]),
            png(&[(b"acTL", vec![0; 8]), control(1, 1), (b"fdAT", vec![7; 9])]),
            encoded(20, 10, image::ImageFormat::Gif),
        ];
        for whole in wholes {
            for length in 0..=whole.len() {
                assert_eq!(reason(check_gif(&whole[..length], &settings())), None);
                assert_eq!(reason(check_png(&whole[..length], &settings())), None);
            }
        }
    }
}
