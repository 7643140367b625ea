//! The images of a bucket, by the S3 API. Read once they are taken in the order of their keys, and only the last key is
//! remembered; followed they are listed again and again, and each is remembered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use url::Url;

use super::{Error, MOST_SEEN, Mark, Output, Place, Way, What, forget, identity, seen};
use crate::fetch;
use crate::posts::draft::{Draft, Image, content_type, id};

const PAUSE: Duration = Duration::from_secs(30);
/// Images on their way at once, each within `limits.record_bytes`.
const DOWNLOADS: usize = 8;

pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    url: String,
    prefix: Path,
}

impl Objects {
    pub(super) fn of(url: &Url) -> Result<Self, Error> {
        let shown = fetch::shown(url);
        let failed = |why: String| Error::Objects { url: shown.clone(), why };
        // Taken already when another was made before it in this process: it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bucket = url.host_str().ok_or_else(|| failed("no bucket; write s3://BUCKET/PREFIX".into()))?;
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
        let store = store.map_err(|error| failed(told(&error)))?;
        let prefix = Path::from_url_path(url.path()).map_err(|error| failed(error.to_string()))?;
        Ok(Self { store: Arc::new(store), url: shown, prefix })
    }

    fn failed(&self, why: impl Into<String>) -> Error {
        Error::Objects { url: self.url.clone(), why: why.into() }
    }

    pub(super) async fn run(&self, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
        match place {
            None if !way.follow => self.in_order(None, way, out).await,
            Some(Place::Key(key)) if !way.follow => self.in_order(Some(key), way, out).await,
            place => self.again_and_again(place, way, out).await,
        }
    }

    /// Those behind a key, in order.
    async fn in_order(&self, behind: Option<String>, way: Way, out: &Output) -> Result<(), Error> {
        let images = self.list(behind.as_deref())?;
        let mut objects = images.map_ok(|meta| self.object(meta, way)).try_buffered(DOWNLOADS);
        let mut last = behind.unwrap_or_default();
        while let Some(Object { key, what, .. }) = objects.try_next().await? {
            if key < last {
                let why = "its keys are listed in no order: give --follow, with which each image is remembered";
                return Err(self.failed(why));
            }
            last.clone_from(&key);
            out.send(what, Mark::At(Place::Key(key))).await?;
        }
        Ok(())
    }

    /// Those not seen before, at every look.
    async fn again_and_again(&self, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
        let (mut behind, place) = match place {
            Some(Place::Key(key)) => (Some(key), None),
            place => (None, place),
        };
        let mut seen = seen(place, || self.url.clone())?;
        let mut is_first = true;
        loop {
            match self.list_all().await {
                Ok(listed) => {
                    let present: HashSet<u64> = listed.iter().map(identity_of).collect();
                    // What was read in the order of keys is seen from now on.
                    if let Some(behind) = behind.take() {
                        let read = listed.iter().filter(|meta| meta.location.as_ref() <= behind.as_str());
                        seen.extend(read.map(identity_of));
                        out.send(What::Nothing, Mark::Only(seen.clone())).await?;
                    }
                    self.look(listed, &mut seen, way, out).await?;
                    if let Some(mark) = forget(&mut seen, &present) {
                        out.send(What::Nothing, mark).await?;
                    }
                    is_first = false;
                }
                Err(error) if way.follow && !is_first => out.tell(format!("{error}; it is listed again")).await?,
                Err(error) => return Err(error),
            }
            if !way.follow {
                return Ok(());
            }
            out.rest(way.pause(PAUSE)).await?;
        }
    }

