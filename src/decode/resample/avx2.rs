//! The two passes for processors with AVX2, that is nearly every x86-64 since 2013.
//!
//! Along rows a step multiplies four pixels of three channels with their four weights. The instruction for that takes 16-bit
//! numbers, so a weight of 24 bits is split in two: `high * 4096 + low`. The sums are the same whole numbers.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_cvtsi128_si64, _mm_packs_epi32, _mm_packus_epi16,
    _mm_set_epi64x, _mm_set1_epi32, _mm_setzero_si128, _mm_slli_epi32, _mm_srai_epi32, _mm256_add_epi32,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cvtepu8_epi32, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_mullo_epi32, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_setr_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srai_epi32,
};
use std::ops::Range;

use super::{CHANNELS, HALF, PRECISION_BITS, Passes, Pixels, Taps};

/// Numbers of 32 bits in a register.
const LANES: usize = 8;
/// Bytes of a line whose sums fit into registers at once.
const BLOCK: usize = 64;
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

#[target_feature(enable = "avx2")]
fn along_rows(source: &Pixels<'_>, across: &Taps, rows: Range<usize>) -> Vec<u8> {
    let (lines, steps) = steps(across);
    let mut narrow = vec![0; rows.len() * lines.len() * CHANNELS];
    let (pixels, _) = narrow.as_chunks_mut::<CHANNELS>();
    let mut start = rows.start * source.width * CHANNELS;
    for line in pixels.chunks_exact_mut(lines.len().max(1)) {
        let mut steps = steps.iter();
        for (pixel, (first, count)) in line.iter_mut().zip(&lines) {
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            let mut at = start + first;
            for step in steps.by_ref().take(*count) {
                // What a step reads beyond its row counts for nothing.
                let levels = pairs(read(source.rgb, at));
                low = _mm256_add_epi32(low, _mm256_madd_epi16(levels, step.low));
                high = _mm256_add_epi32(high, _mm256_madd_epi16(levels, step.high));
                at += STEP * CHANNELS;
            }
            *pixel = rounded(low, high);
        }
        start += source.width * CHANNELS;
    }
    narrow
}

/// Of each line its first byte and the number of its steps, and the steps of all lines.
#[target_feature(enable = "avx2")]
fn steps(across: &Taps) -> (Vec<(usize, usize)>, Vec<Step>) {
    let mut lines = Vec::with_capacity(across.len());
    let mut steps = Vec::with_capacity(across.len() * across.each.div_ceil(STEP));
    for (first, weights) in across.iter() {
        lines.push((first * CHANNELS, weights.len().div_ceil(STEP)));
        let (whole, rest) = weights.as_chunks::<STEP>();
        steps.extend(whole.iter().map(|weights| step(*weights)));
        if !rest.is_empty() {
            let mut weights = [0; STEP];
            weights.iter_mut().zip(rest).for_each(|(weight, rest)| *weight = *rest);
            steps.push(step(weights));
        }
    }
    (lines, steps)
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

/// The bytes from `at` on, zeros where the picture ends.
#[target_feature(enable = "avx2")]
fn read(picture: &[u8], at: usize) -> __m128i {
    let rest = picture.get(at..).unwrap_or_default();
    let bytes: [u8; READ] = rest.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; READ];
        padded.iter_mut().zip(rest).for_each(|(padded, byte)| *padded = *byte);
        padded
    });
    let (&[low, high], _) = bytes.as_chunks() else { return _mm_setzero_si128() };
    _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low))
}

/// Red, green and blue of the first two pixels, then of the next two, as 16-bit numbers.
#[target_feature(enable = "avx2")]
fn pairs(bytes: __m128i) -> __m256i {
    #[rustfmt::skip]
    let places = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    );
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), places)
}

#[target_feature(enable = "avx2")]
fn rounded(low: __m256i, high: __m256i) -> [u8; CHANNELS] {
    let folded = |sums| _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let sums = _mm_add_epi32(folded(low), _mm_slli_epi32::<LOW_BITS>(folded(high)));
    let levels = _mm_srai_epi32::<SHIFT>(_mm_add_epi32(sums, _mm_set1_epi32(HALF)));
    let words = _mm_packs_epi32(levels, levels);
    let [red, green, blue, _] = _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes();
    [red, green, blue]
}
