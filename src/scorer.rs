//! What scores posts, loaded from the settings: decoder, warm model, and what their results are called. The worker and
//! `sentistream score` build the same one.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use prometheus::IntGauge;

use crate::cache::Cache;
use crate::cores::cores;
use crate::decode::{Decoder, FieldSpec, Registry, Spec};
use crate::fetch::Fetcher;
use crate::health::ModelIdentity;
use crate::metrics::Metrics;
use crate::model::{Bundle, Model};
use crate::pipeline::Sizes;
use crate::result::Labelling;
use crate::settings::Settings;

/// Everything the pipeline is spawned with.
pub struct Scorer {
    /// Fetches images by URL, where the settings allow any.
    pub fetcher: Option<Arc<Fetcher>>,
    /// Shared by the decode threads.
    pub decoder: Arc<Decoder>,
    /// Warm, at least one; each is owned by a model thread.
    pub models: Vec<Model>,
    /// What results are called.
    pub labelling: Labelling,
    /// What runs.
    pub identity: ModelIdentity,
    /// How the stages are sized.
    pub sizes: Sizes,
}

impl Scorer {
    /// Prepares fetching, opens the bundle, checks it, loads its graphs and warms them.
    ///
    /// # Errors
    /// What of bundle, library, provider or fetching cannot be used, with the fix.
    pub fn load(settings: &Settings, metrics: &Metrics) -> Result<Self> {
        let fetcher = Fetcher::new(&settings.fetch, settings.decode.image_bytes, metrics)?.map(Arc::new);
        let registry =
            settings.decode.registry.as_ref().map(|registry| Registry::new(registry, metrics)).transpose()?;
        let registry = registry.map(Arc::new);
        let bundle = Bundle::open(&settings.model.bundle).context("cannot use the bundle (model.bundle)")?;
        let decoder =
            Decoder::new(settings.decode.clone(), spec(&bundle)).context("cannot use the bundle (model.bundle)")?;
        let cache = Cache::new(settings.model.cache_bytes, &bundle.digest);
        let decoder = decoder.with_cache(cache.clone()).with_registry(registry);
        let models = load_models(&bundle, settings, decoder.empty_text(), cache.as_ref())?;
        let identity = ModelIdentity {
            provider: settings.model.provider.to_string(),
            bundle: bundle.name.clone(),
            version: bundle.version.clone(),
            digest: bundle.digest.clone(),
        };
        tell(settings, metrics, &bundle, &identity);
        let sizes = Sizes {
            in_flight_records: settings.limits.records,
            decode_threads: if settings.decode.threads == 0 { cores() } else { settings.decode.threads },
            record_bytes: settings.limits.record_bytes,
            batch: settings.batch.clone(),
        };
        Ok(Self { fetcher, decoder: Arc::new(decoder), models, labelling: labelling(&bundle), identity, sizes })
    }
}

/// One for each session, side by side as they will run.
fn load_models(
    bundle: &Bundle,
    settings: &Settings,
    empty_text: &[u32],
    cache: Option<&Arc<Cache>>,
) -> Result<Vec<Model>> {
    let load = || {
        let mut model = Model::load(bundle, &settings.model, empty_text).context("cannot load the model")?;
        model.warm_up(settings.batch.max_posts).context("the model fails on its warm-up batch")?;
        model.use_cache(cache.cloned());
        Ok(model)
    };
    thread::scope(|scope| {
        let loading: Vec<_> = (0..settings.model.sessions()).map(|_| scope.spawn(load)).collect();
        let loaded = loading.into_iter().map(|model| model.join().unwrap_or_else(|panic| resume_unwind(panic)));
        loaded.collect()
    })
}

/// What a bundle demands of decoding.
pub fn spec(bundle: &Bundle) -> Spec {
    let fields =
        bundle.fields.iter().map(|field| FieldSpec { name: field.name.as_str().into(), parts: field.parts.clone() });
    Spec {
        width: side(bundle.image.width),
        height: side(bundle.image.height),
        crop: bundle.image.crop,
        max_tokens: bundle.max_tokens,
        fields: fields.collect(),
        tokenizer: bundle.tokenizer.clone(),
    }
}

/// A side beyond `u32` is refused by the decoder as any side that large.
fn side(pixels: usize) -> u32 {
    u32::try_from(pixels).unwrap_or(u32::MAX)
}

fn labelling(bundle: &Bundle) -> Labelling {
    Labelling {
        bundle: bundle.name.clone(),
        version: bundle.version.clone(),
        digest: bundle.digest.clone(),
        labels: bundle.labels.iter().map(|label| (label.name.clone(), label.polarity)).collect(),
        fields: bundle.fields.iter().map(|field| field.name.clone()).collect(),
    }
}

fn tell(settings: &Settings, metrics: &Metrics, bundle: &Bundle, identity: &ModelIdentity) {
    let ModelIdentity { provider, bundle: name, version, digest } = identity;
    metrics.model_info.with_label_values(&[provider, name, version, digest]).set(1);
    let set = |gauge: &IntGauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    set(&metrics.in_flight_limit_records, settings.limits.records);
    set(&metrics.in_flight_limit_bytes, settings.limits.bytes);
    set(&metrics.record_limit, settings.limits.record_bytes);
    set(&metrics.cache_limit, settings.model.cache_bytes);
    set(&metrics.batch_limit, settings.batch.max_posts);
    set(&metrics.model_sessions, settings.model.sessions());
    if let Some(reference) = &bundle.reference {
        metrics.sentiment.show_reference(&reference.labels, &reference.confidence, &reference.missing);
    }
    tracing::info!(provider, bundle = name, version, digest, licence = bundle.license, "model is warm");
}
