//! The two passes for processors with AVX2, that is nearly every x86-64 since 2013.
//!
//! Along rows a step multiplies four pixels of three channels with their four weights. The instruction for that takes 16-bit
//! numbers, so a weight of 24 bits is split in two: `high * 4096 + low`. The sums are the same whole numbers.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_cvtsi128_si64, _mm_packs_epi32, _mm_packus_epi16, _mm_set_epi64x,
    _mm_set1_epi32, _mm_setzero_si128, _mm_srai_epi32, _mm_unpackhi_epi64, _mm256_add_epi32,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cvtepu8_epi32, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_mullo_epi32, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_setr_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srai_epi32,
};
use std::ops::Range;

use super::{CHANNELS, HALF, PRECISION_BITS, Passes, Pixels, Taps};

/// Numbers of 32 bits in a register.
const LANES: usize = 8;
/// Bytes of a line whose sums fit into registers at once.
const BLOCK: usize = 64;
/// Rows that are resized at once.
const ROWS: usize = 4;
const SHIFT: i32 = PRECISION_BITS.cast_signed();
/// Bits of the lower part of a weight.
const LOW_BITS: i32 = 12;
/// Pixels of one step.
const STEP: usize = 4;
/// Bytes that a step reads, of which it uses 12.
const READ: usize = 16;

/// The passes, where this processor can do them.
pub(super) fn passes() -> Option<Passes> {
    #[expect(unsafe_code, reason = "called only where the processor has been seen to have AVX2")]
    is_x86_feature_detected!("avx2").then_some(Passes {
        along_rows: |source, across, rows| unsafe { along_rows(source, across, rows) },
        along_columns: |source, down, columns| unsafe { along_columns(source, down, columns) },
    })
}

/// A block of columns at a time, so that its sums stay in registers over all rows.
#[target_feature(enable = "avx2")]
fn along_columns(source: &Pixels<'_>, down: &Taps, columns: Range<usize>) -> Vec<u8> {
    let length = columns.len() * CHANNELS;
    let Some(last) = length.checked_sub(BLOCK) else { return super::along_columns(source, down, columns) };
    let stride = source.width * CHANNELS;
    let mut low = vec![0; down.len() * length];
    for ((first, weights), line) in down.iter().zip(low.chunks_exact_mut(length)) {
        let start = first * stride + columns.start * CHANNELS;
        // The last block overlaps the one before where they do not come out even.
        for from in (0..length).step_by(BLOCK).map(|from| from.min(last)) {
            let Some(block) = line.get_mut(from..).and_then(|rest| rest.first_chunk_mut()) else { continue };
            *block = block_of(source.rgb.get(start + from..).unwrap_or_default(), stride, weights);
        }
    }
    low
}

/// The sums of one block, the first of its rows at the start of `rows`.
#[target_feature(enable = "avx2")]
fn block_of(rows: &[u8], stride: usize, weights: &[i32]) -> [u8; BLOCK] {
    let mut sums = [_mm256_set1_epi32(HALF); BLOCK / LANES];
    for (row, weight) in rows.chunks(stride.max(1)).zip(weights) {
        let Some(levels) = row.first_chunk::<BLOCK>() else { continue };
        let weight = _mm256_set1_epi32(*weight);
        for (sum, levels) in sums.iter_mut().zip(levels.as_chunks::<LANES>().0) {
            let levels = _mm256_cvtepu8_epi32(_mm_set_epi64x(0, i64::from_le_bytes(*levels)));
            *sum = _mm256_add_epi32(*sum, _mm256_mullo_epi32(levels, weight));
        }
    }
    let mut block = [0; BLOCK];
    for (levels, sum) in block.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
        *levels = rounded_lanes(sum);
    }
    block
}

#[target_feature(enable = "avx2")]
fn rounded_lanes(sums: __m256i) -> [u8; LANES] {
    let levels = _mm256_srai_epi32::<SHIFT>(sums);
    let words = _mm_packs_epi32(_mm256_castsi256_si128(levels), _mm256_extracti128_si256::<1>(levels));
    _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes()
}

/// The weights of four pixels, each pair of them once for every channel.
struct Step {
    low: __m256i,
    high: __m256i,
}

