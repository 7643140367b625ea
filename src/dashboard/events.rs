//! Server-sent events: the revision of the store, whenever it changes.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::api::Fault;
use super::serve::Shown;

/// Between two changes told.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two comments, by which both ends notice that the other is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// `GET /api/v1/events`.
pub async fn listen(State(shown): State<Shown>) -> Response {
    let Ok(place) = shown.listeners.clone().try_acquire_owned() else {
        return Fault::Busy("too many pages are open").into_response();
    };
    let (revision, stop) = (shown.revision.clone(), shown.stop.clone());
    let events = stream::unfold((revision, stop, true, place), async |(mut revision, mut stop, first, place)| {
        if !first {
            tokio::select! {
                changed = changed(&mut revision) => changed?,
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
        let data = format!("{{\"revision\": {}}}", *revision.borrow_and_update());
        let event = Event::default().event("change").data(data);
        Some((Ok::<_, Infallible>(event), (revision, stop, false, place)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(SILENCE)).into_response()
}

/// Waits for the next change, and a little for those that follow it.
async fn changed(revision: &mut watch::Receiver<i64>) -> Option<()> {
    sleep(PAUSE).await;
    revision.changed().await.ok()
}
