//! Pillow's bicubic resize of a box of a picture, to the last bit: the models are trained on what Pillow makes, and an
//! int8 encoder answers to a single level of a single pixel. Libraries come close (within 2 levels), which moved scores by
//! up to 0.02; so this is the one algorithm here that is written out rather than taken from a crate.
//!
//! Two passes of an antialiased cubic (a = -0.5), weights in fixed point with 22 bits, each pass rounded to 8 bits and
//! clipped. As in Pillow 13, the pass along the columns comes first where the height shrinks more than twice as much as
//! the width. Source: Pillow's `libImaging/Resample.c`, its behaviour, checked against Pillow's own output.

use std::ops::Range;

/// Pillow's `PRECISION_BITS` for 8-bit channels.
const PRECISION_BITS: u32 = 22;
const CHANNELS: usize = 3;

/// RGB, u8 [height, width, 3].
#[derive(Debug)]
pub(super) struct Pixels<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: &'a [u8],
}

/// A box of the picture: left and top, right and bottom. Pillow's boxes are 32-bit floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

/// `region` of `source`, resized to `width` x `height`: u8 [height, width, 3].
pub(super) fn resize(source: &Pixels<'_>, region: Region, width: usize, height: usize) -> Vec<u8> {
    let across = taps(source.width, region.left, region.right, width);
    let down = taps(source.height, region.top, region.bottom, height);
    if source.height.saturating_sub(height) > 2 * source.width.saturating_sub(width) {
        let columns = reach(&across);
        let low = along_columns(source, &down, columns.clone());
        let low = Pixels { width: columns.len(), height, rgb: &low };
        return along_rows(&low, &shifted(across, columns.start), 0..height);
    }
    let rows = reach(&down);
    let narrow = along_rows(source, &across, rows.clone());
    let narrow = Pixels { width, height: rows.len(), rgb: &narrow };
    along_columns(&narrow, &shifted(down, rows.start), 0..width)
}

/// What one line of the result is made of: weights of the lines from `first` on.
#[derive(Debug)]
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "positions within a picture of at most 65535 lines; weights below 2 in magnitude, times 2^22"
)]
fn taps(available: usize, start: f32, end: f32, lines: usize) -> Vec<Taps> {
    let scale = f64::from(end - start) / lines as f64;
    let filter_scale = scale.max(1.0);
    let support = 2.0 * filter_scale;
    let line = |number: usize| {
        let centre = f64::from(start) + (number as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(available);
        let weight = |source: usize| cubic((source as f64 - centre + 0.5) / filter_scale);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| {
            let scaled = weight / sum * f64::from(1 << PRECISION_BITS);
            (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        Taps { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..lines).map(line).collect()
}

fn cubic(at: f64) -> f64 {
    const A: f64 = -0.5;
    let x = at.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The lines that any tap reads.
fn reach(taps: &[Taps]) -> Range<usize> {
    let first = taps.iter().map(|tap| tap.first).min().unwrap_or(0);
    let end = taps.iter().map(|tap| tap.first + tap.weights.len()).max().unwrap_or(0);
    first..end
}

fn shifted(taps: Vec<Taps>, by: usize) -> Vec<Taps> {
    taps.into_iter().map(|tap| Taps { first: tap.first - by, ..tap }).collect()
}

fn rounded(sum: i32) -> u8 {
    u8::try_from((sum >> PRECISION_BITS).clamp(0, 255)).unwrap_or(u8::MAX)
}

/// The pass that changes the width, for the given rows.
fn along_rows(source: &Pixels<'_>, across: &[Taps], rows: Range<usize>) -> Vec<u8> {
    let mut narrow = Vec::with_capacity(rows.len() * across.len() * CHANNELS);
    for row in source.rgb.chunks_exact(source.width * CHANNELS).skip(rows.start).take(rows.len()) {
        let (pixels, _) = row.as_chunks::<CHANNELS>();
        for tap in across {
            let mut sums = [1 << (PRECISION_BITS - 1); CHANNELS];
            for (pixel, weight) in pixels.iter().skip(tap.first).zip(&tap.weights) {
                for (sum, level) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*level) * weight;
                }
            }
            narrow.extend(sums.map(rounded));
        }
    }
    narrow
}

/// The pass that changes the height, for the given columns.
fn along_columns(source: &Pixels<'_>, down: &[Taps], columns: Range<usize>) -> Vec<u8> {
    let mut low = Vec::with_capacity(down.len() * columns.len() * CHANNELS);
    let mut sums = vec![0i32; columns.len() * CHANNELS];
    for tap in down {
        sums.fill(1 << (PRECISION_BITS - 1));
        let rows = source.rgb.chunks_exact(source.width * CHANNELS).skip(tap.first);
        for (row, weight) in rows.zip(&tap.weights) {
            for (sum, level) in sums.iter_mut().zip(row.iter().skip(columns.start * CHANNELS)) {
                *sum += i32::from(*level) * weight;
            }
        }
        low.extend(sums.iter().copied().map(rounded));
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_same_picture() {
        let rgb: Vec<u8> = (0..5 * 4 * 3).map(|value| value * 4).collect();
        let source = Pixels { width: 5, height: 4, rgb: &rgb };
        let whole = Region { left: 0.0, top: 0.0, right: 5.0, bottom: 4.0 };
        assert_eq!(resize(&source, whole, 5, 4), rgb);
    }

    #[test]
    fn a_flat_picture_stays_flat_in_either_order_of_passes() {
        for (width, height) in [(300, 90), (90, 300), (7, 7), (1, 1)] {
            let rgb = vec![201; width * height * 3];
            let source = Pixels { width, height, rgb: &rgb };
            let region = Region { left: 0.4, top: 0.3, right: 0.9, bottom: 0.8 };
            assert_eq!(resize(&source, region, 16, 8), vec![201; 16 * 8 * 3]);
        }
    }
}
