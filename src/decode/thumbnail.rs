//! A small JPEG of what the model sees of an image, for people.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use super::{Settings, Spec, pixels};

const QUALITY: u8 = 75;

/// The part that a bundle looks at, its longer side of `side` pixels; `None` where the image cannot be decoded.
pub(super) fn of(image: &[u8], side: u32, settings: &Settings, spec: &Spec) -> Option<Vec<u8>> {
    let longer = spec.width.max(spec.height).max(1);
    let scaled = |length: u32| u32::try_from(u64::from(length) * u64::from(side) / u64::from(longer)).ok();
    let (width, height) = (scaled(spec.width)?.max(1), scaled(spec.height)?.max(1));
    let small = Spec { width, height, ..spec.clone() };
    let pixels = pixels::read(image, settings, &small).ok()?;
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode(&pixels, width, height, ExtendedColorType::Rgb8).ok()?;
    Some(jpeg)
}
