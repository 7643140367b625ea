//! The page's files, compiled in: whoever has the binary has the page.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";

/// Every file of `page/` that is served, where and as what.
macro_rules! assets {
    ($($path:literal => $file:literal, $content_type:expr;)*) => {
        &[$(Asset { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("page/", $file)) }),*]
    };
}
const ASSETS: &[Asset] = assets![
    "/" => "index.html", HTML;
];

/// The file at a path; not sent again to whoever has it.
pub fn serve(path: &str, headers: &HeaderMap) -> Option<Response> {
    let asset = ASSETS.iter().find(|asset| asset.path == path)?;
    let tag = format!("\"{}\"", &blake3::hash(asset.bytes).to_hex()[..32]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    // Asked for again each time, so that a new binary's page is seen at once.
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if known.is_some_and(|known| known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)) {
        return Some((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Some((caching, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response())
}
