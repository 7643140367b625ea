//! Photographs of any size, no two the same: mosaics of random crops, mirrored and a little brighter or darker, of real
//! ones, in JPEG (4:2:0) of as many bytes a pixel as photographs on the web have.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use image::RgbImage;
use image::imageops::FilterType;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use crate::posts::images_below;

/// Bytes a pixel that the quality is chosen for, the middle of what photographs have.
const BYTES_PER_PIXEL: f64 = 0.165;
/// Sides of a tile at most; a smaller photograph is enlarged to it.
const TILE: u32 = 256;
/// Mosaics that the quality is chosen by.
const TRIED: u64 = 8;

/// Real photographs to cut from.
pub struct Photos(Vec<RgbImage>);

impl Photos {
    /// All pictures below a folder.
    ///
    /// # Errors
    /// A folder without pictures, or a picture that cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut photos = Vec::new();
        for path in images_below(folder)? {
            let photo = image::open(&path).with_context(|| format!("cannot read {}", path.display()))?.to_rgb8();
            photos.push(large_enough(photo));
        }
        ensure!(
            !photos.is_empty(),
            "no pictures below {}; name a folder with photographs (--photos)",
            folder.display()
        );
        Ok(Self(photos))
    }

    /// A mosaic of `side` x `side` pixels.
    pub fn mosaic(&self, side: u32, rng: &mut Rng) -> RgbImage {
        let mut mosaic = RgbImage::new(side, side);
        let tiles = side.div_ceil(TILE);
        for row in 0..tiles {
            for column in 0..tiles {
                let (left, top) = (column * side / tiles, row * side / tiles);
                let (right, bottom) = ((column + 1) * side / tiles, (row + 1) * side / tiles);
                self.fill(&mut mosaic, (left, top), (right - left, bottom - top), rng);
            }
        }
        mosaic
    }

    /// Copies a random crop into the mosaic.
    fn fill(&self, mosaic: &mut RgbImage, (left, top): (u32, u32), (width, height): (u32, u32), rng: &mut Rng) {
        let Some(photo) = rng.choice(&self.0) else { return };
        let (from_left, from_top) = (rng.u32(0..=photo.width() - width), rng.u32(0..=photo.height() - height));
        let (mirrored, brighter) = (rng.bool(), rng.i16(-12..=12));
        for y in 0..height {
            for x in 0..width {
                let across = if mirrored { width - 1 - x } else { x };
                let mut pixel = *photo.get_pixel(from_left + across, from_top + y);
                pixel.0 = pixel.0.map(|level| level.saturating_add_signed(i8::try_from(brighter).unwrap_or(0)));
                mosaic.put_pixel(left + x, top + y, pixel);
            }
        }
    }

    /// The quality by which mosaics of this side have as many bytes as photographs on the web.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn quality(&self, side: u32, seed: u64) -> Result<i32> {
        let tried: Vec<RgbImage> =
            (0..TRIED).map(|number| self.mosaic(side, &mut Rng::with_seed(seed ^ number))).collect();
        let (mut low, mut high) = (20, 98);
        // Bytes grow with the quality.
        while high - low > 1 {
            let middle = i32::midpoint(low, high);
            let mut bytes = 0;
            for mosaic in &tried {
                bytes += jpeg(mosaic, middle)?.len();
            }
            #[expect(clippy::cast_precision_loss, reason = "a few MB")]
            let per_pixel = bytes as f64 / (f64::from(side) * f64::from(side) * tried.len() as f64);
            if per_pixel < BYTES_PER_PIXEL { low = middle } else { high = middle }
        }
        Ok(low)
    }
}

fn large_enough(photo: RgbImage) -> RgbImage {
    let shorter = photo.width().min(photo.height());
    if shorter >= TILE {
        return photo;
    }
    let larger = |side: u32| (side * TILE).div_ceil(shorter.max(1));
    image::imageops::resize(&photo, larger(photo.width()), larger(photo.height()), FilterType::CatmullRom)
}

/// # Errors
/// When the encoder fails.
pub fn jpeg(picture: &RgbImage, quality: i32) -> Result<Vec<u8>> {
    let mut encoder = Compressor::new()?;
    encoder.set_quality(quality)?;
    encoder.set_subsamp(Subsamp::Sub2x2)?;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let image =
        Image { pixels: picture.as_raw().as_slice(), width, pitch: 3 * width, height, format: PixelFormat::RGB };
    encoder.compress_to_vec(image).context("cannot encode a JPEG")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photos() -> Photos {
        Photos::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/photos")).expect("sample photographs")
    }

    #[test]
    fn mosaics_are_of_their_side_and_differ_by_the_seed_alone() {
        let photos = photos();
        for side in [16, 255, 256, 257, 512] {
            let made = |seed| photos.mosaic(side, &mut Rng::with_seed(seed));
            assert_eq!((made(1).width(), made(1).height()), (side, side));
            assert_eq!(made(1), made(1));
            assert_ne!(made(1), made(2));
        }
    }

    #[test]
    fn jpegs_have_as_many_bytes_as_photographs() {
        let photos = photos();
        let quality = photos.quality(512, 1).expect("a quality");
        let bytes: usize = (100..120)
            .map(|seed| jpeg(&photos.mosaic(512, &mut Rng::with_seed(seed)), quality).expect("encodes").len())
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a few MB")]
        let per_pixel = bytes as f64 / (512.0 * 512.0 * 20.0);
        assert!((0.13..=0.2).contains(&per_pixel), "{per_pixel} bytes a pixel at quality {quality}");
    }
}
