//! The two passes for processors with AVX2, that is nearly every x86-64 since 2013.
//!
//! Along rows a step multiplies four pixels of three channels with their four weights. The instruction for that takes 16-bit
//! numbers, so a weight of 24 bits is split in two: `high * 4096 + low`. The sums are the same whole numbers.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_packs_epi32, _mm_packus_epi16, _mm_set_epi64x,
    _mm_set1_epi32, _mm_slli_epi32, _mm_srai_epi32, _mm256_add_epi32, _mm256_broadcastsi128_si256,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_set_epi64x, _mm256_setr_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8,
};
use std::ops::Range;

use super::{CHANNELS, HALF, PRECISION_BITS, Passes, Pixels, Taps};

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

#[target_feature(enable = "avx2")]
fn along_columns(source: &Pixels<'_>, down: &[Taps], columns: Range<usize>) -> Vec<u8> {
    super::along_columns(source, down, columns)
}

/// The weights of four pixels, each pair of them once for every channel.
struct Step {
    low: __m256i,
    high: __m256i,
}

#[target_feature(enable = "avx2")]
fn along_rows(source: &Pixels<'_>, across: &[Taps], rows: Range<usize>) -> Vec<u8> {
    let steps: Vec<(usize, Vec<Step>)> = across.iter().map(|tap| (tap.first * CHANNELS, steps(tap))).collect();
    let mut narrow = vec![0; rows.len() * across.len() * CHANNELS];
    let (pixels, _) = narrow.as_chunks_mut::<CHANNELS>();
    let start = rows.start * source.width * CHANNELS;
    for (number, line) in pixels.chunks_exact_mut(across.len().max(1)).enumerate() {
        // To the end of the picture: what a step reads beyond its row counts for nothing.
        let row = source.rgb.get(start + number * source.width * CHANNELS..).unwrap_or_default();
        for (pixel, (first, steps)) in line.iter_mut().zip(&steps) {
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            let mut at = *first;
            for step in steps {
                let levels = pairs(read(row, at));
                low = _mm256_add_epi32(low, _mm256_madd_epi16(levels, step.low));
                high = _mm256_add_epi32(high, _mm256_madd_epi16(levels, step.high));
                at += STEP * CHANNELS;
            }
            *pixel = rounded(low, high);
        }
    }
    narrow
}

#[target_feature(enable = "avx2")]
fn steps(tap: &Taps) -> Vec<Step> {
    let step = |weights: &[i32]| {
        let weight = |number: usize| weights.get(number).copied().unwrap_or(0);
        let low = |number| weight(number) & ((1 << LOW_BITS) - 1);
        let high = |number| weight(number) >> LOW_BITS;
        Step { low: by_pairs([low(0), low(1), low(2), low(3)]), high: by_pairs([high(0), high(1), high(2), high(3)]) }
    };
    tap.weights.chunks(STEP).map(step).collect()
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

/// 16 bytes from `at` on, zeros where the picture ends.
#[target_feature(enable = "avx2")]
fn read(row: &[u8], at: usize) -> __m128i {
    let rest = row.get(at..).unwrap_or_default();
    let bytes = rest.first_chunk::<READ>().copied().unwrap_or_else(|| {
        let mut padded = [0; READ];
        padded.iter_mut().zip(rest).for_each(|(padded, byte)| *padded = *byte);
        padded
    });
    let [low, high] = [0, 64].map(|shift| (u128::from_le_bytes(bytes) >> shift) as u64);
    _mm_set_epi64x(high.cast_signed(), low.cast_signed())
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
    let levels = _mm_srai_epi32::<{ PRECISION_BITS.cast_signed() }>(_mm_add_epi32(sums, _mm_set1_epi32(HALF)));
    let words = _mm_packs_epi32(levels, levels);
    let [red, green, blue, _] = _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes();
    [red, green, blue]
}
