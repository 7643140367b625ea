//! Pillow's bicubic resize of a box of a picture, to the last bit: the models are trained on what Pillow makes, and an
//! int8 encoder answers to a single level of a single pixel. Libraries come close (within 2 levels), which moved scores by
//! up to 0.02; so this is the one algorithm here that is written out rather than taken from a crate.
//!
//! Two passes of an antialiased cubic (a = -0.5), weights in fixed point with 22 bits, each pass rounded to 8 bits and
//! clipped. As in Pillow 13, the pass along the columns comes first where the height shrinks more than twice as much as
//! the width. Source: Pillow's `libImaging/Resample.c`, its behaviour, checked against Pillow's own output.
//!
//! A picture is turned upright on the way: what is read is the picture as it is stored, what comes out is what Pillow makes
//! of the upright one. To turn a whole photograph first costs more than to decode it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(test)]
mod tests;

use std::ops::Range;

use image::metadata::Orientation;

/// Pillow's `PRECISION_BITS` for 8-bit channels.
const PRECISION_BITS: u32 = 22;
const HALF: i32 = 1 << (PRECISION_BITS - 1);
const CHANNELS: usize = 3;

/// RGB, u8 [height, width, 3].
#[derive(Debug)]
pub(super) struct Pixels<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: &'a [u8],
}

/// A box of the upright picture: left and top, right and bottom. Pillow's boxes are 32-bit floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

/// How the axes of the upright picture lie in the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Its x axis is the stored y axis.
    pub(super) swaps: bool,
    /// Its x axis runs against the stored axis.
    pub(super) mirrors_x: bool,
    /// Its y axis runs against the stored axis.
    pub(super) mirrors_y: bool,
}

impl Turn {
    pub(super) fn of(orientation: Orientation) -> Self {
        use Orientation::{
            FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180, Rotate270, Rotate270FlipH,
        };
        let (swaps, mirrors_x, mirrors_y) = match orientation {
            NoTransforms => (false, false, false),
            FlipHorizontal => (false, true, false),
            Rotate180 => (false, true, true),
            FlipVertical => (false, false, true),
            Rotate90FlipH => (true, false, false),
            Rotate90 => (true, true, false),
            Rotate270FlipH => (true, true, true),
            Rotate270 => (true, false, true),
        };
        Self { swaps, mirrors_x, mirrors_y }
    }

    /// Width and height of the upright picture.
    pub(super) fn upright<T>(self, width: T, height: T) -> (T, T) {
        if self.swaps { (height, width) } else { (width, height) }
    }
}

/// `region` of the upright picture, resized to `width` x `height`: u8 [height, width, 3].
pub(super) fn resize(stored: &Pixels<'_>, turn: Turn, region: Region, width: usize, height: usize) -> Vec<u8> {
    resize_by(&Passes::fastest(), stored, turn, region, width, height)
}

fn resize_by(passes: &Passes, stored: &Pixels<'_>, turn: Turn, region: Region, width: usize, height: usize) -> Vec<u8> {
    let (upright_width, upright_height) = turn.upright(stored.width, stored.height);
    let across = taps(upright_width, region.left, region.right, width, turn.mirrors_x);
    let down = taps(upright_height, region.top, region.bottom, height, turn.mirrors_y);
    let down_first = upright_height.saturating_sub(height) > 2 * upright_width.saturating_sub(width);
    if !turn.swaps {
        return both(passes, stored, across, down, down_first);
    }
    let lying = both(passes, stored, down, across, !down_first);
    let (pixels, _) = lying.as_chunks::<CHANNELS>();
    (0..height).flat_map(|row| pixels.iter().skip(row).step_by(height)).flatten().copied().collect()
}

/// Both passes, in terms of the stored picture.
fn both(passes: &Passes, stored: &Pixels<'_>, across: Taps, down: Taps, down_first: bool) -> Vec<u8> {
    if down_first {
        let columns = across.reach();
        let low = (passes.along_columns)(stored, &down, columns.clone());
        let low = Pixels { width: columns.len(), height: down.len(), rgb: &low };
        return (passes.along_rows)(&low, &across.without(columns.start), 0..down.len());
    }
    let rows = down.reach();
    let narrow = (passes.along_rows)(stored, &across, rows.clone());
    let narrow = Pixels { width: across.len(), height: rows.len(), rgb: &narrow };
    (passes.along_columns)(&narrow, &down.without(rows.start), 0..across.len())
}

