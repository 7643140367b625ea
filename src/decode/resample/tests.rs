use image::{DynamicImage, RgbImage};
use proptest::prelude::*;

use super::*;

const AS_STORED: Turn = Turn { swaps: false, mirrors_x: false, mirrors_y: false };

#[test]
fn the_same_size_is_the_same_picture() {
    let rgb: Vec<u8> = (0..5 * 4 * 3).map(|value| value * 4).collect();
    let source = Pixels { width: 5, height: 4, rgb: &rgb };
    let whole = Region { left: 0.0, top: 0.0, right: 5.0, bottom: 4.0 };
    assert_eq!(resize(&source, AS_STORED, whole, 5, 4), rgb);
}

#[test]
fn a_flat_picture_stays_flat_in_either_order_of_passes() {
    for (width, height) in [(300, 90), (90, 300), (7, 7), (1, 1)] {
        let rgb = vec![201; width * height * 3];
        let source = Pixels { width, height, rgb: &rgb };
        let region = Region { left: 0.4, top: 0.3, right: 0.9, bottom: 0.8 };
        assert_eq!(resize(&source, AS_STORED, region, 16, 8), vec![201; 16 * 8 * 3]);
    }
}

#[test]
fn the_processor_of_the_tests_has_a_fast_way() {
    #[cfg(target_arch = "x86_64")]
    assert!(avx2::passes().is_some(), "without AVX2 the tests below compare the plain way with itself");
}

/// Extreme levels often: sums at both ends, where rounding clips.
fn levels() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(255), any::<u8>()]
}

prop_compose! {
    fn pictures()(width in 1..90_usize, height in 1..90_usize)(
        rgb in proptest::collection::vec(levels(), width * height * 3), width in Just(width), height in Just(height),
    ) -> RgbImage {
        let side = |pixels: usize| u32::try_from(pixels).expect("small");
        RgbImage::from_raw(side(width), side(height), rgb).expect("of that size")
    }
}

fn pixels(picture: &RgbImage) -> Pixels<'_> {
    Pixels { width: picture.width() as usize, height: picture.height() as usize, rgb: picture }
}

fn places() -> impl Strategy<Value = [f32; 4]> {
    [0.0..1.0_f32, 0.0..1.0_f32, 0.0..1.0_f32, 0.0..1.0_f32]
}

/// A box within a picture of this size; the numbers say where, from 0 to 1.
fn within(width: usize, height: usize, [left, right, top, bottom]: [f32; 4]) -> Region {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let (width, height) = (width as f32, height as f32);
    let span = |one: f32, other: f32, length: f32| {
        let (start, end) = (one.min(other) * length, one.max(other) * length);
        (start.min(length - 0.01), end.max(start + 0.01).min(length))
    };
    let ((left, right), (top, bottom)) = (span(left, right, width), span(top, bottom, height));
    Region { left, top, right, bottom }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_fast_way_gives_the_bits_of_the_plain_one(
        picture in pictures(), place in places(), way in 1..=8_u8, width in 1..70_usize, height in 1..70_usize,
    ) {
        let (stored, turn) = (pixels(&picture), Turn::of(Orientation::from_exif(way).expect("one of eight")));
        let (upright_width, upright_height) = turn.upright(stored.width, stored.height);
        let region = within(upright_width, upright_height, place);
        let plain = resize_by(&Passes::PLAIN, &stored, turn, region, width, height);
        prop_assert_eq!(resize(&stored, turn, region, width, height), plain);
    }

    #[test]
    fn a_picture_turned_on_the_way_is_the_one_turned_before(
        picture in pictures(), place in places(), way in 1..=8_u8, width in 1..70_usize, height in 1..70_usize,
    ) {
        let orientation = Orientation::from_exif(way).expect("one of eight");
        let mut upright = DynamicImage::ImageRgb8(picture.clone());
        upright.apply_orientation(orientation);
        let upright = upright.into_rgb8();
        let region = within(upright.width() as usize, upright.height() as usize, place);
        let expected = resize(&pixels(&upright), AS_STORED, region, width, height);
        prop_assert_eq!(resize(&pixels(&picture), Turn::of(orientation), region, width, height), expected);
    }
}
