//! The range of time that a response is about: `from` and `to` as the API takes them, and the step that divides it.

use jiff::{SignedDuration, Timestamp};

use super::sums::{DAY, HOUR, MINUTE};

/// A response has at most so many places.
const MOST_STEPS: i64 = 200;
const STEPS: [i64; 10] =
    [MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY];

/// Why there is no such range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not a time.
    Time(String),
    /// Two times that make no range.
    Range(String),
}

/// From and to, both whole steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Milliseconds since 1970.
    pub from: i64,
    /// Milliseconds since 1970; not part of it.
    pub to: i64,
    /// Milliseconds.
    pub step: i64,
}

impl Range {
    /// The range that a request asks for at `now`; of what was before `horizon` only sums by day are kept.
    ///
    /// # Errors
    /// What is no time, and a range that is empty or too long.
    pub fn read(from: Option<&str>, to: Option<&str>, now: i64, horizon: i64) -> Result<Self, Fault> {
        let (from, to) = (time(from.unwrap_or("now-24h"), now)?, time(to.unwrap_or("now"), now)?);
        if from >= to {
            return Err(Fault::Range("`from` is not before `to`".into()));
        }
        let fits = |step: &i64| (from >= horizon || *step >= DAY) && steps(from, to, *step) <= MOST_STEPS;
        let Some(step) = STEPS.into_iter().find(fits) else {
            return Err(Fault::Range(format!("a range is at most {} days long", MOST_STEPS * 7 - 7)));
        };
        Ok(Self { from: from.div_euclid(step) * step, to: ceiling(to, step), step })
    }

    /// How many steps there are.
    #[must_use]
    pub fn steps(&self) -> usize {
        usize::try_from((self.to - self.from) / self.step).unwrap_or_default()
    }

    /// The step in which a time lies.
    #[must_use]
    pub fn step_of(&self, at: i64) -> usize {
        usize::try_from((at - self.from).div_euclid(self.step)).unwrap_or(usize::MAX)
    }

    /// Start of a step.
    #[must_use]
    pub fn start_of(&self, step: usize) -> i64 {
        self.from + i64::try_from(step).unwrap_or_default() * self.step
    }
}

fn ceiling(at: i64, step: i64) -> i64 {
    -(-at).div_euclid(step) * step
}

fn steps(from: i64, to: i64, step: i64) -> i64 {
    (ceiling(to, step) - from.div_euclid(step) * step) / step
}

fn time(text: &str, now: i64) -> Result<i64, Fault> {
    let fault =
        || Fault::Time(format!("{text:?} is no time: give 2026-11-24T09:00:00Z, now, now-15m, now-24h or now-90d"));
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix("now-") {
        let (number, unit) = ago.split_at_checked(ago.len().saturating_sub(1)).ok_or_else(fault)?;
        let length = match unit {
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return Err(fault()),
        };
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = number.parse::<u32>().ok().filter(|_| digits).ok_or_else(fault)?.into();
        return number.checked_mul(length).and_then(|ago| now.checked_sub(ago)).ok_or_else(fault);
    }
    // Far from what a step may overflow.
    let year = SignedDuration::from_hours(24 * 366).as_millis();
    let within = |at: &i64| i128::from(*at) > -100 * year && i128::from(*at) < 1000 * year;
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond).filter(within).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-11-21T00:00:30Z.
    const NOW: i64 = 1_763_683_230_000;

    fn read(from: &str, to: &str) -> Result<Range, Fault> {
        Range::read(Some(from), Some(to), NOW, NOW - 90 * DAY)
    }

    #[test]
    fn the_step_is_the_smallest_that_makes_at_most_200() {
        for (from, step, steps) in [
            ("now-1m", MINUTE, 2),
            ("now-15m", MINUTE, 16),
            ("now-199m", MINUTE, 200),
            ("now-200m", 5 * MINUTE, 41),
            ("now-24h", 10 * MINUTE, 145),
            ("now-72h", 30 * MINUTE, 145),
            ("now-7d", HOUR, 169),
            ("now-30d", 6 * HOUR, 121),
            ("now-90d", 12 * HOUR, 181),
        ] {
            let range = read(from, "now").expect("a range");
            assert_eq!((range.step, range.steps()), (step, steps), "{from}");
            assert!(range.to >= NOW && range.from % step == 0 && range.to % step == 0);
        }
        assert_eq!(Range::read(None, None, NOW, 0), read("now-24h", "now"), "the default");
    }

    #[test]
    fn what_is_older_than_posts_are_kept_has_steps_of_days() {
        let old = read("now-100d", "now-99d").expect("a range");
        assert_eq!(old.step, DAY);
        assert_eq!(read("now-900d", "now").expect("a range").step, 7 * DAY);
    }

    #[test]
    fn times_are_rfc_3339_or_relative() {
        let range = read("2025-11-20T09:00:00+01:00", "2025-11-20T09:00:00Z").expect("a range");
        assert_eq!((range.from, range.to), (1_763_625_600_000, 1_763_629_200_000));
        for text in [
            "",
            "now-",
            "now-m",
            "now-1w",
            "now-+1h",
            "now-1.5h",
            "yesterday",
            "now+1h",
            "2025-11-20",
            "now-99999999999d",
            "-009999-01-02T00:00:00Z",
            "now-1\u{e9}",
        ] {
            assert!(matches!(read(text, "now"), Err(Fault::Time(_))), "{text}");
        }
        for (from, to) in [("now", "now"), ("now", "now-1h"), ("now-3000d", "now")] {
            assert!(matches!(read(from, to), Err(Fault::Range(_))), "{from} {to}");
        }
    }
}
