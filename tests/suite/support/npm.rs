//! What the lock file of `tests/browser` gives: the chart library that is committed, and axe, which the tests run.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use super::repository;

static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = repository("target/browser");
    std::fs::create_dir_all(&folder).expect("folder made");
    let is_same = |name: &str| {
        let read = |path: PathBuf| std::fs::read(path).ok();
        read(repository("tests/browser").join(name)) == read(folder.join(name))
    };
    let packages = folder.join("node_modules");
    // npm notes here what it has installed, once it is done.
    if packages.join(".package-lock.json").is_file() && is_same("package.json") && is_same("package-lock.json") {
        return packages;
    }
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(repository("tests/browser").join(name), folder.join(name)).expect("copied");
    }
    let installed = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder)
        .status()
        .expect("npm runs; `make test` installs it");
    assert!(installed.success(), "npm ci in {}", folder.display());
    packages
});

/// The folder of packages, installed where it is not yet.
pub fn packages() -> PathBuf {
    PACKAGES.clone()
}
