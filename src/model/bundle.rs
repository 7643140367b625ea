//! The manifest of a bundle: `bundle.toml`, with every promise of `docs/bundle.md` that can be checked without running a
//! graph. A [`Bundle`] that opened is complete and untampered: every file it needs is there and has the listed SHA-256.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::reference::Reference;

const MANIFEST: &str = "bundle.toml";
const TOKENIZER: &str = "tokenizer.json";
/// Every bundle has these, and `tagger.onnx` where it has a `[tagger]`.
const REQUIRED: [&str; 5] = ["image_encoder.onnx", "text_encoder.onnx", "relevance.onnx", "fusion.onnx", TOKENIZER];
pub(super) const TAGGER: &str = "tagger.onnx";
/// What results and `query` call the image itself.
const IMAGE: &str = "image";
const MOST_FIELDS: usize = 16;
/// A picture of this side has 50 million bytes; a larger one is a typing error.
const LONGEST_SIDE: usize = 4096;
const MOST_TOKENS: usize = 8192;

/// Why a bundle is refused. Messages name the file or key, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; model.bundle must name a folder with a bundle.toml and the files it lists")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The manifest is not TOML of the right form.
    #[error("{path} is not a bundle manifest: {source}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line, key and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A key's value breaks the contract.
    #[error("bundle.toml: {key}: {problem}")]
    Key {
        /// The key.
        key: String,
        /// What was found and what is expected.
        problem: String,
    },
    /// A file is not what the manifest lists.
    #[error("bundle file {file} has SHA-256 {found}, bundle.toml lists {listed}; fetch or export the bundle again")]
    Tampered {
        /// The file.
        file: String,
        /// The sum in the manifest.
        listed: String,
        /// The sum of the file.
        found: String,
    },
}

/// Precision of the encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// Statically quantised 8-bit integers.
    Int8,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// How good it is, in [-1, 1].
    pub polarity: f64,
}

/// A metadata field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Templates its text is made of.
    pub parts: Vec<String>,
    /// Where the field comes from when a post brings nothing for it.
    pub inferred_by: Option<InferredBy>,
}

/// What may stand in for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InferredBy {
    /// The bundle's tagger, which reads the image.
    Tagger,
}

/// Size of the pictures and the part of the original they show.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Side of the centred square, as a part of the shorter side of the original.
    pub crop: f64,
    /// For the record: the graph normalises.
    pub mean: [f64; 3],
    /// For the record: the graph normalises.
    pub std: [f64; 3],
}

/// What the tagger's scores mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagger {
    /// A tag scored below this is not told.
    pub threshold: f32,
    /// The most tags told.
    pub max_tags: usize,
    /// Names, in the order of `tag_scores`.
    pub tags: Vec<String>,
}

/// A checked bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its folder.
    pub dir: PathBuf,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What its weights may be used for.
    pub license: String,
    /// Of the encoders.
    pub precision: Precision,
    /// SHA-256 of `bundle.toml`, in hexadecimal: it pins every other file.
    pub digest: String,
    /// In the order of `probabilities`.
    pub labels: Vec<Label>,
    /// In the order of `field_embedding`.
    pub fields: Vec<Field>,
    /// The place among the fields of the one that is the query; `None` where the image is.
    pub query: Option<usize>,
    /// Preprocessing of pictures.
    pub image: Image,
    /// Longer texts are cut.
    pub max_tokens: usize,
    /// Path of `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Where the bundle has one.
    pub tagger: Option<Tagger>,
    /// What drift is measured against, where the bundle tells it.
    pub reference: Option<Reference>,
}

/// `bundle.toml` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    name: String,
    version: String,
    license: String,
    precision: Precision,
    #[serde(default = "image")]
    query: String,
    labels: Vec<Label>,
    image: Image,
    text: TextSection,
    fields: Vec<Field>,
    tagger: Option<TaggerSection>,
    reference: Option<Reference>,
    files: BTreeMap<String, String>,
}

