//! The results of one archive in a folder, kept so that a run that is cut short goes on where it was, whatever ends it.
//!
//! `NAME.jsonl` has the results, `NAME.refused.jsonl` what could not be scored, both in the order of the posts, and
//! `NAME.progress.json` how many posts are done and how long the two files are with them. The last is replaced only when the
//! others are on the disk: what they hold beyond it is cut off when the run goes on, so that no line is lost, comes twice or
//! stays in part.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::message::{Origin, Outcome, Verdict};
use crate::result::Labelling;

/// What a crash repeats at most.
const SAVE: Duration = Duration::from_secs(1);

/// What the results are of. A run goes on only with the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    /// The path of the archive, as it was given.
    pub path: String,
    /// See [`super::archives::fingerprint`].
    pub input: String,
    /// Digest of the bundle.
    pub bundle: String,
    /// `model.effects`.
    pub effects: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    of: Subject,
    posts: i64,
    results: u64,
    refused: u64,
    results_bytes: u64,
    refused_bytes: u64,
    is_complete: bool,
}

struct Files {
    results: BufWriter<File>,
    refused: BufWriter<File>,
}

/// The files of one archive.
pub(super) struct Book {
    /// Path of the files, without what tells them apart.
    stem: PathBuf,
    progress: Progress,
    /// Open while the archive is read: there may be thousands.
    files: Option<Files>,
    saved_at: Instant,
    /// Posts that cannot be read, and that posts before them are still on their way to.
    unreadable: BTreeMap<i64, String>,
    /// How many posts there are, once that is known.
    end: Option<i64>,
}

impl Book {
    /// Looks what is there already.
    ///
    /// # Errors
    /// Results of something else, or files that do not belong together.
    pub fn open(folder: &Path, name: &str, of: &Subject) -> Result<Self> {
        let stem = folder.join(name);
        let fresh = Progress {
            of: of.clone(),
            posts: 0,
            results: 0,
            refused: 0,
            results_bytes: 0,
            refused_bytes: 0,
            is_complete: false,
        };
        let mut book = Self {
            stem,
            progress: fresh,
            files: None,
            saved_at: Instant::now(),
            unreadable: BTreeMap::new(),
            end: None,
        };
        let path = book.file("progress.json");
        match fs::read(&path) {
            Ok(kept) => {
                let kept = serde_json::from_slice(&kept);
                book.progress = kept.with_context(|| format!("{} is damaged; {}", path.display(), book.fix()))?;
                book.check(of)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(other) = [book.file("jsonl"), book.file("refused.jsonl")].iter().find(|file| file.exists())
                {
                    bail!("{} is there and no run has left it; choose another --out, or remove it", other.display());
                }
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        Ok(book)
    }

    /// Refuses to go on with what was begun with something else.
    fn check(&self, of: &Subject) -> Result<()> {
        let begun = &self.progress.of;
        let (what, was, is) = if begun.path != of.path {
            ("the path is given differently, and is part of each result_id", &begun.path, &of.path)
        } else if begun.bundle != of.bundle {
            ("the bundle is another", &begun.bundle, &of.bundle)
        } else if begun.effects != of.effects {
            ("model.effects is set differently", &begun.effects.to_string(), &of.effects.to_string())
        } else if begun.input != of.input {
            ("a file was changed, added or removed since", &begun.input, &of.input)
        } else {
            return self.check_lengths();
        };
        bail!(
            "{} was begun with something else: {what} ({was}, now {is}); {}",
            self.file("jsonl").display(),
            self.fix()
        )
    }

    fn check_lengths(&self) -> Result<()> {
        for (kind, expected) in [("jsonl", self.progress.results_bytes), ("refused.jsonl", self.progress.refused_bytes)]
        {
            let found = fs::metadata(self.file(kind)).map_or(0, |metadata| metadata.len());
            if found < expected {
                bail!("{} has lost lines that were there; {}", self.file(kind).display(), self.fix());
            }
        }
        Ok(())
    }

    fn fix(&self) -> String {
        format!("choose another --out, or remove {}.*", self.stem.display())
    }

    fn file(&self, kind: &str) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(".");
        path.push(kind);
        path.into()
    }

    /// Posts done.
    pub const fn posts(&self) -> i64 {
        self.progress.posts
    }

    /// Of those, how many have a result, and how many were refused or could not be read.
    pub const fn counts(&self) -> (u64, u64) {
        (self.progress.results, self.progress.refused)
    }

    /// Whether all posts are done.
    pub const fn is_complete(&self) -> bool {
        self.progress.is_complete
    }

    /// Posts held that cannot be read.
    pub fn held(&self) -> usize {
        self.unreadable.len()
    }

    /// The outcome of the next post that could be read.
    ///
    /// # Errors
    /// A disk that takes nothing.
    pub fn enter(&mut self, outcome: &Outcome, labelling: &Labelling) -> Result<()> {
        let origin = &outcome.record.position.origin;
        match &outcome.verdict {
            Verdict::Scored(scored) => {
                let line = serde_json::to_string(&labelling.result(scored, origin, Timestamp::now()))?;
                self.progress.results_bytes += write(&mut self.files()?.results, line)?;
                self.progress.results += 1;
            }
            Verdict::Refused { refusal, stage } => {
                let key = outcome.record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
                let (reason, detail) = (refusal.reason.as_str(), &refusal.detail);
                self.refuse(&json!({
                    "origin": place(origin), "id": key, "stage": stage.as_str(), "reason": reason, "detail": detail,
                }))?;
            }
            Verdict::Tombstone => {}
        }
        self.progress.posts = origin.offset + 1;
        self.advance()
    }

    /// A post that cannot be read; said before any outcome of a post behind it.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub fn enter_unreadable(&mut self, number: i64, why: String) -> Result<()> {
        self.unreadable.insert(number, why);
        self.advance()
    }

