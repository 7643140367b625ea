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

#[cfg(test)]
mod tests {
    use super::super::tests::{jpeg, settings};
    use super::*;

    fn spec(width: u32, height: u32) -> Spec {
        let tokenizer = std::path::PathBuf::new();
        Spec { width, height, crop: 0.5, max_tokens: 8, fields: vec![], tokenizer }
    }

    #[test]
    fn a_thumbnail_is_small_and_of_the_shape_that_the_model_sees() {
        for (width, height, expected) in [(224, 224, (160, 160)), (448, 224, (160, 80)), (4, 1000, (1, 160))] {
            let small = of(&jpeg(300, 200), 160, &settings(), &spec(width, height)).expect("made");
            let read = image::load_from_memory(&small).expect("a picture");
            assert_eq!((read.width(), read.height()), expected);
            assert!(small.len() < 64 << 10, "{} bytes", small.len());
        }
    }

    #[test]
    fn what_is_no_image_has_no_thumbnail() {
        assert_eq!(of(b"no image", 160, &settings(), &spec(224, 224)), None);
        assert_eq!(of(b"", 160, &settings(), &spec(224, 224)), None);
    }
}