/// Several rows at a time, for which weights are read once.
#[target_feature(enable = "avx2")]
fn along_rows(source: &Pixels<'_>, across: &Taps, rows: Range<usize>) -> Vec<u8> {
    let (columns, count) = (across.reach(), across.each.div_ceil(STEP));
    let steps = steps(across, count);
    let bytes = columns.start * CHANNELS..columns.end * CHANNELS;
    // Beyond its end a row is zeros as far as a step may read.
    let mut group = vec![0; ROWS * (bytes.len() + count * STEP * CHANNELS + READ)];
    let stride = group.len() / ROWS;
    let mut narrow = vec![0; rows.len() * across.len() * CHANNELS];
    let mut sources = source.rgb.chunks_exact(source.width * CHANNELS).skip(rows.start);
    for lines in narrow.chunks_mut((ROWS * across.len() * CHANNELS).max(1)) {
        for (copy, row) in group.chunks_exact_mut(stride).zip(sources.by_ref().take(ROWS)) {
            copy.iter_mut().zip(row.get(bytes.clone()).unwrap_or_default()).for_each(|(copy, level)| *copy = *level);
        }
        for (number, ((first, _), steps)) in across.iter().zip(steps.chunks_exact(count)).enumerate() {
            let levels = pixels_of(&group, stride, (first - columns.start) * CHANNELS, steps);
            for (line, level) in lines.chunks_exact_mut(across.len() * CHANNELS).zip(levels) {
                if let Some(pixel) = line.get_mut(number * CHANNELS..(number + 1) * CHANNELS) {
                    pixel.copy_from_slice(level.get(..CHANNELS).unwrap_or_default());
                }
            }
        }
    }
    narrow
}

/// One pixel of each row of a group, the fourth channel of which is nothing.
#[target_feature(enable = "avx2")]
fn pixels_of(group: &[u8], stride: usize, first: usize, steps: &[Step]) -> [[u8; 4]; ROWS] {
    let (mut low, mut high) = ([_mm256_setzero_si256(); ROWS], [_mm256_setzero_si256(); ROWS]);
    let mut at = first;
    for step in steps {
        for ((row, low), high) in (0..ROWS).zip(&mut low).zip(&mut high) {
            let Some(levels) = group.get(row * stride + at..).and_then(|rest| rest.first_chunk()) else { continue };
            let levels = pairs(levels);
            *low = _mm256_add_epi32(*low, _mm256_madd_epi16(levels, step.low));
            *high = _mm256_add_epi32(*high, _mm256_madd_epi16(levels, step.high));
        }
        at += STEP * CHANNELS;
    }
    let mut levels = [_mm_setzero_si128(); ROWS];
    for ((levels, low), high) in levels.iter_mut().zip(low).zip(high) {
        *levels = rounded(low, high);
    }
    let [one, two, three, four] = levels;
    let bytes = _mm_packus_epi16(_mm_packs_epi32(one, two), _mm_packs_epi32(three, four));
    let halves = [_mm_cvtsi128_si64(bytes), _mm_cvtsi128_si64(_mm_unpackhi_epi64(bytes, bytes))].map(i64::to_le_bytes);
    let (pixels, _) = halves.as_flattened().as_chunks();
    pixels.try_into().unwrap_or_default()
}

/// Of every line as many steps, the last of them perhaps of no weight: to branch by their number costs more.
#[target_feature(enable = "avx2")]
fn steps(across: &Taps, count: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(across.len() * count);
    let mut padded = vec![0; count * STEP];
    for (_, weights) in across.iter() {
        padded.fill(0);
        padded.iter_mut().zip(weights).for_each(|(padded, weight)| *padded = *weight);
        steps.extend(padded.as_chunks().0.iter().map(|weights| step(*weights)));
    }
    steps
}

#[target_feature(enable = "avx2")]
fn step(weights: [i32; STEP]) -> Step {
    Step {
        low: by_pairs(weights.map(|weight| weight & ((1 << LOW_BITS) - 1))),
        high: by_pairs(weights.map(|weight| weight >> LOW_BITS)),
    }
}

/// The halves are weights of at most 13 bits with their sign, so nothing is lost.
#[target_feature(enable = "avx2")]
fn by_pairs([first, second, third, fourth]: [i32; STEP]) -> __m256i {
    let pair = |one: i32, other: i32| {
        let both = i64::from(one & 0xFFFF | other << 16) & 0xFFFF_FFFF;
        both | both << 32
    };
    let (left, right) = (pair(first, second), pair(third, fourth));
    _mm256_set_epi64x(right, right, left, left)
}

/// Red, green and blue of the first two pixels, then of the next two, as 16-bit numbers.
#[target_feature(enable = "avx2")]
fn pairs(bytes: &[u8; READ]) -> __m256i {
    let (&[low, high], _) = bytes.as_chunks() else { return _mm256_setzero_si256() };
    let bytes = _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low));
    #[rustfmt::skip]
    let places = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    );
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), places)
}

/// Red, green, blue and nothing, as numbers of 32 bits.
#[target_feature(enable = "avx2")]
fn rounded(low: __m256i, high: __m256i) -> __m128i {
    let sums = _mm256_add_epi32(low, _mm256_slli_epi32::<LOW_BITS>(high));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    _mm_srai_epi32::<SHIFT>(_mm_add_epi32(sums, _mm_set1_epi32(HALF)))
}