    /// There are no more posts than so many.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub fn end(&mut self, posts: i64) -> Result<()> {
        self.end = Some(posts);
        self.advance()
    }

    /// Makes sure of what was entered of an archive that has come to no end.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub fn keep(&mut self) -> Result<()> {
        if self.files.is_some() { self.save() } else { Ok(()) }
    }

    fn advance(&mut self) -> Result<()> {
        while let Some(why) = self.unreadable.remove(&self.progress.posts) {
            let origin =
                Origin { topic: self.progress.of.path.as_str().into(), partition: 0, offset: self.progress.posts };
            let line =
                json!({"origin": place(&origin), "id": null, "stage": "read", "reason": "unreadable", "detail": why});
            self.refuse(&line)?;
            self.progress.posts += 1;
        }
        self.progress.is_complete = self.end == Some(self.progress.posts);
        if self.progress.is_complete || self.saved_at.elapsed() >= SAVE {
            self.save()?;
        }
        if self.progress.is_complete {
            self.files = None;
        }
        Ok(())
    }

    fn refuse(&mut self, line: &serde_json::Value) -> Result<()> {
        self.progress.refused_bytes += write(&mut self.files()?.refused, line.to_string())?;
        self.progress.refused += 1;
        Ok(())
    }

    /// The files, cut to what is known to be in them.
    fn files(&mut self) -> Result<&mut Files> {
        if self.files.is_none() {
            if let Some(folder) = self.stem.parent() {
                fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            }
            // First, so that no file of results is there that nothing is known of.
            self.save_progress()?;
            let open = |kind, bytes| {
                let path = self.file(kind);
                open_at(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
            };
            let results = open("jsonl", self.progress.results_bytes)?;
            let refused = open("refused.jsonl", self.progress.refused_bytes)?;
            self.files = Some(Files { results, refused });
        }
        self.files.as_mut().context("the files were opened above")
    }

    /// Makes sure of what was entered.
    fn save(&mut self) -> Result<()> {
        let files = self.files()?;
        for file in [&mut files.results, &mut files.refused] {
            file.flush().and_then(|()| file.get_ref().sync_data()).context("cannot write results")?;
        }
        self.save_progress()?;
        self.saved_at = Instant::now();
        Ok(())
    }

    fn save_progress(&self) -> Result<()> {
        let (path, beside) = (self.file("progress.json"), self.file("progress.json.new"));
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&beside)?;
            file.write_all(&serde_json::to_vec(&self.progress)?)?;
            file.sync_data()?;
            fs::rename(&beside, &path)?;
            // The names, of the other files too.
            self.stem.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        written().with_context(|| format!("cannot write {}", path.display()))
    }
}

fn open_at(path: &Path, bytes: u64) -> std::io::Result<BufWriter<File>> {
    // What is beyond was not made sure of.
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.set_len(bytes)?;
    file.seek(SeekFrom::End(0))?;
    Ok(BufWriter::new(file))
}

/// Returns the bytes written.
fn write(file: &mut impl Write, mut line: String) -> Result<u64> {
    line.push('\n');
    file.write_all(line.as_bytes()).context("cannot write results")?;
    Ok(line.len() as u64)
}

fn place(origin: &Origin) -> serde_json::Value {
    json!({"topic": &*origin.topic, "partition": origin.partition, "offset": origin.offset})
}
