//! A folder, and every way out of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn below(root: &Path) -> Arc<Fetcher> {
    fetcher(&Settings { root: Some(root.to_owned()), ..settings(&[]) })
}

#[tokio::test]
async fn only_regular_files_below_the_root_are_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir_all(root.join("sub")).expect("made");
    fs::create_dir_all(folder.path().join("root-and-more")).expect("made");
    fs::write(folder.path().join("root-and-more/a.jpg"), "outside").expect("written");
    fs::write(&outside, "outside").expect("written");
    for name in ["a.jpg", "sub/b c.jpg", "größe.jpg", "100%.jpg"] {
        fs::write(root.join(name), name).expect("written");
    }
    fs::write(root.join("empty.jpg"), "").expect("written");
    fs::write(root.join("large.jpg"), vec![0; IMAGE_BYTES + 1]).expect("written");
    symlink("a.jpg", root.join("within")).expect("linked");
    symlink("../a.jpg", root.join("sub/within")).expect("linked");
    symlink(&outside, root.join("absolute")).expect("linked");
    symlink("../outside", root.join("relative")).expect("linked");
    symlink("..", root.join("up")).expect("linked");
    symlink("loop", root.join("loop")).expect("linked");
    symlink("/proc/self/root/etc/passwd", root.join("proc")).expect("linked");
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("made");

    let fetcher = below(&root);
    let url = |path: &str| format!("file://{}/{path}", root.display());
    for (path, content) in [
        ("a.jpg", "a.jpg"),
        ("sub/b%20c.jpg", "sub/b c.jpg"),
        ("gr%C3%B6%C3%9Fe.jpg", "größe.jpg"),
        ("größe.jpg", "größe.jpg"),
        ("100%25.jpg", "100%.jpg"),
        ("sub/../a.jpg", "a.jpg"),
        ("sub/%2e%2E/a.jpg", "a.jpg"),
        ("sub%2F..%2Fa.jpg", "a.jpg"),
        ("within", "a.jpg"),
        ("sub/within", "a.jpg"),
        ("a.jpg?query#fragment", "a.jpg"),
    ] {
        assert_eq!(end(&fetcher, &url(path)).await, Ok(content.as_bytes().to_vec()), "{path}");
    }
    for (path, start) in [
        ("../outside", "fetch_refused"),
        ("%2e%2e/outside", "fetch_refused"),
        ("..%2Foutside", "fetch_refused"),
        ("%2e%2e%2foutside", "fetch_refused"),
        ("sub/..%2F..%2Foutside", "fetch_refused"),
        ("../root-and-more/a.jpg", "fetch_refused"),
        ("absolute", "fetch_refused"),
        ("relative", "fetch_refused"),
        ("up/outside", "fetch_refused"),
        ("proc", "fetch_refused"),
        ("fifo", "fetch_refused"),
        ("sub", "fetch_refused"),
        ("", "fetch_refused"),
        ("a%00.jpg", "fetch_"),
        ("loop", "fetch_failed"),
        ("missing.jpg", "fetch_failed"),
        ("a.jpg/b", "fetch_failed"),
        ("empty.jpg", "no_image"),
        ("large.jpg", "too_large"),
    ] {
        refused_with(&fetcher, &url(path), start).await;
    }
    for url in [
        format!("file://{}", outside.display()),
        format!("file://evil.test{}/a.jpg", root.display()),
        format!("file:////evil.test{}/a.jpg", root.display()),
        "file:///etc/passwd".to_owned(),
        "file:///proc/self/environ".to_owned(),
        "file:etc/passwd".to_owned(),
        "file:".to_owned(),
    ] {
        refused_with(&fetcher, &url, "fetch_refused").await;
    }
    assert_eq!(end(&fetcher, &format!("file://localhost{}/a.jpg", root.display())).await, Ok(b"a.jpg".to_vec()));
}

#[tokio::test]
async fn devices_and_what_has_no_size_are_not_read() {
    let devices = below(Path::new("/dev"));
    for device in ["zero", "null", "tty", "stdin"] {
        refused_with(&devices, &format!("file:///dev/{device}"), "fetch_").await;
    }
    let told = refused_with(&devices, "file:///dev/zero", "fetch_refused").await;
    assert!(told.contains("not a regular file"), "{told}");
}

/// What is below the root may be exchanged for a link at any moment.
#[tokio::test]
async fn a_folder_that_becomes_a_link_does_not_lead_out() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("sub")).expect("made");
    fs::create_dir_all(folder.path().join("outside")).expect("made");
    fs::write(folder.path().join("outside/a.jpg"), "outside").expect("written");
    fs::write(root.join("sub/a.jpg"), "inside").expect("written");
    let fetcher = below(&root);
    let url = format!("file://{}/sub/a.jpg", root.display());
    assert_eq!(end(&fetcher, &url).await, Ok(b"inside".to_vec()));
    fs::rename(root.join("sub"), root.join("was")).expect("moved");
    symlink(folder.path().join("outside"), root.join("sub")).expect("linked");
    refused_with(&fetcher, &url, "fetch_refused").await;
}

#[test]
fn a_root_that_is_not_there_is_told_at_start() {
    let settings = Settings { root: Some("/no/such/folder".into()), ..settings(&[]) };
    let error = Fetcher::new(&settings, 1, &Metrics::new()).err().expect("refused").to_string();
    assert!(error.contains("fetch.root /no/such/folder"), "{error}");
}
