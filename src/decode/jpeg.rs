//! JPEG by libjpeg-turbo, which decodes to the same bits as Pillow does and is the fastest there is; strictly. Decoders
//! made for viewers paint what is missing of a cut file in grey and call it a picture; a model would then read the
//! sentiment of the grey. So a warning of the codec (premature end of a segment, bad codes) refuses the image, and before
//! it runs the file is walked marker by marker to its end-of-image marker: a file without one was cut, be it by two bytes.

use image::metadata::Orientation;
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor};

use super::pixels::{Picture, Whole, check_size, corrupt};
use super::{Settings, Spec};
use crate::error::{Reason, Refusal};

/// A progressive JPEG of a few KB may ask for thousands of passes over all its pixels; real ones have about ten.
const MOST_SCANS: u32 = 200;
/// Twice what real ones have: of the largest image no more are decoded, since each costs time for all its pixels.
const USUAL_SCANS: u64 = 20;
/// How many times smaller a JPEG may be decoded, and how many times larger than the bundle wants it the square then stays:
/// chosen for speed: of most pictures the encoder does not see
/// the difference, of some it does (docs/bundle.md has the shares).
const REDUCTIONS: [(u32, f64); 3] = [(8, 2.5), (4, 2.5), (2, 2.0)];
const EXIF: &[u8] = b"Exif\0\0";

pub(super) fn read(bytes: &[u8], settings: &Settings, spec: &Spec) -> Result<Picture, Refusal> {
    let walked = walk(bytes);
    if let Some(bits) = walked.bits.filter(|bits| *bits != 8) {
        return Err(Refusal::new(
            Reason::UnsupportedFormat,
            format!("JPEG of {bits} bits a sample; read are those of 8"),
        ));
    }
    if walked.is_arithmetic {
        return Err(Refusal::new(
            Reason::UnsupportedFormat,
            "JPEG in arithmetic coding; read are those in Huffman coding",
        ));
    }
    let mut decoder = Decompressor::new().map_err(|error| broken(&error))?;
    let header = decoder.read_header(bytes).map_err(|error| broken(&error))?;
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let (width, height) = (side(header.width), side(header.height));
    check_size(width, height, settings)?;
    let work = u64::from(walked.scans) * u64::from(width) * u64::from(height);
    if work > settings.image_pixels.saturating_mul(USUAL_SCANS) {
        return Err(corrupt(format!(
            "JPEG of {} scans over {width} x {height} pixels: no camera's work",
            walked.scans
        )));
    }
    if !walked.ends_properly {
        return Err(corrupt("JPEG without an end-of-image marker: it was cut"));
    }
    decoder.set_scan_limit(MOST_SCANS).map_err(|error| broken(&error))?;
    // A lossless one has no waves to leave out.
    let reduction = if header.is_lossless { 1 } else { reduction(width, height, spec) };
    let scale = ScalingFactor::new(1, reduction as usize);
    decoder.set_scaling_factor(scale).map_err(|error| broken(&error))?;
    let reduced = header.scaled(scale);
    let four_inks = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    let format = if four_inks { PixelFormat::CMYK } else { PixelFormat::RGB };
    let pitch = reduced.width * format.size();
    let mut pixels = vec![0; pitch * reduced.height];
    let image = Image { pixels: &mut pixels[..], width: reduced.width, pitch, height: reduced.height, format };
    decoder.decompress(bytes, image).map_err(|error| broken(&error))?;
    let rgb = if four_inks { rgb_of_inks(&pixels) } else { pixels };
    let orientation = walked.exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let whole = Whole { width, height, reduction };
    Ok(Picture { width: side(reduced.width), height: side(reduced.height), rgb, orientation, whole })
}

