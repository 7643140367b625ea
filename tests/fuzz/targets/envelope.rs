//! A whole record: headers and value.

#![no_main]

use std::sync::LazyLock;

use sentistream_fuzz::{Decoding, envelope};

static DECODING: LazyLock<Decoding> = LazyLock::new(Decoding::small);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    DECODING.decode(envelope(input));
});
