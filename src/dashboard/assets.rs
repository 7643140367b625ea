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
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Every file of `page/` that is served, where and as what.
macro_rules! assets {
    ($($path:literal => $file:literal, $content_type:expr;)*) => {
        &[$(Asset { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("page/", $file)) }),*]
    };
}
const ASSETS: &[Asset] = assets![
    "/api.js" => "api.js", JS;
    "/app.css" => "app.css", CSS;
    "/app.js" => "app.js", JS;
    "/asking.js" => "asking.js", JS;
    "/chart.js" => "chart.js", JS;
    "/charts.js" => "charts.js", JS;
    "/colours.js" => "colours.js", JS;
    "/deck.js" => "deck.js", JS;
    "/dom.js" => "dom.js", JS;
    "/filters.js" => "filters.js", JS;
    "/format.js" => "format.js", JS;
    "/health.js" => "health.js", JS;
    "/icon.svg" => "icon.svg", "image/svg+xml";
    "/" => "index.html", HTML;
    "/lists.js" => "lists.js", JS;
    "/posts.js" => "posts.js", JS;
    "/summary.js" => "summary.js", JS;
    "/theme.js" => "theme.js", JS;
    "/url.js" => "url.js", JS;
    "/vendor/uPlot.iife.min.js" => "vendor/uPlot.iife.min.js", JS;
    "/vendor/uPlot.min.css" => "vendor/uPlot.min.css", CSS;
    "/vendor/uPlot.LICENSE" => "vendor/uPlot.LICENSE", TEXT;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/page");
        let names = |folder: &str| -> Vec<String> {
            let entries = std::fs::read_dir(page.join(folder)).expect("a folder").map(|entry| entry.expect("readable"));
            let files = entries.filter(|entry| entry.path().is_file());
            files
                .map(|entry| format!("/{folder}{}", entry.file_name().to_string_lossy()).replace("/index.html", "/"))
                .collect()
        };
        let present: BTreeSet<String> = names("").into_iter().chain(names("vendor/")).collect();
        assert_eq!(present, ASSETS.iter().map(|asset| asset.path.to_owned()).collect());
    }
}
