//! The chart library is committed as built: it is what the lock file names, byte for byte.

use crate::support::{npm, repository};

#[test]
#[ignore = "needs npm: make test"]
fn the_committed_chart_library_is_the_one_of_the_lock_file() {
    let package = npm::packages().join("uplot");
    for (committed, released) in [
        ("uPlot.iife.min.js", "dist/uPlot.iife.min.js"),
        ("uPlot.min.css", "dist/uPlot.min.css"),
        ("uPlot.LICENSE", "LICENSE"),
    ] {
        let read = |path: std::path::PathBuf| {
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let committed = repository("src/dashboard/page/vendor").join(committed);
        assert!(read(committed.clone()) == read(package.join(released)), "{} is not {released}", committed.display());
    }
}
