//! How often the model is right, label by label, and whether it knows when.

use maud::{Markup, html};

use super::{interval, percent, posts_told, section, three, three_or_none};
use crate::evaluate::charts;
use crate::evaluate::measures::{count, part};
use crate::evaluate::report::{OfLabel, Report};

/// Fewer posts of a label say little of it.
const FEW: u64 = 30;

pub(super) fn summary(report: &Report) -> Markup {
    let (scores, floor) = (&report.scores, &report.floor);
    let accuracy = &scores.accuracy;
    html! {
        p.lead {
            "Of " (posts_told(report.posts.evaluated)) ", " strong { (percent(accuracy.value)) } " are told right (95% interval "
            (percent(accuracy.low)) " to " (percent(accuracy.high)) "). Always answering “" bdi { (floor.label) } "” would be right for "
            (percent(floor.accuracy)) "."
            @if accuracy.low <= floor.accuracy {
                " " strong { "The interval reaches down to that: on these posts the model is not shown to be better than the commonest label." }
            }
        }
        dl.numbers {
            (number("accuracy", percent(accuracy.value), &format!("{} to {}", percent(accuracy.low), percent(accuracy.high)), &percent(floor.accuracy)))
            (number("weighted F1", three(scores.weighted_f1.value), &format!("{} to {}", three(scores.weighted_f1.low), three(scores.weighted_f1.high)), &three(floor.weighted_f1)))
            (number("macro F1", three(scores.macro_f1.value), &format!("{} to {}", three(scores.macro_f1.low), three(scores.macro_f1.high)), &three(floor.macro_f1)))
            (number("ROC AUC", three_or_none(scores.roc_auc), "one label against the rest, mean", "0.500"))
            (number("calibration error", percent(report.calibration.expected_error), &format!("confidence off by, on average; {} by chance", percent(report.calibration.by_chance)), ""))
        }
    }
}

fn number(name: &str, value: String, beside: &str, floor: &str) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { (value) }
            dd.quiet { (beside) }
            @if !floor.is_empty() { dd.quiet { "commonest label: " (floor) } }
        }
    }
}

pub(super) fn by_label(report: &Report) -> Markup {
    let few: Vec<&OfLabel> = report.by_label.iter().filter(|label| label.posts < FEW).collect();
    section(
        "labels",
        &html! {
            @if !few.is_empty() {
                p {
                    "Few posts have "
                    @for (place, label) in few.iter().enumerate() { @if place > 0 { ", " } bdi { (label.label) } " (" (label.posts) ")" }
                    ": what is told of such a label is little more than chance. Collect at least " (FEW) " of each."
                }
            }
            div.scroll {
                table {
                    caption { "Each label. Precision: of the posts told to have it, the part that does. Recall: of the posts that have it, the part told." }
                    thead { tr { @for name in ["label", "posts", "told", "precision", "recall", "F1 (95% interval)", "ROC AUC"] { th scope="col" { (name) } } } }
                    tbody {
                        @for label in &report.by_label {
                            tr {
                                th scope="row" { bdi { (label.label) } }
                                td { (label.posts) }
                                td { (label.told) }
                                td { (three(label.precision)) }
                                td { (three(label.recall)) }
                                td { (interval(&label.f1, three)) }
                                td { (three_or_none(label.roc_auc)) }
                            }
                        }
                        (average("weighted mean", &report.scores.weighted, report.scores.weighted_roc_auc))
                        (average("macro mean", &report.scores.macro_average, report.scores.roc_auc))
                    }
                }
            }
            (confusion(report))
        },
    )
}

fn average(name: &str, averages: &crate::evaluate::measures::Averages, area: Option<f64>) -> Markup {
    html! {
        tr {
            th scope="row" { (name) }
            td {} td {}
            td { (three(averages.precision)) } td { (three(averages.recall)) } td { (three(averages.f1)) } td { (three_or_none(area)) }
        }
    }
}

fn confusion(report: &Report) -> Markup {
    html! {
        div.scroll {
            table {
                caption { "Confusion matrix: posts by what they are (rows) and what they were told to be (columns), with the part of their row. Outlined: told right." }
                thead {
                    tr { th scope="col" { "is \\ told" } @for label in &report.labels { th scope="col" { bdi { (label) } } } }
                }
                tbody {
                    @for (place, (label, row)) in report.labels.iter().zip(&report.confusion).enumerate() {
                        @let all: u64 = row.iter().sum();
                        tr {
                            th scope="row" { bdi { (label) } }
                            @for (told, posts) in row.iter().enumerate() {
                                @let share = part(*posts, all);
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
    let gap: f64 = calibration.bins.iter().map(|bin| count(bin.posts) * (bin.confidence - bin.accuracy.value)).sum();
    let tendency = match gap / count(report.posts.evaluated.max(1)) {
        gap if gap > 0.02 => "On the whole it is surer than it is right.",
        gap if gap < -0.02 => "On the whole it is right more often than it is sure.",
        _ => "On the whole it is neither too sure nor not sure enough.",
    };
    section(
        "confidence",
        &html! {
            p {
                "Confidence and accuracy differ by " strong { (percent(calibration.expected_error)) }
            " on average over posts (expected calibration error, 10 bins of equal mass). A model calibrated exactly would show "
            (percent(calibration.by_chance)) " on so many posts by chance. " (tendency)
            }
            (charts::reliability(&calibration.bins))
            details {
                summary { "The numbers of the diagram" }
                div.scroll {
                    table {
                        caption { "Bins of equal mass, the least sure first." }
                        thead { tr { @for name in ["posts", "mean confidence", "told right (95% interval)"] { th scope="col" { (name) } } } }
                        tbody {
                            @for bin in &calibration.bins {
                                tr { td { (bin.posts) } td { (percent(bin.confidence)) } td { (interval(&bin.accuracy, percent)) } }
                            }
                        }
                    }
                }
            }
        },
    )
}
