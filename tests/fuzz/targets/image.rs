//! The bytes of an image of any format.

#![no_main]

use std::sync::LazyLock;

use sentistream_fuzz::{Decoding, image};

static DECODING: LazyLock<Decoding> = LazyLock::new(Decoding::small);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    DECODING.decode(image(input));
});
