//! The section `model` of the configuration. Defaults come from the configuration itself.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::ModelError;
use crate::cores::cores;

/// What runs the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    Cpu,
    /// An NVIDIA card.
    Cuda,
    /// An NVIDIA card, through TensorRT where it can and CUDA where it cannot.
    TensorRt,
}

impl Provider {
    /// As it stands in settings, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }

    /// Folders under `.deps` that may hold a library with this provider, the likelier first.
    pub(super) const fn library_folders(self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &["onnxruntime"],
            Self::Cuda | Self::TensorRt => &["onnxruntime-gpu", "onnxruntime"],
        }
    }

    /// Most images of a run. A processor's caches hold the activations of a few pictures: one thread took 4.1 ms for each of 1
    /// to 8, 4.5 ms for each of 32 (int8 EfficientNet-Lite). A card wants many at once.
    pub(super) const fn images_per_run(self) -> usize {
        match self {
            Self::Cpu => 4,
            Self::Cuda | Self::TensorRt => 64,
        }
    }

    /// Most tokens of a run over all its texts, where more than one text is in it: as for images. One thread took 1.4 ms for
    /// each of 8 or 16 texts of 16 tokens, 1.8 ms for a text alone; 5.5 ms for each of 8 texts of 64, 6.3 ms for each of 64.
    pub(super) const fn tokens_per_run(self) -> usize {
        match self {
            Self::Cpu => 384,
            Self::Cuda | Self::TensorRt => 8192,
        }
    }

    /// Tokens that a text of `tokens` is padded to.
    pub(super) fn padded(self, tokens: usize, most: usize) -> usize {
        match self {
            Self::Cpu => tokens,
            Self::Cuda | Self::TensorRt => tokens.next_multiple_of(TOKENS_STEP).min(most),
        }
    }

    /// Batches that a session is given at once: a card is handed the next one while it runs, which a processor would only
    /// make up too early.
    pub(super) const fn batches_ahead(self) -> usize {
        match self {
            Self::Cpu => 1,
            Self::Cuda | Self::TensorRt => 2,
        }
    }

    /// A batch of fewer costs a processor more a post, so it is worth waiting for those that are being decoded by the same
    /// cores; a card is better busy than waiting.
    pub(super) const fn enough_posts(self) -> usize {
        match self {
            Self::Cpu => 8,
            Self::Cuda | Self::TensorRt => 1,
        }
    }

    pub(super) const fn make_target(self) -> &'static str {
        match self {
            Self::Cpu => "onnxruntime",
            Self::Cuda | Self::TensorRt => "onnxruntime-gpu",
        }
    }

    pub(super) const fn extra_libraries(self) -> &'static str {
        match self {
            Self::Cpu | Self::Cuda => " (with cuDNN 9)",
            Self::TensorRt => " (with cuDNN 9 and TensorRT 10)",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the model runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of the bundle.
    pub bundle: PathBuf,
    /// What runs the graphs; an error at start where it is not there.
    pub provider: Provider,
    /// Which card, for `cuda` and `tensorrt`.
    pub device_id: i32,
    /// Threads of one session; 0 is as many as there are cores.
    pub threads: usize,
    /// Sessions that score side by side, each a batch of its own; 0 is as many as there are cores for their threads, and
    /// one on a card.
    pub sessions: usize,
    /// Bytes of what was encoded or scored before; 0 keeps nothing.
    pub cache_bytes: usize,
    /// Whether each field's effect is told: the heads run once more for every field present.
    pub effects: bool,
    /// ONNX Runtime's library; found by itself where not given.
    pub onnxruntime: Option<PathBuf>,
}

/// A card sees texts of this many tokens, of twice as many, and so on.
const TOKENS_STEP: usize = 16;

/// A pool of more threads than this is a typing error.
const MOST_THREADS: usize = 1024;
const MOST_CACHE_BYTES: usize = 1 << 40;

impl Settings {
    /// Checks what can be checked without touching a file.
    ///
    /// # Errors
    /// Names the key and the fix.
    pub fn validate(&self) -> Result<(), ModelError> {
        let wrong = |key, problem: String| Err(ModelError::Setting { key, problem });
        if self.bundle.as_os_str().is_empty() {
            return wrong("model.bundle", "empty; name the folder of a bundle, models/default for one".into());
        }
        if self.device_id < 0 {
            return wrong("model.device_id", format!("{} is negative; cards count from 0", self.device_id));
        }
        if self.provider == Provider::Cpu && self.device_id != 0 {
            let id = self.device_id;
            return wrong(
                "model.device_id",
                format!("{id} has no meaning with model.provider cpu; set it to 0, or the provider to cuda"),
            );
        }
        for (key, number) in [("model.threads", self.threads), ("model.sessions", self.sessions)] {
            if number > MOST_THREADS {
                return wrong(key, format!("{number} is more than {MOST_THREADS}; 0 takes what suits the cores"));
            }
        }
        if self.cache_bytes > MOST_CACHE_BYTES {
            let bytes = self.cache_bytes;
            return wrong("model.cache_bytes", format!("{bytes} is more than {MOST_CACHE_BYTES}; 0 keeps nothing"));
        }
        Ok(())
    }

    /// Threads of a session.
    pub(super) fn threads(&self) -> usize {
        if self.threads == 0 { cores() } else { self.threads }
    }

    /// Sessions to open.
    pub fn sessions(&self) -> usize {
        match (self.sessions, self.provider) {
            (0, Provider::Cpu) => (cores() / self.threads()).max(1),
            (0, Provider::Cuda | Provider::TensorRt) => 1,
            (sessions, _) => sessions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).expect("settings")
    }

    #[test]
    fn contradictions_are_refused_by_key() {
        let base = "bundle = 'b'\nprovider = 'cpu'\ndevice_id = 0\nthreads = 0\nsessions = 0\ncache_bytes = 0\neffects = true\n";
        assert!(settings(base).validate().is_ok());
        for (from, to, key) in [
            ("'b'", "''", "model.bundle"),
            ("device_id = 0", "device_id = 1", "model.device_id"),
            ("device_id = 0", "device_id = -1", "model.device_id"),
            ("threads = 0", "threads = 4096", "model.threads"),
            ("sessions = 0", "sessions = 4096", "model.sessions"),
            ("cache_bytes = 0", "cache_bytes = 1099511627777", "model.cache_bytes"),
        ] {
            let error = settings(&base.replace(from, to)).validate().expect_err(to).to_string();
            assert!(error.starts_with(key), "{to}: {error}");
        }
    }

    #[test]
    fn providers_are_read_as_they_are_told() {
        for provider in [Provider::Cpu, Provider::Cuda, Provider::TensorRt] {
            let text = format!(
                "bundle = 'b'\nprovider = '{provider}'\ndevice_id = 0\nthreads = 1\nsessions = 0\ncache_bytes = 0\neffects = true\n"
            );
            assert_eq!(settings(&text).provider, provider);
        }
        assert!(
            toml::from_str::<Settings>(
                "bundle = 'b'\nprovider = 'cpu'\ndevice_id = 0\nthreads = 1\nsessions = 0\ncache_bytes = 0\neffects = true\nextra = 1"
            )
            .is_err()
        );
    }
}