    async fn look(
        &self,
        listed: Vec<ObjectMeta>,
        seen: &mut HashSet<u64>,
        way: Way,
        out: &Output,
    ) -> Result<(), Error> {
        let new = listed.into_iter().filter(|meta| !seen.contains(&identity_of(meta)));
        let new: Vec<ObjectMeta> = new.collect();
        let mut objects = stream::iter(new).map(|meta| self.object(meta, way)).buffered(DOWNLOADS);
        while let Some(object) = objects.next().await {
            match object {
                Ok(Object { identity, what, .. }) => {
                    seen.insert(identity);
                    out.send(what, Mark::Seen(identity)).await?;
                }
                // Not seen, so it is asked for again.
                Err(error) if way.follow => out.tell(error.to_string()).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn list(&self, behind: Option<&str>) -> Result<BoxStream<'static, Result<ObjectMeta, Error>>, Error> {
        let listed = match behind {
            Some(key) => {
                let key = Path::parse(key).map_err(|_| Error::State(self.url.clone()))?;
                self.store.list_with_offset(Some(&self.prefix), &key)
            }
            None => self.store.list(Some(&self.prefix)),
        };
        let url = self.url.clone();
        let failed = move |error| Error::Objects { url: url.clone(), why: told(&error) };
        let is_image = |meta: &ObjectMeta| content_type(meta.location.as_ref().as_ref()).is_some();
        Ok(listed.map_err(failed).try_filter(move |meta| std::future::ready(is_image(meta))).boxed())
    }

    async fn list_all(&self) -> Result<Vec<ObjectMeta>, Error> {
        let all: Vec<ObjectMeta> = self.list(None)?.take(MOST_SEEN + 1).try_collect().await?;
        if all.len() > MOST_SEEN { Err(Error::TooMany(self.url.clone())) } else { Ok(all) }
    }

    /// # Errors
    /// When the store is away, which says nothing of the object.
    async fn object(&self, meta: ObjectMeta, way: Way) -> Result<Object, Error> {
        let key = meta.location.to_string();
        let what = match self.download(&meta, way.reading.most_bytes).await {
            Ok(image) => {
                let relative = key.strip_prefix(self.prefix.as_ref()).unwrap_or(&key).trim_start_matches('/');
                let name = relative.rsplit_once('.').map_or(relative, |(name, _)| name);
                let content_type = content_type(key.as_ref()).unwrap_or("image/jpeg");
                match Draft::new(Image::Bytes(image, content_type), &id(name)).record(way.reading) {
                    Ok(post) => What::Post(post),
                    Err(error) => What::Unreadable(error.to_string()),
                }
            }
            Err(Undelivered::Object(why)) => What::Unreadable(format!("{}: {key}: {why}", self.url)),
            Err(Undelivered::Store(why)) => return Err(self.failed(format!("{key}: {why}"))),
        };
        Ok(Object { identity: identity_of(&meta), key, what })
    }

    async fn download(&self, meta: &ObjectMeta, most: usize) -> Result<Bytes, Undelivered> {
        let too_large =
            |bytes: u64| (bytes > most as u64).then(|| format!("it has {bytes} bytes; limits.record_bytes is {most}"));
        if let Some(why) = too_large(meta.size) {
            return Err(Undelivered::Object(why));
        }
        let found = self.store.get(&meta.location).await.map_err(|error| undelivered(&error))?;
        // It may be another one by now.
        if let Some(why) = too_large(found.meta.size) {
            return Err(Undelivered::Object(why));
        }
        found.bytes().await.map_err(|error| undelivered(&error))
    }
}

/// An image of a bucket.
struct Object {
    key: String,
    identity: u64,
    what: What,
}

/// Why an image is not there.
enum Undelivered {
    /// It is its own fault.
    Object(String),
    /// It is the store's, and may pass.
    Store(String),
}

fn undelivered(error: &object_store::Error) -> Undelivered {
    use object_store::Error as Failure;
    match error {
        Failure::NotFound { .. } | Failure::Precondition { .. } | Failure::NotImplemented { .. } => {
            Undelivered::Object(told(error))
        }
        // Who may not read it today may tomorrow: it is not behind.
        _ => Undelivered::Store(told(error)),
    }
}

/// One line, without what a server wrote at length.
fn told(error: &object_store::Error) -> String {
    const MOST: usize = 300;
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    text.char_indices().nth(MOST).map_or(text.clone(), |(at, _)| format!("{}…", text.get(..at).unwrap_or_default()))
}

fn identity_of(meta: &ObjectMeta) -> u64 {
    let modified = meta.last_modified.timestamp_micros().to_le_bytes();
    identity([meta.location.as_ref().as_bytes(), &meta.size.to_le_bytes(), &modified])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_read_is_asked_for_again() {
        let (path, source) = (String::from("a.jpg"), || "403 Forbidden".into());
        let denied = object_store::Error::PermissionDenied { path: path.clone(), source: source() };
        assert!(matches!(undelivered(&denied), Undelivered::Store(why) if why.contains("403")));
        let gone = object_store::Error::NotFound { path, source: source() };
        assert!(matches!(undelivered(&gone), Undelivered::Object(_)));
    }
}
