//! HTTP: the page, the API and the events, to whoever may see them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::api::{self, Fault};
use super::auth::{Guard, Refused};
use super::status::Status;
use super::store::query::Readers;
use super::{assets, events};

/// Pages that are told of changes at once; each keeps a connection.
const MOST_LISTENERS: usize = 256;
/// Nothing but this server: no other host, no inline script or style, no frame around it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What requests are answered from.
#[derive(Clone)]
pub struct Shown {
    /// The store.
    pub readers: Readers,
    /// Who may see it.
    pub guard: Arc<Guard>,
    /// How reading the topics goes.
    pub status: Arc<Status>,
    /// Revision of the store.
    pub revision: watch::Receiver<i64>,
    /// Told when the server is to end.
    pub stop: watch::Receiver<bool>,
    /// Listeners there may still be.
    pub listeners: Arc<Semaphore>,
    /// `dashboard.retention_days`.
    pub retention_days: u32,
    /// `kafka.group`.
    pub group: Arc<str>,
}

impl Shown {
    /// As many listeners as there may be.
    #[must_use]
    pub fn listeners() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MOST_LISTENERS))
    }
}

/// Everything that is served.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/api/v1/series", get(api::series))
        .route("/api/v1/tags", get(api::tags))
        .route("/api/v1/posts", get(api::posts))
        .route("/api/v1/health", get(api::health))
        .route("/api/v1/events", get(events::listen))
        .fallback(page)
        .layer(middleware::from_fn_with_state(shown.clone(), guard))
        .route("/healthz", get(healthz))
        .method_not_allowed_fallback(|| async { Fault::Method.into_response() })
        .layer(middleware::map_response(with_headers))
        .with_state(shown)
}

/// Serves until it is told to stop.
pub async fn serve(listener: TcpListener, shown: Shown) -> std::io::Result<()> {
    let mut stop = shown.stop.clone();
    let stopped = async move {
        // Fails only when whoever could tell us is gone: then it is time too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, router(shown)).with_graceful_shutdown(stopped).await
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a page of another site asks: it could not read the answer, but keep the store busy.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

async fn guard(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    if let Some(response) = log_in(&shown.guard, request.uri()) {
        return response;
    }
    let path = request.uri().path();
    if path.starts_with("/api/") && is_of_another_site(request.headers()) {
        return Fault::CrossSite.into_response();
    }
    match shown.guard.check(request.headers(), request.uri()) {
        Err(Refused::ForbiddenHost) => Fault::ForbiddenHost.into_response(),
        Err(Refused::Unauthorised) if request.uri().path().starts_with("/api/") => Fault::Unauthorised.into_response(),
        // The page's files are no secret, and it asks for the token.
        Err(Refused::Unauthorised) | Ok(()) => next.run(request).await,
    }
}

/// `/?token=TOKEN`: the browser gets a cookie, and goes on to the same address without the token. It does so by itself rather than
/// by a redirect: after a click on a link elsewhere, a redirect would not yet carry the cookie (SameSite=Strict).
fn log_in(guard: &Guard, uri: &Uri) -> Option<Response> {
    if uri.path() != "/" || !guard.has_token() {
        return None;
    }
    let parameters = || url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let (_, token) = parameters().find(|(name, _)| name == "token")?;
    if !guard.is_token(&token) {
        return Some((StatusCode::UNAUTHORIZED, "This is not the token of this dashboard.\n").into_response());
    }
    let mut rest = url::form_urlencoded::Serializer::new(String::new());
    rest.extend_pairs(parameters().filter(|(name, _)| name != "token"));
    let rest = rest.finish();
    let address = if rest.is_empty() { "/".to_owned() } else { format!("/?{rest}") };
    let cookie = HeaderValue::from_str(&guard.set_cookie()).ok()?;
    let refresh = HeaderValue::from_str(&format!("0; url={address}")).ok()?;
    let mut response = Html("<!doctype html><title>sentistream</title>").into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::REFRESH, refresh);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return Fault::Method.into_response();
    }
    assets::serve(uri.path(), &headers).unwrap_or_else(|| Fault::NotFound.into_response())
}

async fn healthz(State(shown): State<Shown>) -> Response {
    match shown.readers.read(|store| super::store::query::health::revision(store)).await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => Fault::from(error).into_response(),
    }
}
