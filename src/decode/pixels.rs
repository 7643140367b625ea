//! Image bytes to the model's pixels: u8 RGB [H, W, 3], exactly as `docs/bundle.md` says under *Preprocessing*.
//!
//! The format is told by the bytes, whatever the content type says. The header is read first, and no pixel is allocated
//! for an image larger than the limits. What is cut or broken is refused, never filled in.

use std::io::Cursor;
use std::sync::{Mutex, PoisonError};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageDecoder, ImageError, ImageFormat, Limits, RgbImage, RgbaImage,
};

use super::resample::{self, Pixels, Region, Turn};
use super::{Settings, Spec, frames, jpeg, webp};
use crate::error::{Reason, Refusal};

/// What a PNG's colour profile may unpack to, and its texts may take: deflate reaches 1000:1, and profiles are kilobytes.
const PNG_HEADER_BYTES: u64 = 16 << 20;
/// A lossless WebP makes the codec build tables of up to 350 times its bytes, whatever its size in pixels: 1.4 GB for 4 MB.
/// Smaller ones are harmless; of the others one is decoded at a time, so that there is one such worst case and not one a
/// thread.
const SMALL_LOSSLESS: usize = 64 * 1024;
static LARGE_LOSSLESS: Mutex<()> = Mutex::new(());
/// The widest pixel of the formats read, RGBA of 16 bits each.
const MAX_PIXEL_BYTES: u64 = 8;

/// A decoded picture, not yet upright.
#[derive(Debug)]
pub(super) struct Picture {
    /// Pixels that `rgb` has. Where it is reduced, the last column and the last row may lie partly outside of the whole.
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rgb: Vec<u8>,
    pub(super) orientation: Orientation,
    pub(super) whole: Whole,
}

/// What a decoded picture is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) width: u32,
    pub(super) height: u32,
    /// How many times its pixels are the decoded ones in width and height: 1, 2, 4 or 8.
    pub(super) reduction: u32,
}

/// The pixels of the image in `bytes`, as the bundle wants them.
pub(super) fn read(bytes: &[u8], settings: &Settings, spec: &Spec) -> Result<Vec<u8>, Refusal> {
    let picture = decode(bytes, settings, spec)?;
    if picture.rgb.len() != picture.width as usize * picture.height as usize * 3 {
        return Err(corrupt("decoded to another size"));
    }
    let turn = Turn::of(picture.orientation);
    let stored = Pixels { width: picture.width as usize, height: picture.height as usize, rgb: &picture.rgb };
    Ok(resample::resize(&stored, turn, square(&picture, turn, spec), spec.width as usize, spec.height as usize))
}

fn decode(bytes: &[u8], settings: &Settings, spec: &Spec) -> Result<Picture, Refusal> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::read(bytes, settings, spec),
        Ok(ImageFormat::Png) => {
            frames::check_png(bytes, settings)?;
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(PNG_HEADER_BYTES);
            read_picture(PngDecoder::with_limits(Cursor::new(bytes), limits), settings)
        }
        Ok(ImageFormat::WebP) => {
            let checked = webp::check(bytes, settings)?;
            let _alone = (checked.lossless > SMALL_LOSSLESS)
                .then(|| LARGE_LOSSLESS.lock().unwrap_or_else(PoisonError::into_inner));
            read_picture(WebPDecoder::new(Cursor::new(checked.file)), settings)
        }
        Ok(ImageFormat::Gif) => {
            frames::check_gif(bytes, settings)?;
            read_picture(GifDecoder::new(Cursor::new(bytes)), settings)
        }
        Ok(other) => Err(unsupported(&format!("{other:?}"))),
        Err(_) if bytes.is_empty() => Err(Refusal::new(Reason::NoImage, "the image is 0 bytes long")),
        Err(_) => Err(unsupported("of a format unknown")),
    }
}

fn unsupported(found: &str) -> Refusal {
    Refusal::new(Reason::UnsupportedFormat, format!("the image is {found}; read are JPEG, PNG, WebP and GIF"))
}

pub(super) fn corrupt(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::CorruptImage, detail)
}

/// Refuses a size by the header, before anything is allocated for it.
pub(super) fn check_size(width: u32, height: u32, settings: &Settings) -> Result<(), Refusal> {
    if width == 0 || height == 0 {
        return Err(corrupt(format!("{width} x {height} pixels")));
    }
    if width.max(height) > settings.image_side {
        let detail = format!("{width} x {height} pixels, the largest side is {}", settings.image_side);
        return Err(Refusal::new(Reason::TooManyPixels, detail));
    }
    if u64::from(width) * u64::from(height) > settings.image_pixels {
        let detail = format!("{width} x {height} pixels, the limit is {}", settings.image_pixels);
        return Err(Refusal::new(Reason::TooManyPixels, detail));
    }
    Ok(())
}