/// How many times smaller a JPEG is decoded, by leaving out its finest waves: as much as leaves the square large enough.
fn reduction(width: u32, height: u32, spec: &Spec) -> u32 {
    let side = spec.crop * f64::from(width.min(height));
    let wanted = f64::from(spec.width.max(spec.height));
    let fits = |(by, least): &(u32, f64)| side >= f64::from(*by) * least * wanted;
    REDUCTIONS.into_iter().find(fits).map_or(1, |(by, _)| by)
}

fn broken(error: &turbojpeg::Error) -> Refusal {
    corrupt(format!("JPEG: {error}"))
}

/// Inks are stored inverted, as Adobe does and everybody assumes. Rounded as Pillow rounds.
fn rgb_of_inks(inks: &[u8]) -> Vec<u8> {
    let (pixels, _) = inks.as_chunks::<4>();
    let light = |ink: u8, black: u8| {
        let shaded = u32::from(255 - ink) * u32::from(black) + 128;
        let shaded = ((shaded >> 8) + shaded) >> 8;
        u8::try_from(u32::from(black) - shaded).unwrap_or(0)
    };
    pixels
        .iter()
        .flat_map(|[cyan, magenta, yellow, black]| [*cyan, *magenta, *yellow].map(|ink| light(ink, *black)))
        .collect()
}

/// What the markers of a file tell.
#[derive(Debug, Default, PartialEq)]
struct Walked<'a> {
    /// The first EXIF block, from its TIFF header on.
    exif: Option<&'a [u8]>,
    /// Bits of a sample, by the first frame header.
    bits: Option<u8>,
    /// Whether a frame is in arithmetic coding, which nobody writes: once a scan's data ends it goes on without, at full
    /// cost and without a warning, so that a few KB keep a decoder busy for a quarter of an hour.
    is_arithmetic: bool,
    /// Scans, each of which goes over all pixels.
    scans: u32,
    /// Whether the markers lead to an end of image.
    ends_properly: bool,
}

