//! The texts of the metadata, through templates and tokenizer.

#![no_main]

use std::sync::LazyLock;

use sentistream_fuzz::{Decoding, text};

static DECODING: LazyLock<Decoding> = LazyLock::new(Decoding::small);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    DECODING.decode(text(input));
});
