//! Secrets: texts that no log, no error and no `Debug` tells, and the files that they are read from.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

/// A text that no log tells.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The first line of a file, without what ends it.
///
/// # Errors
/// A file that cannot be read or whose first line is empty, by the `key` of the setting.
pub fn first_line(key: &str, path: &Path) -> Result<Secret, String> {
    // No text is told: what is no UTF-8 may be a secret too.
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{key} {} cannot be read: {error}; give a file that this user may read", path.display())
    })?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret(line.to_owned())),
        _ => Err(format!("the first line of {key} {} is empty; put the secret there", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_without_its_end() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, secret) in [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), (" hunter 2 \r\nmore\n", " hunter 2 ")]
        {
            std::fs::write(file.path(), text).expect("written");
            let read = first_line("a.key", file.path()).expect("a secret");
            assert_eq!(read, Secret(secret.into()));
            assert!(!format!("{read:?}").contains("hunter"));
        }
        for text in ["", "\n", "\nhunter2"] {
            std::fs::write(file.path(), text).expect("written");
            let refused = first_line("a.key", file.path()).expect_err("empty");
            assert!(refused.contains("a.key") && !refused.contains("hunter"), "{refused}");
        }
        assert!(first_line("a.key", Path::new("no-such-file")).expect_err("absent").contains("a.key no-such-file"));
    }
}