fn image() -> String {
    IMAGE.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextSection {
    max_tokens: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaggerSection {
    threshold: f32,
    max_tags: usize,
    tags_file: String,
}

impl Bundle {
    /// Reads and checks the bundle in a folder, reading every listed file once for its SHA-256.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        let path = dir.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(|source| BundleError::Read { path: path.clone(), source })?;
        let manifest: Manifest =
            toml::from_str(&text).map_err(|source| BundleError::Manifest { path, source: Box::new(source) })?;
        manifest.check()?;
        for (file, listed) in &manifest.files {
            verify(dir, file, listed)?;
        }
        let tagger = manifest.tagger.map(|section| section.read(dir)).transpose()?;
        Ok(Self {
            dir: dir.to_path_buf(),
            name: manifest.name,
            version: manifest.version,
            license: manifest.license,
            precision: manifest.precision,
            digest: hex::encode(Sha256::digest(text.as_bytes())),
            labels: manifest.labels,
            query: manifest.fields.iter().position(|field| field.name == manifest.query),
            fields: manifest.fields,
            image: manifest.image,
            max_tokens: manifest.text.max_tokens,
            tokenizer: dir.join(TOKENIZER),
            tagger,
            reference: manifest.reference,
        })
    }

    /// The place among the fields of the one that the tagger stands in for.
    pub(super) fn inferred_field(&self) -> Option<usize> {
        self.fields.iter().position(|field| field.inferred_by.is_some())
    }
}

impl Manifest {
    fn check(&self) -> Result<(), BundleError> {
        require(self.format == 1, "format", || format!("found {}, this worker reads 1", self.format))?;
        for (key, value) in [("name", &self.name), ("version", &self.version), ("license", &self.license)] {
            require(!value.trim().is_empty(), key, || "empty".into())?;
        }
        self.check_labels()?;
        self.check_sizes()?;
        self.check_fields()?;
        self.check_tagger()?;
        self.check_reference()?;
        self.check_files()
    }

    fn check_labels(&self) -> Result<(), BundleError> {
        require(!self.labels.is_empty(), "labels", || "none; give at least one [[labels]]".into())?;
        require_unique("labels", self.labels.iter().map(|label| label.name.as_str()))?;
        for label in &self.labels {
            require((-1.0..=1.0).contains(&label.polarity), "labels.polarity", || {
                format!("{} of label {:?} is not in [-1, 1]", label.polarity, label.name)
            })?;
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), BundleError> {
        let Image { width, height, crop, mean, std } = self.image;
        for (key, found, most) in [
            ("image.width", width, LONGEST_SIDE),
            ("image.height", height, LONGEST_SIDE),
            ("text.max_tokens", self.text.max_tokens, MOST_TOKENS),
        ] {
            require((1..=most).contains(&found), key, || format!("{found} is not in 1..={most}"))?;
        }
        require(crop > 0.0 && crop <= 1.0, "image.crop", || format!("{crop} is not in (0, 1]"))?;
        let told = mean.iter().chain(&std).all(|number| number.is_finite());
        require(told, "image.mean, image.std", || "not finite".into())
    }

    fn check_fields(&self) -> Result<(), BundleError> {
        let count = self.fields.len();
        require((1..=MOST_FIELDS).contains(&count), "fields", || format!("{count} fields, not 1 to {MOST_FIELDS}"))?;
        require_unique("fields", self.fields.iter().map(|field| field.name.as_str()))?;
        for Field { name, parts, .. } in &self.fields {
            require(name != IMAGE, "fields.name", || "\"image\" is what results call the image itself".into())?;
            let empty = parts.is_empty() || parts.iter().any(|part| part.trim().is_empty());
            require(!empty, "fields.parts", || format!("field {name:?} has none, or an empty one"))?;
        }
        let is_known = self.query == IMAGE || self.fields.iter().any(|field| field.name == self.query);
        require(is_known, "query", || {
            let names: Vec<_> = self.fields.iter().map(|field| format!("{:?}", field.name)).collect();
            format!("{:?} is no field; set it to {IMAGE:?} or one of {}", self.query, names.join(", "))
        })
    }

    fn check_tagger(&self) -> Result<(), BundleError> {
        let inferred = self.fields.iter().filter(|field| field.inferred_by.is_some()).count();
        require(inferred <= 1, "fields.inferred_by", || format!("{inferred} fields, one at most"))?;
        let Some(tagger) = &self.tagger else {
            return require(inferred == 0, "fields.inferred_by", || "\"tagger\" needs a [tagger] section".into());
        };
        require(inferred == 1, "tagger", || "no field has inferred_by = \"tagger\"".into())?;
        let threshold = tagger.threshold;
        require(threshold > 0.0 && threshold <= 1.0, "tagger.threshold", || format!("{threshold} is not in (0, 1]"))?;
        require(tagger.max_tags > 0, "tagger.max_tags", || "0; without a tag there is nothing to infer".into())
    }

    fn check_reference(&self) -> Result<(), BundleError> {
        let Some(reference) = &self.reference else { return Ok(()) };
        let labels: Vec<_> = self.labels.iter().map(|label| label.name.as_str()).collect();
        let fields: Vec<_> = self.fields.iter().map(|field| field.name.as_str()).collect();
        let broken = |(key, problem): (&str, String)| BundleError::Key { key: key.into(), problem };
        reference.check(&labels, &fields).map_err(broken)
    }

    fn check_files(&self) -> Result<(), BundleError> {
        for file in self.files.keys().chain(self.tagger.iter().map(|tagger| &tagger.tags_file)) {
            let plain = Path::new(file).file_name().is_some_and(|name| name == file.as_str()) && !file.contains('\\');
            require(plain && file != MANIFEST, "files", || {
                format!("{file:?} is not the plain name of a file beside bundle.toml")
            })?;
        }
        let tagger = self.tagger.iter().flat_map(|tagger| [TAGGER, &tagger.tags_file]);
        for file in REQUIRED.into_iter().chain(tagger) {
            require(self.files.contains_key(file), "files", || format!("{file} is required and not listed"))?;
        }
        Ok(())
    }
}

impl TaggerSection {
    fn read(self, dir: &Path) -> Result<Tagger, BundleError> {
        let path = dir.join(&self.tags_file);
        let text = fs::read_to_string(&path).map_err(|source| BundleError::Read { path, source })?;
        let tags: Vec<String> = text.lines().map(str::to_owned).collect();
        let named = !tags.is_empty() && tags.iter().all(|tag| !tag.trim().is_empty());
        require(named, "tagger.tags_file", || format!("{} has no tags, or an empty line", self.tags_file))?;
        Ok(Tagger { threshold: self.threshold, max_tags: self.max_tags, tags })
    }
}

fn require(kept: bool, key: &str, problem: impl FnOnce() -> String) -> Result<(), BundleError> {
    if kept { Ok(()) } else { Err(BundleError::Key { key: key.into(), problem: problem() }) }
}

fn require_unique<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Result<(), BundleError> {
    let mut seen = HashSet::new();
    for name in names {
        require(!name.trim().is_empty(), key, || "a name is empty".into())?;
        require(seen.insert(name), key, || format!("{name:?} is there twice"))?;
    }
    Ok(())
}

fn verify(dir: &Path, file: &str, listed: &str) -> Result<(), BundleError> {
    let path = dir.join(file);
    let found = sum(&path).map_err(|source| BundleError::Read { path, source })?;
    if found.eq_ignore_ascii_case(listed) {
        return Ok(());
    }
    Err(BundleError::Tampered { file: file.into(), listed: listed.into(), found })
}

fn sum(path: &Path) -> io::Result<String> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut hasher = Sha256::new();
    loop {
        let part = file.fill_buf()?;
        if part.is_empty() {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(part);
        let read = part.len();
        file.consume(read);
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
