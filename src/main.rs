//! `sentistream`: see `sentistream --help`.

use std::process::ExitCode;

/// Its `malloc` serves ONNX Runtime, librdkafka and libjpeg-turbo too. Why it was chosen: `docs/memory.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sentistream::cli::main()
}
