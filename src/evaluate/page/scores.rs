//! How often the model is right, label by label, and whether it knows when.

use maud::{Markup, html};

use super::{interval, percent, section, three, three_or_none};
use crate::evaluate::charts;
use crate::evaluate::intervals::Measured;
use crate::evaluate::measures::{Averages, count, part};
use crate::evaluate::report::{Calibration, OfLabel, Report};

/// Fewer posts of a label say little of it.
const FEW: u64 = 30;
/// Mean confidence and accuracy this far apart are worth a word.
const LEANS: f64 = 0.02;

pub(super) fn summary(report: &Report) -> Markup {
    let (accuracy, floor) = (&report.scores.accuracy, &report.floor);
    html! {
        p.lead {
            "Of " (report.posts.evaluated) " posts, " strong { (percent(accuracy.value)) } " are told right (95% interval "
            (percent(accuracy.low)) " to " (percent(accuracy.high)) "). Always answering “" bdi { (floor.label) } "” would be right for "
            (percent(floor.accuracy)) "."
            @if accuracy.low <= floor.accuracy {
                " " strong { "The interval reaches down to that: these posts do not show the model to be better." }
            }
        }
        (numbers(report))
    }
}

fn numbers(report: &Report) -> Markup {
    let (scores, floor, calibration) = (&report.scores, &report.floor, &report.calibration);
    let from_to =
        |measured: &Measured, write: fn(f64) -> String| format!("{} to {}", write(measured.low), write(measured.high));
    let commonest = |value: String| Some(format!("commonest label: {value}"));
    let chance = format!("confidence off by, on average; {} by chance", percent(calibration.by_chance));
    html! {
        dl.numbers {
            (number("accuracy", &percent(scores.accuracy.value), &from_to(&scores.accuracy, percent), commonest(percent(floor.accuracy))))
            (number("weighted F1", &three(scores.weighted_f1.value), &from_to(&scores.weighted_f1, three), commonest(three(floor.weighted_f1))))
            (number("macro F1", &three(scores.macro_f1.value), &from_to(&scores.macro_f1, three), commonest(three(floor.macro_f1))))
            (number("ROC AUC", &three_or_none(scores.roc_auc), "one label against the rest, mean", commonest(three(0.5))))
            (number("calibration error", &percent(calibration.expected_error), &chance, None))
        }
    }
}

fn number(name: &str, value: &str, beside: &str, floor: Option<String>) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { (value) }
            dd.quiet { (beside) }
            @if let Some(floor) = floor { dd.quiet { (floor) } }
        }
    }
}

pub(super) fn by_label(report: &Report) -> Markup {
    let few: Vec<&OfLabel> = report.by_label.iter().filter(|label| label.posts < FEW).collect();
    let content = html! {
        @if !few.is_empty() {
            p {
                "Few posts have "
                @for (place, label) in few.iter().enumerate() {
                    @if place > 0 { ", " }
                    bdi { (label.label) } " (" (label.posts) ")"
                }
                ": what is told of such a label is little more than chance. Collect at least " (FEW) " of each."
            }
        }
        (label_table(report))
        (confusion(report))
    };
    section("labels", &content)
}

fn label_table(report: &Report) -> Markup {
    let scores = &report.scores;
    html! {
        div.scroll {
            table {
                caption {
                    "Each label. Precision: of the posts told to have it, the part that does. Recall: of the posts that have it, the part told."
                }
                thead {
                    tr {
                        @for name in ["label", "posts", "told", "precision", "recall", "F1 (95% interval)", "ROC AUC"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for label in &report.by_label {
                        tr {
                            th scope="row" { bdi { (label.label) } }
                            td { (label.posts) } td { (label.told) }
                            td { (three(label.precision)) } td { (three(label.recall)) }
                            td { (interval(&label.f1, three)) } td { (three_or_none(label.roc_auc)) }
                        }
                    }
                    (average("weighted mean", &scores.weighted, &scores.weighted_f1, scores.weighted_roc_auc))
                    (average("macro mean", &scores.macro_average, &scores.macro_f1, scores.roc_auc))
                }
            }
        }
    }
}

fn average(name: &str, averages: &Averages, f1: &Measured, area: Option<f64>) -> Markup {
    html! {
        tr {
            th scope="row" { (name) }
            td {} td {}
            td { (three(averages.precision)) } td { (three(averages.recall)) }
            td { (interval(f1, three)) } td { (three_or_none(area)) }
        }
    }
}

fn confusion(report: &Report) -> Markup {
    html! {
        div.scroll {
            table {
                caption { "Posts by what they are (rows) and what they were told to be (columns), with the part of the row. Outlined: told right." }
                thead {
                    tr { th scope="col" { "is \\ told" } @for label in &report.labels { th scope="col" { bdi { (label) } } } }
                }
                tbody {
                    @for (place, (label, row)) in report.labels.iter().zip(&report.confusion).enumerate() {
                        tr {
                            th scope="row" { bdi { (label) } }
                            @for (told, posts) in row.iter().enumerate() {
                                @let share = part(*posts, row.iter().sum());
                                td.cell.hit[told == place] style=(format!("--part:{share:.3}")) { (posts) small { (percent(share)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn confidence(report: &Report) -> Markup {
    let calibration = &report.calibration;
    let content = html! {
        p {
            "Confidence and accuracy differ by " strong { (percent(calibration.expected_error)) }
            " on average over posts (expected calibration error, 10 bins of equal mass). A model calibrated exactly would show "
            (percent(calibration.by_chance)) " on so many posts by chance. " (tendency(calibration))
        }
        (charts::reliability(&calibration.bins))
        details {
            summary { "The numbers of the diagram" }
            div.scroll {
                table {
                    caption { "Bins of equal mass, the least sure first." }
                    thead {
                        tr { @for name in ["posts", "mean confidence", "told right (95% interval)"] { th scope="col" { (name) } } }
                    }
                    tbody {
                        @for bin in &calibration.bins {
                            tr { td { (bin.posts) } td { (percent(bin.confidence)) } td { (interval(&bin.accuracy, percent)) } }
                        }
                    }
                }
            }
        }
    };
    section("confidence", &content)
}

fn tendency(calibration: &Calibration) -> &'static str {
    let posts: u64 = calibration.bins.iter().map(|bin| bin.posts).sum();
    let gap: f64 = calibration.bins.iter().map(|bin| count(bin.posts) * (bin.confidence - bin.accuracy.value)).sum();
    match gap / count(posts.max(1)) {
        gap if gap > LEANS => "On the whole it is surer than it is right.",
        gap if gap < -LEANS => "On the whole it is right more often than it is sure.",
        _ => "On the whole it is neither too sure nor too unsure.",
    }
}