type Pass = fn(&Pixels<'_>, &Taps, Range<usize>) -> Vec<u8>;

/// The two passes, as this processor does them best. All ways give the same bits.
struct Passes {
    /// Changes the width, for the given rows.
    along_rows: Pass,
    /// Changes the height, for the given columns.
    along_columns: Pass,
}

impl Passes {
    const PLAIN: Self = Self { along_rows, along_columns };

    fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(passes) = avx2::passes() {
            return passes;
        }
        Self::PLAIN
    }
}

/// What the lines of the result are made of. One list for all, since a tiny picture is resized in less time than a list
/// for every line is allocated.
#[derive(Debug)]
struct Taps {
    lines: Vec<Line>,
    /// `each` for every line, of which it uses the first few.
    weights: Vec<i32>,
    each: usize,
}

/// Of the source the lines from `first` on, `count` of them.
#[derive(Debug, Clone, Copy)]
struct Line {
    first: usize,
    count: usize,
}

impl Taps {
    /// The first source line and the weights of each line of the result.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> + Clone {
        let weights = self.weights.chunks_exact(self.each);
        self.lines
            .iter()
            .zip(weights)
            .map(|(line, weights)| (line.first, weights.get(..line.count).unwrap_or_default()))
    }

    fn len(&self) -> usize {
        self.lines.len()
    }

    /// The source lines that any line reads.
    fn reach(&self) -> Range<usize> {
        let first = self.lines.iter().map(|line| line.first).min().unwrap_or(0);
        let end = self.lines.iter().map(|line| line.first + line.count).max().unwrap_or(0);
        first..end
    }

    /// For a source without its first lines.
    fn without(mut self, leading: usize) -> Self {
        self.lines.iter_mut().for_each(|line| line.first -= leading);
        self
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "positions within a picture of at most 65535 lines; weights below 2 in magnitude, times 2^22"
)]
fn taps(available: usize, start: f32, end: f32, lines: usize, is_mirrored: bool) -> Taps {
    let scale = f64::from(end - start) / lines as f64;
    let filter_scale = scale.max(1.0);
    let support = 2.0 * filter_scale;
    let each = support.ceil() as usize * 2 + 1;
    let mut taps = Taps { lines: Vec::with_capacity(lines), weights: Vec::with_capacity(lines * each), each };
    let mut exact = Vec::with_capacity(each);
    for number in 0..lines {
        let centre = f64::from(start) + (number as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(available);
        exact.clear();
        exact.extend((first..end).map(|source| cubic((source as f64 - centre + 0.5) / filter_scale)));
        let sum: f64 = exact.iter().sum();
        let fixed = |weight: &f64| {
            let scaled = weight / sum * f64::from(1 << PRECISION_BITS);
            (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        if is_mirrored {
            taps.lines.push(Line { first: available - end, count: exact.len() });
            taps.weights.extend(exact.iter().rev().map(fixed));
        } else {
            taps.lines.push(Line { first, count: exact.len() });
            taps.weights.extend(exact.iter().map(fixed));
        }
        taps.weights.resize(taps.lines.len() * each, 0);
    }
    taps
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

fn rounded(sum: i32) -> u8 {
    u8::try_from((sum >> PRECISION_BITS).clamp(0, 255)).unwrap_or(u8::MAX)
}

fn along_rows(source: &Pixels<'_>, across: &Taps, rows: Range<usize>) -> Vec<u8> {
    let mut narrow = Vec::with_capacity(rows.len() * across.len() * CHANNELS);
    for row in source.rgb.chunks_exact(source.width * CHANNELS).skip(rows.start).take(rows.len()) {
        let (pixels, _) = row.as_chunks::<CHANNELS>();
        for (first, weights) in across.iter() {
            let mut sums = [HALF; CHANNELS];
            for (pixel, weight) in pixels.iter().skip(first).zip(weights) {
                for (sum, level) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*level) * weight;
                }
            }
            narrow.extend(sums.map(rounded));
        }
    }
    narrow
}

fn along_columns(source: &Pixels<'_>, down: &Taps, columns: Range<usize>) -> Vec<u8> {
    let mut low = Vec::with_capacity(down.len() * columns.len() * CHANNELS);
    let mut sums = vec![0; columns.len() * CHANNELS];
    for (first, weights) in down.iter() {
        sums.fill(HALF);
        let rows = source.rgb.chunks_exact(source.width * CHANNELS).skip(first);
        for (row, weight) in rows.zip(weights) {
            for (sum, level) in sums.iter_mut().zip(row.iter().skip(columns.start * CHANNELS)) {
                *sum += i32::from(*level) * weight;
            }
        }
        low.extend(sums.iter().copied().map(rounded));
    }
    low
}
