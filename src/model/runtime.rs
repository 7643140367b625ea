//! ONNX Runtime, found and loaded once per process. The library is no part of the binary: it is looked for in the places
//! [`candidates`] lists, and what cannot be found or loaded is an error that says where it was looked for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::{ModelError, Provider, Settings};

const LIBRARY: &str = "libonnxruntime.so";
const VARIABLE: &str = "ORT_DYLIB_PATH";

struct Loaded {
    path: PathBuf,
    environment: Environment,
}

/// Read while ONNX Runtime works; see [`rest`].
static AT_WORK: RwLock<()> = RwLock::new(());

/// Held around whatever calls into the library for more than a moment.
pub(super) fn at_work() -> RwLockReadGuard<'static, ()> {
    AT_WORK.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no graph runs, and lets none run again. To be called before the process ends: an exit tears the library
/// down, under the feet of whatever thread is in it.
pub fn rest() {
    std::mem::forget(AT_WORK.write());
}

// ONNX Runtime allows one environment in the life of a process, so it is never dropped. A load that failed may be tried again.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// The process's environment, loading the library on the first call.
pub(super) fn environment(settings: &Settings) -> Result<Environment, ModelError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Loaded { path, environment }) = &*loaded {
        return reuse(path, environment, settings);
    }
    let path = find(settings)?;
    let environment = load(&path)?;
    *loaded = Some(Loaded { path, environment: environment.clone() });
    Ok(environment)
}

/// Loads the library and tells where it was found and what it says of its build.
///
/// # Errors
/// Where there is none that can be used.
pub fn library(settings: &Settings) -> Result<String, ModelError> {
    environment(settings)?;
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let path = loaded.as_ref().map(|loaded| loaded.path.display().to_string()).unwrap_or_default();
    Ok(format!("{path} ({})", ort::info()))
}

fn reuse(path: &Path, environment: &Environment, settings: &Settings) -> Result<Environment, ModelError> {
    match settings.onnxruntime.as_deref().map(absolute) {
        Some(other) if other != path => Err(ModelError::Library(format!(
            "model.onnxruntime names {}, but this process has loaded {}; one process, one library",
            other.display(),
            path.display()
        ))),
        _ => Ok(environment.clone()),
    }
}

fn find(settings: &Settings) -> Result<PathBuf, ModelError> {
    if let Some(path) = &settings.onnxruntime {
        return existing(absolute(path), "model.onnxruntime");
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return existing(absolute(Path::new(&path)), VARIABLE);
    }
    let executable = std::env::current_exe().ok();
    let current = std::env::current_dir().ok();
    let looked = candidates(settings.provider, executable.as_deref(), current.as_deref());
    looked.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let places: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
        ModelError::Library(format!(
            "ONNX Runtime was not found; run `make {}`, or set {VARIABLE} or model.onnxruntime to {LIBRARY}. Looked for: {}",
            settings.provider.make_target(),
            places.join(", ")
        ))
    })
}

/// Where a path was asked for by name, another library is no answer.
fn existing(path: PathBuf, asked_by: &str) -> Result<PathBuf, ModelError> {
    if path.is_file() {
        return Ok(path);
    }
    Err(ModelError::Library(format!(
        "{asked_by} names {}, which is no file; name {LIBRARY} (`make onnxruntime` fetches one) or unset it",
        path.display()
    )))
}

/// Beside the executable, in `../lib` (an installation), then what `make` put under `.deps` of the current folder or of a
/// folder above the executable (a checkout).
fn candidates(provider: Provider, executable: Option<&Path>, current: Option<&Path>) -> Vec<PathBuf> {
    let folder = executable.and_then(Path::parent);
    let installed = folder.into_iter().flat_map(|folder| {
        [Some(folder.join(LIBRARY)), folder.parent().map(|above| above.join("lib").join(LIBRARY))].into_iter().flatten()
    });
    let roots = current.into_iter().chain(folder.into_iter().flat_map(Path::ancestors));
    let fetched = roots.flat_map(|root| {
        provider.library_folders().iter().map(move |name| root.join(".deps").join(name).join(LIBRARY))
    });
    let mut found: Vec<PathBuf> = Vec::new();
    for path in installed.chain(fetched) {
        if !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

fn load(path: &Path) -> Result<Environment, ModelError> {
    let failed = |reason: String| {
        ModelError::Library(format!(
            "ONNX Runtime at {} cannot be used: {reason}; run `make onnxruntime`, or set {VARIABLE} to version 1.{} or later",
            path.display(),
            ort::MINOR_VERSION
        ))
    };
    let builder = ort::init_from(path).map_err(|error| failed(error.to_string()))?;
    let environment = builder
        .with_name("sentistream")
        .with_telemetry(false)
        .with_logger(Arc::new(forward))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    // With a logger of one's own the environment starts at the most verbose level.
    environment.set_log_level(LogLevel::Warning);
    tracing::info!(path = %path.display(), build = ort::info(), "loaded ONNX Runtime");
    Ok(environment)
}

fn forward(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => tracing::debug!(target: "onnxruntime", location, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "onnxruntime", location, "{message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "onnxruntime", location, "{message}"),
    }
}

/// The loader resolves a relative path against the executable's folder; people mean the current one.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(provider: Provider, executable: &str, current: &str) -> Vec<String> {
        let paths = candidates(provider, Some(Path::new(executable)), Some(Path::new(current)));
        paths.iter().map(|path| path.to_str().expect("plain").trim_end_matches(LIBRARY).to_owned()).collect()
    }

    #[test]
    fn an_installation_is_looked_at_before_a_checkout() {
        let found = listed(Provider::Cpu, "/p/target/release/run", "/home");
        assert_eq!(
            found,
            [
                "/p/target/release/",
                "/p/target/lib/",
                "/home/.deps/onnxruntime/",
                "/p/target/release/.deps/onnxruntime/",
                "/p/target/.deps/onnxruntime/",
                "/p/.deps/onnxruntime/",
                "/.deps/onnxruntime/"
            ]
        );
    }

    #[test]
    fn a_gpu_provider_prefers_the_gpu_library_of_each_folder() {
        let found = listed(Provider::TensorRt, "/p/run", "/p");
        assert_eq!(found[2..4], ["/p/.deps/onnxruntime-gpu/", "/p/.deps/onnxruntime/"]);
    }

    #[test]
    fn a_missing_or_foreign_library_is_an_error_that_names_it() {
        let missing = existing(PathBuf::from("/nowhere/libonnxruntime.so"), "model.onnxruntime").expect_err("missing");
        assert!(missing.to_string().contains("model.onnxruntime names /nowhere/libonnxruntime.so"), "{missing}");
        let folder = tempfile::tempdir().expect("folder");
        let text = folder.path().join(LIBRARY);
        std::fs::write(&text, "no library").expect("written");
        let foreign = load(&text).expect_err("not loaded").to_string();
        assert!(foreign.contains("cannot be used") && foreign.contains("make onnxruntime"), "{foreign}");
    }
}
