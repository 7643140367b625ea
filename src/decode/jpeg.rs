//! JPEG, strictly. Decoders made for viewers paint what is missing of a cut file in grey and call it a picture; a model
//! would then read the sentiment of the grey. So the codec runs in its strict mode, and before it runs the file is walked
//! marker by marker to its end-of-image marker: a file without one was cut, be it by two bytes (Pillow refuses it too).
//!
//! A cut file that somebody closed again with an end-of-image marker is not told from a whole one, here or in Pillow.

use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::Settings;
use super::pixels::{Picture, check_size, corrupt};
use crate::error::{Reason, Refusal};

pub(super) fn read(bytes: &[u8], settings: &Settings) -> Result<Picture, Refusal> {
    // The codec's own limit of a side is lifted, so that there is one limit and one reason.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| refusal(&error))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| corrupt("JPEG without dimensions"))?;
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    check_size(width, height, settings)?;
    if !ends_properly(bytes) {
        return Err(corrupt("JPEG without an end-of-image marker: it was cut"));
    }
    let orientation = decoder.exif().and_then(|chunk| Orientation::from_exif_chunk(chunk));
    let rgb = decoder.decode().map_err(|error| refusal(&error))?;
    Ok(Picture { width, height, rgb, orientation: orientation.unwrap_or(Orientation::NoTransforms) })
}

fn refusal(error: &DecodeErrors) -> Refusal {
    let reason = match error {
        DecodeErrors::Unsupported(_) => Reason::UnsupportedFormat,
        _ => Reason::CorruptImage,
    };
    Refusal::new(reason, format!("JPEG: {error:?}"))
}

/// Whether the markers lead to an end of image. Segments are stepped over, so that the end of a thumbnail inside one is
/// not taken for it; what follows it is ignored, since phones put videos there.
fn ends_properly(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == 0xFF) {
        rest = rest.get(at + 1..).unwrap_or_default();
        let step = match rest {
            [0xD9, ..] => return true,
            // A fill byte: the marker may follow.
            [0xFF, ..] => 0,
            // A stuffed 0xFF of the scan, or a marker without a segment.
            [0x00 | 0x01 | 0xD0..=0xD8, ..] => 1,
            [_, high, low, ..] => 1 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return false,
        };
        rest = rest.get(step..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jpeg, settings};
    use super::*;

    fn reason(bytes: &[u8]) -> Option<Reason> {
        read(bytes, &settings()).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_jpeg_cut_anywhere_is_refused() {
        let whole = jpeg(97, 61);
        assert_eq!(reason(&whole), None);
        for length in 3..whole.len() {
            assert_eq!(reason(&whole[..length]), Some(Reason::CorruptImage), "cut to {length} of {}", whole.len());
        }
    }

    #[test]
    fn what_follows_the_end_is_ignored() {
        assert_eq!(reason(&[jpeg(20, 20), vec![7; 99]].concat()), None);
    }

    #[test]
    fn the_header_is_believed_before_anything_is_allocated() {
        let mut huge = jpeg(16, 16);
        let frame = huge.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
        huge[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
        assert_eq!(reason(&huge), Some(Reason::TooManyPixels));
    }
}