fn read_picture<D: ImageDecoder>(opened: Result<D, ImageError>, settings: &Settings) -> Result<Picture, Refusal> {
    let mut decoder = opened.map_err(|error| match error {
        // The one limit of opening, a PNG's.
        ImageError::Limits(_) => {
            let detail = format!("colour profile and texts of the PNG take more than {PNG_HEADER_BYTES} bytes");
            Refusal::new(Reason::TooLarge, detail)
        }
        other => refusal(&other),
    })?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, settings)?;
    // For what the size does not tell, such as a GIF's frame that is larger than its canvas.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(settings.image_pixels.saturating_mul(MAX_PIXEL_BYTES));
    decoder.set_limits(limits).map_err(|error| refusal(&error))?;
    // A broken EXIF block says nothing of the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|error| refusal(&error))?;
    let image = eight_bits(image).ok_or_else(|| corrupt("decoded to another size"))?;
    let whole = Whole { width, height, reduction: 1 };
    Ok(Picture { width, height, rgb: over_white(image), orientation, whole })
}

/// Of 16 bits the high ones, as Pillow takes them; by itself `image` rounds.
fn eight_bits(image: DynamicImage) -> Option<DynamicImage> {
    let (width, height) = (image.width(), image.height());
    let high = |levels: Vec<u16>| levels.into_iter().map(|level| level.to_be_bytes()[0]).collect::<Vec<_>>();
    match image {
        DynamicImage::ImageLuma16(deep) => GrayImage::from_raw(width, height, high(deep.into_raw())).map(Into::into),
        DynamicImage::ImageLumaA16(deep) => {
            GrayAlphaImage::from_raw(width, height, high(deep.into_raw())).map(Into::into)
        }
        DynamicImage::ImageRgb16(deep) => RgbImage::from_raw(width, height, high(deep.into_raw())).map(Into::into),
        DynamicImage::ImageRgba16(deep) => RgbaImage::from_raw(width, height, high(deep.into_raw())).map(Into::into),
        shallow => Some(shallow),
    }
}

fn refusal(error: &ImageError) -> Refusal {
    let reason = match error {
        ImageError::Unsupported(_) => Reason::UnsupportedFormat,
        ImageError::Limits(_) => Reason::TooManyPixels,
        _ => Reason::CorruptImage,
    };
    Refusal::new(reason, error.to_string())
}

fn over_white(image: DynamicImage) -> Vec<u8> {
    if !image.color().has_alpha() {
        return image.into_rgb8().into_raw();
    }
    let over = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        // Rounded; at most 255 by construction.
        u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    let pixels = image.into_rgba8();
    let mut rgb = Vec::with_capacity(pixels.len() / 4 * 3);
    for pixel in pixels.pixels() {
        let [red, green, blue, alpha] = pixel.0;
        rgb.extend([over(red, alpha), over(green, alpha), over(blue, alpha)]);
    }
    rgb
}

/// The centred square of side `crop x min(width, height)` of the whole picture, in pixels of the decoded and upright one.
fn square(picture: &Picture, turn: Turn, spec: &Spec) -> Region {
    let whole = picture.whole;
    let reduction = f64::from(whole.reduction);
    let (width, height) = turn.upright(f64::from(whole.width), f64::from(whole.height));
    let side = spec.crop * width.min(height);
    // What a reduced picture has beyond the whole one lies at its right and bottom, until it is turned.
    let beyond = |reduced: u32, whole: u32| f64::from(reduced) - f64::from(whole) / reduction;
    let (right, below) = turn.upright(beyond(picture.width, whole.width), beyond(picture.height, whole.height));
    let span = |length: f64, is_mirrored: bool, beyond: f64| {
        let start = (length - side) / 2.0;
        let shift = if is_mirrored { beyond } else { 0.0 };
        (start / reduction + shift, (start + side) / reduction + shift)
    };
    let ((left, right), (top, bottom)) = (span(width, turn.mirrors_x, right), span(height, turn.mirrors_y, below));
    #[expect(clippy::cast_possible_truncation, reason = "Pillow takes its boxes as 32-bit floats")]
    let region = Region { left: left as f32, top: top as f32, right: right as f32, bottom: bottom as f32 };
    region
}

#[cfg(test)]
mod tests;
