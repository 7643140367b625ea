//! How figures are written. What is not known is a dash.

use indicatif::HumanCount;

/// What is not known.
pub const UNKNOWN: &str = "-";

fn or_dash(value: Option<f64>, write: impl FnOnce(f64) -> String) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| UNKNOWN.into(), write)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what does not fit is cut to what does")]
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

/// `12,345`
pub fn count(value: Option<f64>) -> String {
    or_dash(value, |value| HumanCount(whole(value)).to_string())
}

/// `1.5 MiB`, `300 MiB`
pub fn bytes(value: Option<f64>) -> String {
    or_dash(value, |mut value| {
        let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
        let mut unit = "B";
        while value >= 1024.0
            && let Some(next) = units.next()
        {
            (value, unit) = (value / 1024.0, next);
        }
        if value < 10.0 && unit != "B" { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
    })
}

/// `0.4/s`, `12/s`, and `<0.1/s` of what is seldom.
pub fn rate(value: Option<f64>) -> String {
    or_dash(value, |value| match value.abs() {
        small if small > 0.0 && small < 0.05 => "<0.1/s".into(),
        small if small < 10.0 => format!("{value:.1}/s"),
        _ => format!("{}/s", count(Some(value))),
    })
}

/// `0.02 ms`, `45 ms`, `1.2 s`, `3.4 min`, `2.1 h`, `4.0 d`
pub fn time(seconds: Option<f64>) -> String {
    or_dash(seconds, |seconds| match seconds {
        none if none <= 0.0 => "0 s".into(),
        least if least < 0.001 => format!("{:.2} ms", least * 1000.0),
        short if short < 0.01 => format!("{:.1} ms", short * 1000.0),
        short if short < 1.0 => format!("{:.0} ms", short * 1000.0),
        some if some < 60.0 => format!("{some:.1} s"),
        long if long < 3600.0 => format!("{:.1} min", long / 60.0),
        long if long < 86_400.0 => format!("{:.1} h", long / 3600.0),
        days => format!("{:.1} d", days / 86_400.0),
    })
}

/// `1.93`
pub fn decimal(value: Option<f64>) -> String {
    or_dash(value, |value| format!("{value:.2}"))
}

/// `45%`
pub fn share(value: Option<f64>) -> String {
    or_dash(value, |value| format!("{:.0}%", value * 100.0))
}

/// A bar of so many characters, in eighths.
pub fn bar(share: Option<f64>, width: u16) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths =
        whole(share.filter(|share| share.is_finite()).unwrap_or(0.0).clamp(0.0, 1.0) * f64::from(width) * 8.0);
    let eighths = usize::try_from(eighths).unwrap_or(0);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS.get(eighths % 8).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        let rates = [None, Some(f64::NAN), Some(0.0), Some(0.01), Some(9.96), Some(12.4), Some(1234.0)].map(rate);
        assert_eq!(rates, ["-", "-", "0.0/s", "<0.1/s", "10.0/s", "12/s", "1,234/s"]);
        let times = [0.0, 0.00002, 0.0042, 0.045, 1.24, 90.0, 7600.0, 200_000.0].map(|seconds| time(Some(seconds)));
        assert_eq!(times, ["0 s", "0.02 ms", "4.2 ms", "45 ms", "1.2 s", "1.5 min", "2.1 h", "2.3 d"]);
        assert_eq!(
            (bytes(Some(1_572_864.0)), count(None), share(Some(0.456))),
            ("1.5 MiB".into(), "-".into(), "46%".into())
        );
        assert_eq!(
            [0.0, 0.5, 0.97, 1.0, 7.0].map(|share| bar(Some(share), 4)),
            ["", "██", "███▉", "████", "████"].map(String::from)
        );
        assert_eq!(bar(None, 4), "");
    }
}
