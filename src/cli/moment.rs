//! A time as people give it: RFC 3339, a day, or an age counted back from now.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// Reads a time; an age counts back from now.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_before(text, Timestamp::now())
}

fn moment_before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    // Nothing but a day: of a time without a zone nobody knows which it is.
    let midnight = Date::strptime("%Y-%m-%d", text).and_then(|day| day.to_zoned_datetime(TimeZone::UTC));
    if let Ok(midnight) = midnight {
        return Ok(midnight.timestamp());
    }
    let age = text.parse::<Span>().and_then(|age| age.abs().to_duration(SpanRelativeTo::days_are_24_hours()));
    age.and_then(|age| now.checked_sub(age)).map_err(|_| {
        "give a time such as 2026-11-24T09:00:00Z, a day such as 2026-11-24 (from 0:00 UTC), or an age such as 90m, 2h or 3d"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_itself_as_a_day_or_as_an_age() {
        let now = "2026-11-24T12:00:00Z".parse().expect("a time");
        let moment = |text| moment_before(text, now).map(|moment| moment.to_string());
        assert_eq!(moment("2026-11-24T09:30:00+01:00").as_deref(), Ok("2026-11-24T08:30:00Z"));
        assert_eq!(moment("2026-11-01T00:00Z").as_deref(), Ok("2026-11-01T00:00:00Z"));
        assert_eq!(moment("2026-11-24").as_deref(), Ok("2026-11-24T00:00:00Z"));
        assert_eq!(moment("90m").as_deref(), Ok("2026-11-24T10:30:00Z"));
        assert_eq!(moment("3d").as_deref(), Ok("2026-11-21T12:00:00Z"));
        assert_eq!(moment("1w 2h").as_deref(), Ok("2026-11-17T10:00:00Z"));
        for wrong in ["", "yesterday", "2", "1mo", "2026-11-24T09:30", "2026-13-24"] {
            assert!(moment(wrong).is_err_and(|said| said.contains("2h")), "{wrong:?}");
        }
    }
}
