//! The API's parameters, answers and errors (`docs/dashboard.md`).

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;

use super::csv;
use super::serve::Shown;
use super::store::query::posts::Cursor;
use super::store::query::{Filter, Unanswered, health as stored, posts as page, series as lines, tags as top};
use super::store::range::{self, Range};
use super::store::write::Clock;

/// Sources that one request may name.
const MOST_SOURCES: usize = 100;
const MOST_LIMIT: usize = 200;

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// A time, a range, or a parameter: code and detail.
    Bad(&'static str, String),
    /// No token.
    Unauthorised,
    /// A name that is not served.
    ForbiddenHost,
    /// A page of another site asks.
    CrossSite,
    /// No such path.
    NotFound,
    /// Everything is read with GET.
    Method,
    /// Too much at once.
    Busy(&'static str),
    /// The store cannot be read.
    Store(String),
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, code, detail) = match self {
            Self::Bad(code, detail) => (StatusCode::BAD_REQUEST, code, detail),
            Self::Unauthorised => {
                (StatusCode::UNAUTHORIZED, "unauthorised", "bring the token: Authorization: Bearer TOKEN".to_owned())
            }
            Self::ForbiddenHost => (
                StatusCode::FORBIDDEN,
                "forbidden_host",
                "this name is not served: ask for localhost, list the name in dashboard.hosts, or set a token"
                    .to_owned(),
            ),
            Self::CrossSite => {
                (StatusCode::FORBIDDEN, "cross_site", "pages of other sites are not answered".to_owned())
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is nothing here".to_owned()),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET is answered".to_owned()),
            Self::Busy(why) => (StatusCode::SERVICE_UNAVAILABLE, "busy", why.to_owned()),
            Self::Store(why) => (StatusCode::SERVICE_UNAVAILABLE, "store_failed", why),
        };
        (status, Json(json!({"error": {"code": code, "detail": detail}}))).into_response()
    }
}

impl From<Unanswered> for Fault {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Busy(why) => Self::Busy(why),
            Unanswered::Store(error) => Self::Store(error.to_string()),
        }
    }
}

impl From<range::Fault> for Fault {
    fn from(fault: range::Fault) -> Self {
        match fault {
            range::Fault::Time(detail) => Self::Bad("bad_time", detail),
            range::Fault::Range(detail) => Self::Bad("bad_range", detail),
        }
    }
}

fn bad(detail: impl Into<String>) -> Fault {
    Fault::Bad("bad_parameter", detail.into())
}

/// Name and value of each parameter.
type Pairs = Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;

/// What a request asks for.
#[derive(Debug, Default)]
struct Asked {
    from: Option<String>,
    to: Option<String>,
    filter: Filter,
    limit: Option<usize>,
    after: Option<Cursor>,
    csv: bool,
}

impl Asked {
    /// Parameters that do not apply to what is asked are let pass, so that one set of filters does for all; unknown ones are not.
    fn read(pairs: Pairs) -> Result<Self, Fault> {
        let Query(pairs) = pairs.map_err(|error| bad(error.to_string()))?;
        let mut asked = Self::default();
        let mut seen = std::collections::HashSet::new();
        for (name, value) in pairs {
            if name != "source" && !seen.insert(name.clone()) {
                return Err(bad(format!("{name} is given twice")));
            }
            match name.as_str() {
                "from" => asked.from = Some(value),
                "to" => asked.to = Some(value),
                "source" => asked.filter.sources.push(value),
                "tag" => asked.filter.tag = Some(value),
                "label" => asked.filter.label = Some(value),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MOST_LIMIT).contains(limit));
                    asked.limit = Some(limit.ok_or_else(|| bad(format!("limit is a number from 1 to {MOST_LIMIT}")))?);
                }
                "after" => {
                    let after = Cursor::parse(&value);
                    asked.after = Some(after.ok_or_else(|| bad("after is what the page before told as next"))?);
                }
                "format" => {
                    asked.csv = match value.as_str() {
                        "json" => false,
                        "csv" => true,
                        _ => return Err(bad("format is json or csv")),
                    };
                }
                _ => return Err(bad(format!("there is no parameter {name:?}"))),
            }
        }
        if asked.filter.sources.len() > MOST_SOURCES {
            return Err(bad(format!("at most {MOST_SOURCES} sources are named")));
        }
        Ok(asked)
    }

    fn range(&self, now: i64, retention_days: u32) -> Result<Range, Fault> {
        let Clock { now, horizon } = Clock::at(now, retention_days);
        Ok(Range::read(self.from.as_deref(), self.to.as_deref(), now, horizon)?)
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// What the API gives may be a post's own words: it is kept nowhere but where it is shown.
fn answer(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// `GET /api/v1/series`.
pub async fn series(State(shown): State<Shown>, pairs: Pairs) -> Result<Response, Fault> {
    let asked = Asked::read(pairs)?;
    let range = asked.range(now(), shown.retention_days)?;
    let series = shown.readers.read(move |store| lines::read(store, range, &asked.filter)).await?;
    Ok(if asked.csv { csv::answer("series", csv::series(&series)) } else { answer(Json(series)) })
}

/// `GET /api/v1/tags`.
pub async fn tags(State(shown): State<Shown>, pairs: Pairs) -> Result<Response, Fault> {
    let asked = Asked::read(pairs)?;
    let (range, limit) = (asked.range(now(), shown.retention_days)?, asked.limit.unwrap_or(10));
    let tags = shown.readers.read(move |store| top::read(store, range, &asked.filter, limit)).await?;
    Ok(if asked.csv { csv::answer("tags", csv::tags(&tags)) } else { answer(Json(tags)) })
}

/// `GET /api/v1/posts`.
pub async fn posts(State(shown): State<Shown>, pairs: Pairs) -> Result<Response, Fault> {
    let asked = Asked::read(pairs)?;
    let (range, limit) = (asked.range(now(), shown.retention_days)?, asked.limit.unwrap_or(50));
    let posts = shown.readers.read(move |store| page::read(store, range, &asked.filter, limit, asked.after)).await?;
    Ok(if asked.csv { csv::answer("posts", csv::posts(&posts)) } else { answer(Json(posts)) })
}

/// `GET /api/v1/health`.
pub async fn health(State(shown): State<Shown>, pairs: Pairs) -> Result<Response, Fault> {
    let asked = Asked::read(pairs)?;
    let now = now();
    let range = asked.range(now, shown.retention_days)?;
    let stored = shown.readers.read(move |store| stored::read(store, range, now)).await?;
    let told = shown.status.told();
    let mut kept = json!(stored.store);
    if let Some(kept) = kept.as_object_mut() {
        kept.insert("retention_days".into(), shown.retention_days.into());
    }
    Ok(answer(Json(json!({
        "revision": stored.revision,
        "version": env!("CARGO_PKG_VERSION"),
        "ingest": {
            "connected": told.connected, "error": told.error, "behind": told.behind, "per_second": stored.per_second,
            "last_scored_at": stored.last_scored_at, "skipped": stored.skipped,
        },
        "throughput": stored.throughput,
        "worker": {"group": &*shown.group, "lag": told.lag, "error": told.lag_error},
        "dead_letters": stored.dead_letters,
        "store": kept,
    }))))
}
