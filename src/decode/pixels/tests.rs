//! Formats, colours, orientation and limits. That the numbers are Pillow's is tested where the bundle's goldens are.

use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, Rgba, RgbaImage};

use super::super::tests::{encoded, picture, settings, spec};
use super::*;

fn write(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

fn square(bytes: &[u8], width: u32, height: u32) -> RgbImage {
    let pixels = read(bytes, &settings(), &spec(width, height)).expect("decodes");
    RgbImage::from_raw(width, height, pixels).expect("of the size asked for")
}

fn reason(bytes: &[u8]) -> Option<Reason> {
    read(bytes, &settings(), &spec(8, 8)).err().map(|refusal| refusal.reason)
}

/// A PNG with an EXIF block that holds nothing but the orientation.
fn turned(image: &RgbImage, orientation: u8) -> Vec<u8> {
    use image::ImageEncoder as _;
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[orientation, 0, 0, 0], &[0; 4]].concat();
    encoder.set_exif_metadata(exif).expect("PNG takes EXIF");
    encoder.write_image(image, image.width(), image.height(), image::ExtendedColorType::Rgb8).expect("encodes");
    bytes
}

#[test]
fn every_format_is_read_whatever_it_is_called() {
    let lossless = square(&encoded(60, 40, ImageFormat::Png), 8, 8);
    assert_eq!(square(&encoded(60, 40, ImageFormat::WebP), 8, 8), lossless);
    for lossy in [ImageFormat::Jpeg, ImageFormat::Gif] {
        let other = square(&encoded(60, 40, lossy), 8, 8);
        let worst = lossless.iter().zip(other.iter()).map(|(one, two)| one.abs_diff(*two)).max();
        assert!(worst < Some(40), "{lossy:?}: {worst:?}");
    }
}

#[test]
fn every_colour_becomes_rgb() {
    let mid = |bytes: &[u8]| square(bytes, 4, 4).get_pixel(1, 1).0;
    let png = ImageFormat::Png;
    assert_eq!(mid(&write(GrayImage::from_pixel(9, 9, Luma([100])), png)), [100; 3]);
    assert_eq!(mid(&write(GrayImage::from_pixel(9, 9, Luma([100])), ImageFormat::Jpeg)), [100; 3]);
    assert_eq!(mid(&write(GrayAlphaImage::from_pixel(9, 9, LumaA([100, 0])), png)), [255; 3]);
    assert_eq!(mid(&write(RgbaImage::from_pixel(9, 9, Rgba([0, 100, 255, 128])), png)), [127, 177, 255]);
    assert_eq!(mid(&write(RgbaImage::from_pixel(9, 9, Rgba([0, 100, 255, 0])), ImageFormat::Gif)), [255; 3]);
    let deep: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_pixel(9, 9, Rgb([0, 25_700, u16::MAX]));
    assert_eq!(mid(&write(deep, png)), [0, 100, 255]);
}

#[test]
fn an_orientation_is_honoured_as_if_the_picture_had_been_turned_first() {
    let stored = picture(60, 44);
    for exif in 1..=8_u8 {
        let mut upright = DynamicImage::ImageRgb8(stored.clone());
        upright.apply_orientation(Orientation::from_exif(exif).expect("1 to 8"));
        let expected = square(&write(upright, ImageFormat::Png), 12, 8);
        let found = square(&turned(&stored, exif), 12, 8);
        // The two passes of the resizer round in the other order when the sides are swapped.
        let worst = found.iter().zip(expected.iter()).map(|(one, other)| one.abs_diff(*other)).max();
        assert!(worst <= Some(u8::from(exif > 4)), "orientation {exif}: {worst:?}");
    }
    assert_eq!(square(&turned(&stored, 77), 12, 8), square(&turned(&stored, 1), 12, 8), "an unknown one is ignored");
}

#[test]
fn the_centred_square_is_what_is_seen() {
    // A white square of 32 in the middle of black 64 x 32; a crop of 0.875 sees nothing of the black.
    let image = RgbImage::from_fn(64, 32, |x, _| if (16..48).contains(&x) { Rgb([255; 3]) } else { Rgb([0; 3]) });
    assert!(square(&write(image, ImageFormat::Png), 8, 8).iter().all(|level| *level == 255));
}

#[test]
fn one_pixel_is_enough() {
    let image = RgbImage::from_pixel(1, 1, Rgb([7, 8, 9]));
    assert!(square(&write(image, ImageFormat::Png), 8, 8).pixels().all(|pixel| pixel.0 == [7, 8, 9]));
}

#[test]
fn a_cut_image_is_refused_in_every_format() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = encoded(60, 40, format);
        assert_eq!(reason(&whole), None);
        for part in 1..=9 {
            let cut = &whole[..whole.len() * part / 10];
            assert_eq!(reason(cut), Some(Reason::CorruptImage), "{format:?} cut to {part} tenths");
        }
    }
}

#[test]
fn limits_hold_by_the_header() {
    assert_eq!(reason(&write(GrayImage::new(4_000, 1_000), ImageFormat::Png)), None);
    assert_eq!(reason(&write(GrayImage::new(4_001, 1), ImageFormat::Png)), Some(Reason::TooManyPixels));
    assert_eq!(reason(&write(GrayImage::new(2_001, 2_000), ImageFormat::Png)), Some(Reason::TooManyPixels));
    assert_eq!(reason(include_bytes!("../../../tests/fixtures/hostile/30000x30000.png")), Some(Reason::TooManyPixels));
    let mut gif = encoded(60, 40, ImageFormat::Gif);
    gif[6..10].fill(0);
    assert_eq!(reason(&gif), Some(Reason::CorruptImage), "no pixels");
    gif[6..10].fill(0xFF);
    assert_eq!(reason(&gif), Some(Reason::TooManyPixels));
}

#[test]
fn other_formats_are_named() {
    for (bytes, named) in [
        (b"BM\0\0\0\0\0\0".as_slice(), "Bmp"),
        (b"%PDF-1.7", "unknown"),
        (b"<svg xmlns=", "unknown"),
        (b"II*\0\x08\0\0\0", "Tiff"),
    ] {
        let refusal = read(bytes, &settings(), &spec(8, 8)).expect_err("refused");
        assert_eq!(refusal.reason, Reason::UnsupportedFormat);
        assert!(refusal.detail.contains(named), "{refusal}");
    }
    assert_eq!(reason(b""), Some(Reason::NoImage));
}
