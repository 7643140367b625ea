//! The admin port: `/metrics` for Prometheus, `/healthz` (200 while the stages make progress) and `/readyz` (200 once the
//! model is warm and the group is joined or being joined). Plain HTTP, no authentication: bind it where only your own
//! scrapers reach it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::health::Health;
use crate::metrics::Metrics;

/// More would make every scrape long and fill whatever stores it: each source has a series for every label.
const MOST_SOURCES: usize = 1000;

/// Where the port listens, and when the worker is called stalled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port`; port 0 takes a free one, which the log tells. Null: no admin port.
    pub listen: Option<SocketAddr>,
    /// How many sources of posts have series of their own; all others share one.
    pub sources: usize,
    /// `/healthz` fails when the poll loop stands still, or records are in flight and none is finished, for this long.
    pub stall_seconds: u64,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        if self.sources > MOST_SOURCES {
            return Err(format!("admin.sources is {}; set it to at most {MOST_SOURCES}", self.sources));
        }
        Ok(())
    }
}

/// What the port shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Progress and readiness.
    pub health: Arc<Health>,
    /// Everything counted.
    pub metrics: Arc<Metrics>,
}

/// Binds the port and serves it in the background; returns the address it listens on.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(listen: SocketAddr, shown: Shown) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shown);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "admin port failed");
        }
    });
    Ok(address)
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match shown.metrics.expose() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(shown): State<Shown>) -> Response {
    match shown.health.stalled() {
        None => Json(json!({"alive": true})).into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"alive": false, "why": why}))).into_response(),
    }
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let ready = shown.health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let assigned = shown.metrics.assigned_partitions.get();
    (status, Json(json!({"ready": ready, "assigned_partitions": assigned, "model": shown.health.model})))
        .into_response()
}
