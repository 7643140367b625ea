//! `sentistream`: see `sentistream --help`.

use std::process::ExitCode;

/// Its `malloc` serves ONNX Runtime, librdkafka and libjpeg-turbo too. Why it was chosen: `docs/memory.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // ONNX Runtime as it is released tells its makers that it is used, keeps an identifier below the user's home for that, and takes
    // a no through its interface only after it has begun (seen with 1.32). This variable it heeds before.
    #[expect(unsafe_code, reason = "sound while no other thread runs, and none does yet")]
    unsafe {
        std::env::set_var("ORT_DISABLE_TELEMETRY", "1");
    }
    sentistream::cli::main()
}
