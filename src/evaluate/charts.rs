//! Charts as inline SVG. Every chart has its numbers in a table beside it, so a chart may round.

use maud::{Markup, html};

use super::calibration::Bin;
use super::noise::Point;
use super::report::{Ablated, Noise};

/// Units of a chart; a phone shows about as many pixels, so texts stay readable.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
/// Where the plot itself begins and ends.
const LEFT: f64 = 46.0;
const RIGHT: f64 = WIDTH - 22.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = HEIGHT - 44.0;

/// Values onto units.
#[derive(Debug, Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        rounded(self.from + part * (self.to - self.from))
    }

    /// Every tenth, or every fifth where there are many.
    fn ticks(&self) -> Vec<f64> {
        let step = if self.high - self.low > 0.55 { 0.2 } else { 0.1 };
        let ticks = (0..=10u8).map(|tick| f64::from(tick) * step);
        ticks.filter(|tick| (self.low - 1e-9..=self.high + 1e-9).contains(tick)).collect()
    }
}

/// From the tenth below the least to the tenth above the greatest.
fn around(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((1.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = ((low * 10.0).floor() / 10.0, (high * 10.0).ceil() / 10.0);
    if high - low < 0.1 { ((low - 0.1).max(0.0), (high + 0.1).min(1.0)) } else { (low, high) }
}

/// Short in the file, exact on a screen.
fn rounded(units: f64) -> f64 {
    (units * 10.0).round() / 10.0
}

fn percent(value: f64) -> String {
    format!("{:.0}%", 100.0 * value)
}

/// A chart with its name and what it shows in words, for those who do not see it.
fn chart(name: &str, shows: &str, height: f64, inner: &Markup) -> Markup {
    html! {
        svg role="img" aria-label=(format!("{name}. {shows}")) viewBox=(format!("0 0 {WIDTH} {height}")) { (inner) }
    }
}

fn y_axis(scale: &Scale) -> Markup {
    html! {
        @for tick in scale.ticks() {
            line.grid x1=(LEFT) x2=(RIGHT) y1=(scale.at(tick)) y2=(scale.at(tick)) {}
            text.tick x=(LEFT - 6.0) y=(scale.at(tick) + 4.0) text-anchor="end" { (percent(tick)) }
        }
    }
}

fn x_axis(scale: &Scale, ticks: &[f64], bottom: f64, title: &str) -> Markup {
    html! {
        @for tick in ticks {
            text.tick x=(scale.at(*tick)) y=(bottom + 17.0) text-anchor="middle" { (percent(*tick)) }
        }
        text.title x=(f64::midpoint(scale.from, scale.to)) y=(bottom + 36.0) text-anchor="middle" { (title) }
    }
}

/// Accuracy of each bin against its confidence.
pub(super) fn reliability(bins: &[Bin]) -> Markup {
    let x = Scale { low: 0.0, high: 1.0, from: LEFT, to: RIGHT };
    let y = Scale { low: 0.0, high: 1.0, from: BOTTOM, to: TOP };
    let inner = html! {
        (y_axis(&y))
        (x_axis(&x, &x.ticks(), BOTTOM, "confidence; up: told right"))
        line.ideal x1=(x.at(0.0)) y1=(y.at(0.0)) x2=(x.at(1.0)) y2=(y.at(1.0)) {}
        @for bin in bins {
            @let at = x.at(bin.confidence);
            line.whisker x1=(at) x2=(at) y1=(y.at(bin.accuracy.low)) y2=(y.at(bin.accuracy.high)) {}
            circle.first cx=(at) cy=(y.at(bin.accuracy.value)) r="4.5" {}
        }
    };
    chart(
        "Reliability diagram",
        "Each dot is a tenth of the posts; on the dashed diagonal confidence and accuracy agree.",
        HEIGHT,
        &inner,
    )
}

/// Accuracy under each condition, with its interval.
pub(super) fn ablation(rows: &[Ablated], floor: f64) -> Markup {
    const ROW: f64 = 28.0;
    const NAMES: f64 = 150.0;
    #[expect(clippy::cast_precision_loss, reason = "a bundle has at most 16 fields")]
    let bottom = TOP + ROW * rows.len() as f64;
    let (low, high) = around(rows.iter().flat_map(|row| [row.accuracy.low, row.accuracy.high]).chain([floor]));
    let x = Scale { low, high, from: NAMES, to: RIGHT };
    let inner = html! {
        @for tick in x.ticks() {
            line.grid x1=(x.at(tick)) x2=(x.at(tick)) y1=(TOP) y2=(bottom) {}
        }
        (x_axis(&x, &x.ticks(), bottom, "accuracy; dashed: commonest label"))
        line.ideal x1=(x.at(floor)) x2=(x.at(floor)) y1=(TOP) y2=(bottom) {}
        @for (number, row) in (0u8..).zip(rows) {
            @let y = TOP + ROW * (f64::from(number) + 0.5);
            text.tick x=(NAMES - 8.0) y=(y + 4.0) text-anchor="end" { (short(&row.name)) }
            line.whisker x1=(x.at(row.accuracy.low)) x2=(x.at(row.accuracy.high)) y1=(y) y2=(y) {}
            circle.first cx=(x.at(row.accuracy.value)) cy=(y) r="4.5" {}
        }
    };
    chart(
        "Accuracy by what the model was given",
        "Dots with 95% intervals; the table below has the numbers.",
        bottom + 44.0,
        &inner,
    )
}

/// A name that fits beside a plot.
fn short(name: &str) -> String {
    if name.chars().count() <= 22 { name.to_owned() } else { name.chars().take(21).chain(['…']).collect() }
}

/// Accuracy against the part of posts whose metadata is lost or another's.
pub(super) fn noise(noise: &Noise, floor: f64) -> Markup {
    let points = noise.removed.iter().chain(&noise.swapped);
    let (low, high) = around(points.map(|point| point.accuracy).chain([floor]));
    let x = Scale { low: 0.0, high: 1.0, from: LEFT, to: RIGHT };
    let y = Scale { low, high, from: BOTTOM, to: TOP + 18.0 };
    let path = |points: &[Point]| {
        let corners = points.iter().map(|point| format!("{},{}", x.at(point.share), y.at(point.accuracy)));
        corners.collect::<Vec<_>>().join(" ")
    };
    let inner = html! {
        (y_axis(&y))
        (x_axis(&x, &[0.0, 0.25, 0.5, 0.75, 1.0], BOTTOM, "posts hit; up: accuracy; dashed: commonest label"))
        line.ideal x1=(x.from) x2=(x.to) y1=(y.at(floor)) y2=(y.at(floor)) {}
        polyline.first points=(path(&noise.removed)) {}
        polyline.second points=(path(&noise.swapped)) {}
        @for point in &noise.removed {
            circle.first cx=(x.at(point.share)) cy=(y.at(point.accuracy)) r="4.5" {}
        }
        @for point in &noise.swapped {
            rect.second x=(x.at(point.share) - 4.0) y=(y.at(point.accuracy) - 4.0) width="8" height="8" {}
        }
        circle.first cx=(LEFT + 8.0) cy="12" r="4.5" {}
        text.tick x=(LEFT + 18.0) y="16" { "metadata removed" }
        rect.second x=(LEFT + 154.0) y="8" width="8" height="8" {}
        text.tick x=(LEFT + 168.0) y="16" { "another post's metadata" }
    };
    chart(
        "Accuracy as metadata is removed or swapped",
        "Two lines from no post hit to every post hit; the table below has the numbers.",
        HEIGHT,
        &inner,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_few_and_inside() {
        let ticks = |low, high| Scale { low, high, from: 0.0, to: 1.0 }.ticks().len();
        assert_eq!((ticks(0.0, 1.0), ticks(0.5, 0.8), ticks(0.6, 0.7)), (6, 4, 2));
    }

    proptest! {
        #[test]
        fn an_axis_holds_all_its_values(values in prop::collection::vec(0.0f64..=1.0, 1..9)) {
            let (low, high) = around(values.iter().copied());
            prop_assert!(high - low > 0.09 && (0.0..=1.0).contains(&low) && high <= 1.0);
            let scale = Scale { low, high, from: 100.0, to: 0.0 };
            for value in values {
                prop_assert!((-0.1..=100.1).contains(&scale.at(value)), "{} in {}..{}", value, low, high);
            }
        }
    }
}
