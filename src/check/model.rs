//! What scores: fetching, the bundle, ONNX Runtime with its provider, and the graphs, which are loaded and run as a worker does.

use std::time::Instant;

use super::{Area, Report};
use crate::fetch::Fetcher;
use crate::metrics::Metrics;
use crate::model::{self, Bundle};
use crate::scorer::Scorer;
use crate::settings::Settings;

/// Looks at all of it.
pub(super) fn check(settings: &Settings, report: &Report) {
    let fetches = fetching(settings, report);
    let bundle = bundle(settings, report);
    let library = library(settings, report);
    if fetches && bundle && library {
        graphs(settings, report);
    } else {
        report.skipped(Area::Model, "provider, shapes and warm-up: what they need is not there");
    }
}

fn fetching(settings: &Settings, report: &Report) -> bool {
    match Fetcher::new(&settings.fetch, settings.decode.image_bytes, &Metrics::new()) {
        Ok(None) => report.ok(Area::Fetch, "images by URL are refused: neither fetch.hosts nor fetch.root is set"),
        Ok(Some(_)) => {
            let root = settings.fetch.root.as_ref().map(|root| format!(", and files below {}", root.display()));
            let hosts = settings.fetch.hosts.len();
            report.ok(Area::Fetch, format!("images are fetched from {hosts} host rules{}", root.unwrap_or_default()));
        }
        Err(error) => {
            let fix = "correct fetch.root or fetch.hosts, or install what is missing";
            report.error(Area::Fetch, format!("{:#}", anyhow::Error::new(error)), fix);
            return false;
        }
    }
    true
}

fn bundle(settings: &Settings, report: &Report) -> bool {
    match Bundle::open(&settings.model.bundle) {
        Ok(bundle) => {
            let Bundle { name, version, digest, license, .. } = &bundle;
            report.ok(
                Area::Bundle,
                format!("{name} {version} is whole, digest {} ({license})", digest.get(..12).unwrap_or(digest)),
            );
            true
        }
        Err(error) => {
            let path = settings.model.bundle.display();
            let fix = format!(
                "copy the whole bundle to {path} again, or name another folder by model.bundle (docs/bundle.md)"
            );
            report.error(Area::Bundle, format!("{:#}", anyhow::Error::new(error)), fix);
            false
        }
    }
}

fn library(settings: &Settings, report: &Report) -> bool {
    match model::library(&settings.model) {
        Ok(library) => {
            report.ok(Area::Model, format!("ONNX Runtime {library}"));
            true
        }
        Err(error) => {
            let fix = "name libonnxruntime.so by model.onnxruntime or ORT_DYLIB_PATH; in a checkout `make onnxruntime` fetches it";
            report.error(Area::Model, error.to_string(), fix);
            false
        }
    }
}

fn graphs(settings: &Settings, report: &Report) {
    let (provider, started) = (settings.model.provider, Instant::now());
    match Scorer::load(settings, &Metrics::new()) {
        Ok(scorer) => report.ok(
            Area::Model,
            format!(
                "{provider}: {} sessions opened and warmed with batches of {} in {:.1} s",
                scorer.models.len(),
                settings.batch.max_posts,
                started.elapsed().as_secs_f64()
            ),
        ),
        Err(error) => {
            let fix = "use a bundle that keeps docs/bundle.md (model.bundle) and a provider that this machine has (model.provider)";
            report.error(Area::Model, format!("{provider}: {error:#}"), fix);
        }
    }
}