/// Segments are stepped over, so that the end of a thumbnail inside one is not taken for the end of the image; what
/// follows that is ignored, since phones put videos there.
fn walk(bytes: &[u8]) -> Walked<'_> {
    let mut walked = Walked::default();
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0xFF, rest) {
        rest = rest.get(at + 1..).unwrap_or_default();
        let step = match rest {
            [0xD9, ..] => return Walked { ends_properly: true, ..walked },
            // A fill byte: the marker may follow.
            [0xFF, ..] => 0,
            // A stuffed 0xFF of the scan, or a marker without a segment.
            [0x00 | 0x01 | 0xD0..=0xD8, ..] => 1,
            [marker, high, low, segment @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let body = segment.get(..length.saturating_sub(2)).unwrap_or_default();
                match *marker {
                    0xDA => walked.scans += 1,
                    0xE1 if walked.exif.is_none() => walked.exif = body.strip_prefix(EXIF),
                    // Tables and arithmetic conditioning stand among the frame headers.
                    0xC4 | 0xC8 | 0xCC => {}
                    0xC9..=0xCF => walked.is_arithmetic = true,
                    0xC0..=0xC7 if walked.bits.is_none() => walked.bits = body.first().copied(),
                    _ => {}
                }
                1 + length
            }
            _ => return walked,
        };
        rest = rest.get(step..).unwrap_or_default();
    }
    walked
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jpeg, settings, spec};
    use super::*;

    fn reason(bytes: &[u8]) -> Option<Reason> {
        read(bytes, &settings(), &spec(16, 16)).err().map(|refusal| refusal.reason)
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
    fn arithmetic_coding_is_not_read_wherever_it_is_announced() {
        let whole = jpeg(20, 20);
        let frame = whole.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
        for marker in [0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF] {
            let mut arithmetic = whole.clone();
            arithmetic[frame + 1] = marker;
            assert_eq!(reason(&arithmetic), Some(Reason::UnsupportedFormat), "{marker:x}");
            let second = [&whole[..frame], &[0xFF, marker, 0, 3, 8], &whole[frame..]].concat();
            assert_eq!(reason(&second), Some(Reason::UnsupportedFormat), "{marker:x} before another");
        }
    }

    #[test]
    fn a_jpeg_is_reduced_while_the_square_stays_large_enough() {
        // 0.875 x 1024 is just twice 2 x 224.
        for ((width, height), expected) in [
            ((512, 640), 1),
            ((1023, 2048), 1),
            ((1024, 2048), 2),
            ((2559, 9000), 2),
            ((2560, 9000), 4),
            ((9000, 5119), 4),
            ((65_535, 5120), 8),
            ((65_535, 65_535), 8),
            ((1, 65_535), 1),
        ] {
            assert_eq!(reduction(width, height, &spec(224, 224)), expected, "{width} x {height}");
        }
        assert_eq!(reduction(1024, 1024, &spec(224, 225)), 1, "both sides stay large enough");
        assert_eq!(reduction(8, 8, &spec(1, 1)), 2);
    }

    #[test]
    fn a_reduced_jpeg_is_refused_for_what_a_whole_one_is() {
        let whole = jpeg(203, 171);
        assert_eq!(read(&whole, &settings(), &spec(8, 8)).map(|picture| picture.whole.reduction).ok(), Some(4));
        for length in [whole.len() / 2, whole.len() - 40] {
            let closed = [&whole[..length], &[0xFF, 0xD9]].concat();
            let refused = read(&closed, &settings(), &spec(8, 8)).err().map(|refusal| refusal.reason);
            assert_eq!(refused, Some(Reason::CorruptImage), "cut to {length} of {}", whole.len());
        }
        let small = Settings { image_side: 202, ..settings() };
        let refused = read(&whole, &small, &spec(8, 8)).err().map(|refusal| refusal.reason);
        assert_eq!(refused, Some(Reason::TooManyPixels), "limits are of the whole");
    }

    #[test]
    fn a_lossless_jpeg_is_read_whole() {
        let (side, rgb) = (64, vec![90; 64 * 64 * 3]);
        let mut encoder = turbojpeg::Compressor::new().expect("an encoder");
        encoder.set_lossless(true).expect("there is one");
        encoder.set_subsamp(turbojpeg::Subsamp::None).expect("none");
        let image =
            Image { pixels: rgb.as_slice(), width: side, pitch: 3 * side, height: side, format: PixelFormat::RGB };
        let lossless = encoder.compress_to_vec(image).expect("encodes");
        assert_eq!(reduction(64, 64, &spec(8, 8)), 2);
        let picture = read(&lossless, &settings(), &spec(8, 8)).expect("read");
        assert_eq!((picture.width, picture.whole.reduction, &picture.rgb), (64, 1, &rgb));
    }

    #[test]
    fn what_follows_the_end_is_ignored() {
        assert_eq!(reason(&[jpeg(20, 20), vec![7; 99]].concat()), None);
    }

    #[test]
    fn a_jpeg_cut_and_closed_again_is_refused() {
        let whole = jpeg(97, 61);
        for length in [whole.len() / 2, whole.len() * 3 / 4] {
            let closed = [&whole[..length], &[0xFF, 0xD9]].concat();
            assert_eq!(reason(&closed), Some(Reason::CorruptImage), "cut to {length} of {}", whole.len());
        }
    }

    #[test]
    fn samples_of_other_than_8_bits_are_named() {
        let mut deep = jpeg(16, 16);
        let frame = deep.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
        deep[frame + 4] = 12;
        let refused = read(&deep, &settings(), &spec(16, 16)).expect_err("refused");
        assert_eq!(refused.to_string(), "unsupported_format: JPEG of 12 bits a sample; read are those of 8");
    }

    #[test]
    fn the_header_is_believed_before_anything_is_allocated() {
        let mut huge = jpeg(16, 16);
        let frame = huge.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
        huge[frame + 5..frame + 9].copy_from_slice(&[0xFD, 0xE8, 0xFD, 0xE8]);
        assert_eq!(reason(&huge), Some(Reason::TooManyPixels));
    }
}
