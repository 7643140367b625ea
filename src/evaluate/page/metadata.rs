//! What metadata does: what it adds, what harm it does when it is wrong or missing, and what weight it is given.

use maud::{Markup, html};

use super::{interval, percent, section, three, three_or_none};
use crate::evaluate::charts;
use crate::evaluate::noise::Point;
use crate::evaluate::report::{Relevance, Report};

pub(super) fn ablation(report: &Report) -> Markup {
    let floor = &report.floor;
    let content = html! {
        p {
            "The same posts with fields kept from the model, inferred ones too. A field without which accuracy does not fall adds nothing on these posts."
        }
        (charts::ablation(&report.ablation, floor.accuracy))
        div.scroll {
            table {
                caption { "What the model was given, and how it did." }
                thead {
                    tr { @for name in ["given", "accuracy (95% interval)", "weighted F1", "macro F1"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for row in &report.ablation {
                        tr {
                            th scope="row" { bdi { (row.name) } }
                            td { (interval(&row.accuracy, percent)) } td { (three(row.weighted_f1)) } td { (three(row.macro_f1)) }
                        }
                    }
                    tr {
                        th scope="row" { "always “" bdi { (floor.label) } "”" }
                        td { (percent(floor.accuracy)) } td { (three(floor.weighted_f1)) } td { (three(floor.macro_f1)) }
                    }
                }
            }
        }
    };
    section("ablation", &content)
}

pub(super) fn noise(report: &Report) -> Markup {
    let noise = &report.noise;
    let content = html! {
        p {
            "Posts whose metadata is removed, or is another post's: what a broken feed would do. " (noise.posts_with_metadata) " of "
            (report.posts.evaluated) " posts have metadata to lose; the bundle's tagger, if it has one, stands in as it does in the stream. "
            "Which posts are hit is drawn 50 times; the means are told."
        }
        (charts::noise(noise, report.floor.accuracy))
        div.scroll {
            table {
                caption { "By the part of posts hit." }
                thead {
                    tr {
                        th scope="col" { "posts hit" }
                        @for point in &noise.removed { th scope="col" { (format!("{:.0}%", 100.0 * point.share)) } }
                    }
                }
                tbody {
                    (row("removed, accuracy", &noise.removed, |point| percent(point.accuracy)))
                    (row("removed, macro F1", &noise.removed, |point| three(point.macro_f1)))
                    (row("another post's, accuracy", &noise.swapped, |point| percent(point.accuracy)))
                    (row("another post's, macro F1", &noise.swapped, |point| three(point.macro_f1)))
                }
            }
        }
        p {
            (noise.swapped_posts) " posts found another's metadata; the others stay as they are. "
            "How often a field weighs more with the post's own text than with another post's (ties by half; 0.5 is chance): "
            @for (place, (field, area)) in noise.weight_roc_auc.iter().enumerate() {
                @if place > 0 { ", " }
                bdi { (field) } " " (three_or_none(*area))
            }
            ". Near 0.5 the weights do not tell fitting from foreign metadata."
        }
    };
    section("noise", &content)
}

fn row(name: &str, points: &[Point], write: fn(&Point) -> String) -> Markup {
    html! { tr { th scope="row" { (name) } @for point in points { td { (write(point)) } } } }
}

pub(super) fn relevance(report: &Report) -> Markup {
    let content = html! {
        p {
            "How much was read off the image and off each field, on average; an absent field counts as 0. Where posts told wrong lean more on one "
            "source, look at it in the mistakes below."
        }
        div.scroll {
            table {
                caption { "Mean relevance. The weights of a post sum to 100%." }
                thead {
                    tr {
                        @for name in ["source", "all posts", "told right", "told wrong", "where present"] { th scope="col" { (name) } }
                    }
                }
                tbody { @for source in &report.relevance { (weight(source)) } }
            }
        }
    };
    section("relevance", &content)
}

fn weight(source: &Relevance) -> Markup {
    let told = |weight: Option<f64>| weight.map_or_else(|| "–".into(), percent);
    html! {
        tr {
            th scope="row" { bdi { (source.name) } }
            td {
                span.bar aria-hidden="true" { i style=(format!("width:{:.1}%", 100.0 * source.mean)) {} }
                (percent(source.mean))
            }
            td { (told(source.right)) } td { (told(source.wrong)) } td { (told(source.where_present)) }
        }
    }
}
