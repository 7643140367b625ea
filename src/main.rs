//! `sentistream`: see `sentistream --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sentistream::cli::main()
}
