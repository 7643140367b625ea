//! Which archives `score --out` takes from the paths it is given, what their results are called, and what tells that one has
//! changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};

use crate::posts::{self, Reading, content_type};

/// What is scored by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Archive {
    /// As given, or below that: the topic of its posts' origin.
    pub path: PathBuf,
    /// What its results are called, by the folder they are in.
    pub name: String,
}

/// The archives of all paths, in the order of these and of their names.
///
/// # Errors
/// A path that holds no posts, or two archives whose results would be called the same.
pub(super) fn find(paths: &[PathBuf], reading: Reading) -> Result<Vec<Archive>> {
    let mut archives = Vec::new();
    for path in paths {
        let found = if path.is_dir() { in_folder(path, reading, true)? } else { vec![path.clone()] };
        if found.is_empty() {
            bail!("{} holds neither lists of posts nor images", path.display());
        }
        for archive in found {
            // Told now rather than when its turn comes.
            drop(posts::open(&archive, reading)?);
            archives.push(Archive { name: name(path, &archive)?, path: archive });
        }
    }
    let mut files = BTreeSet::new();
    for archive in &archives {
        if ["", ".refused"].iter().any(|kind| !files.insert(format!("{}{kind}", archive.name))) {
            bail!(
                "the results of {} and of another path would both be called {}; score them into a folder (--out) each",
                archive.path.display(),
                archive.name
            );
        }
    }
    Ok(archives)
}

/// A folder that holds lists is its lists, and those of its folders: the images there belong to them. One that lists its
/// posts, or that holds images and no list, is an archive by itself. Otherwise it is what its folders are.
fn in_folder(folder: &Path, reading: Reading, images_count: bool) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", folder.display());
    let (mut folders, mut lists, mut has_images) = (Vec::new(), Vec::new(), false);
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            folders.extend((!path.is_symlink()).then_some(path));
        } else if content_type(&path).is_some() {
            has_images = true;
        } else if is_list(&path, reading)? {
            lists.push(path);
        }
    }
    folders.sort();
    lists.sort();
    if lists.iter().any(|list| list.file_stem().is_some_and(|stem| stem == "posts")) {
        return Ok(vec![folder.to_owned()]);
    }
    if lists.is_empty() && has_images {
        return Ok(if images_count { vec![folder.to_owned()] } else { vec![] });
    }
    let images_count = images_count && lists.is_empty();
    for folder in folders {
        lists.extend(in_folder(&folder, reading, images_count)?);
    }
    Ok(lists)
}

fn is_list(path: &Path, reading: Reading) -> Result<bool> {
    match posts::open(path, reading) {
        Ok(_) => Ok(true),
        Err(posts::Error::Kind(_)) => Ok(false),
        Err(error) => Err(error).context("a list that cannot be read; name the others by themselves to leave it out"),
    }
}

/// The archive's own name, or its path below what was given.
fn name(given: &Path, archive: &Path) -> Result<String> {
    let own = archive.strip_prefix(given).ok().filter(|below| !below.as_os_str().is_empty());
    let named = match own {
        Some(below) => below.to_owned(),
        // For the likes of `.`
        None => fs::canonicalize(archive).with_context(|| format!("cannot read {}", archive.display()))?,
    };
    let named = if archive.is_dir() { named } else { named.with_extension("") };
    let named = if own.is_some() { Some(named.as_path()) } else { named.file_name().map(Path::new) };
    named.map(|name| name.to_string_lossy().into_owned()).context("give the folder by its name")
}

/// Names, sizes and times of change of everything that is read of it, as one word; of a list the images it names are not among
/// them.
pub(super) fn fingerprint(archive: &Path) -> Result<String> {
    let mut files = Vec::new();
    files_below(archive, &mut files).with_context(|| format!("cannot read {}", archive.display()))?;
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let metadata = fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let below = file.strip_prefix(archive).unwrap_or(&file);
        hasher.update(below.as_os_str().as_encoded_bytes());
        hasher.update(format!("\0{}\0{changed}\0", metadata.len()).as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn files_below(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let below = entry?.path();
        if !(below.is_dir() && below.is_symlink()) {
            files_below(&below, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posts::Encoding;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("made");
            fs::write(path, "image,caption\n").expect("written");
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let reading = Reading { encoding: Encoding::Binary, most_bytes: 100 };
        find(&[folder.to_owned()], reading).expect("found").into_iter().map(|archive| archive.name).collect()
    }

    #[test]
    fn a_folder_of_archives_is_its_lists_and_folders() {
        let lists =
            folder(&["a.csv", "images/1.jpg", "more/b.jsonl", "more/x/2.jpg", "notes.txt", "z/posts.csv", "z/3.jpg"]);
        assert_eq!(names(lists.path()), ["a", "more/b", "z"], "images beside lists are theirs");
        let folders = folder(&["2025/01/a.jpg", "2025/02/b.png", "2026.1/c.jpg", "empty/notes.txt"]);
        assert_eq!(names(folders.path()), ["2025/01", "2025/02", "2026.1"]);
    }

    #[test]
    fn a_folder_of_images_or_with_a_list_of_its_posts_is_one() {
        for files in [&["a.jpg", "below/b.jpg"][..], &["posts.csv", "other.csv", "images/1.jpg"]] {
            let folder = folder(files);
            let own = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
            assert_eq!(names(folder.path()), [own]);
        }
    }

    #[test]
    fn results_that_would_be_called_the_same_are_refused() {
        let reading = Reading { encoding: Encoding::Binary, most_bytes: 100 };
        for files in [["a.csv", "a.jsonl"], ["a.csv", "a.refused.csv"]] {
            let refused = find(&[folder(&files).path().to_owned()], reading).expect_err("refused").to_string();
            assert!(refused.contains("--out"), "{refused}");
        }
        let empty = find(&[folder(&["notes.txt"]).path().to_owned()], reading).expect_err("refused");
        assert!(empty.to_string().contains("neither"), "{empty}");
    }

    #[test]
    fn a_change_of_any_file_is_told() {
        let folder = folder(&["a/1.jpg", "a/2.jpg"]);
        let before = fingerprint(folder.path()).expect("read");
        assert_eq!(fingerprint(folder.path()).expect("read"), before);
        fs::write(folder.path().join("a/2.jpg"), "longer than it was before").expect("written");
        let changed = fingerprint(folder.path()).expect("read");
        fs::remove_file(folder.path().join("a/1.jpg")).expect("removed");
        let fewer = fingerprint(folder.path()).expect("read");
        assert!(before != changed && changed != fewer);
    }
}
