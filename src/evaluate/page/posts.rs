//! The posts themselves: which took part, what is wrong with them, and which the model got most wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::{percent, section};
use crate::evaluate::findings::{Alike, Findings};
use crate::evaluate::measures::part;
use crate::evaluate::mistakes::Mistake;
use crate::evaluate::report::{Posts, Report};

pub(super) fn taking_part(report: &Report) -> Markup {
    let Posts { read, evaluated, unlabelled, unknown_label, unknown_labels, unreadable, refused } = &report.posts;
    let unknown = html! {
        @for (place, (label, posts)) in unknown_labels.iter().enumerate() {
            @if place > 0 { ", " }
            "“" bdi { (label) } "” (" (posts) ")"
        }
    };
    let table = html! {
        div.scroll {
            table {
                caption { "What became of the posts of the list." }
                thead { tr { th scope="col" { "posts" } th scope="col" { "how many" } th.text scope="col" { "note" } } }
                tbody {
                    (line("in the list", *read, &html! {}))
                    (line("evaluated", *evaluated, &html! {}))
                    (line("without a label", *unlabelled, &html! { @if *unlabelled > 0 { "they take no part" } }))
                    (line("with a label unknown to the bundle", *unknown_label, &unknown))
                    (line("unreadable", *unreadable, &html! { @if *unreadable > 0 { "each was told on standard error" } }))
                    @for (reason, posts) in refused {
                        (line(&format!("refused: {reason}"), posts.posts, &html! { "the first: " bdi { (posts.first) } }))
                    }
                }
            }
        }
    };
    section("posts", &table)
}

fn line(name: &str, posts: u64, note: &Markup) -> Markup {
    html! { tr { th scope="row" { (name) } td { (posts) } td.text { (note) } } }
}

pub(super) fn findings(report: &Report) -> Markup {
    let Findings { same_post, same_picture, same_texts, .. } = &report.findings;
    let content = html! {
        (brought(report))
        (alike(report))
        @if same_post.groups > 0 {
            p {
                "Posts that are there twice make the intervals on this page narrower than they should be; and where a list is split for training, "
                "they must stay on one side."
            }
        }
        (contradictions("The same post, labelled differently", "The model cannot be right about all of them: agree on one label.", same_post))
        (contradictions("The same texts, labelled differently", "Where the pictures do not explain it, agree on one label.", same_texts))
        (contradictions("The same picture, labelled differently", "Where the texts do not explain it, agree on one label.", same_picture))
    };
    section("data", &content)
}

fn brought(report: &Report) -> Markup {
    let Findings { fields, without_metadata, truncated, mostly_unknown, .. } = &report.findings;
    let all = report.posts.evaluated;
    html! {
        div.scroll {
            table {
                caption { "Metadata fields of the posts evaluated." }
                thead {
                    tr { @for name in ["field", "brought", "inferred by the tagger", "missing"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for field in fields {
                        tr {
                            th scope="row" { bdi { (field.field) } }
                            @for posts in [field.brought, field.inferred, field.missing] { (share(posts, all)) }
                        }
                    }
                }
            }
        }
        div.scroll {
            table {
                caption { "Their texts." }
                thead { tr { @for name in ["posts", "how many"] { th scope="col" { (name) } } } }
                tbody {
                    tr { th scope="row" { "with nothing but the image" } (share(*without_metadata, all)) }
                    tr { th scope="row" { "with a text longer than the bundle reads (cut)" } (share(*truncated, all)) }
                    tr {
                        th scope="row" { "with a text mostly of words unknown to the bundle: another script, or emoji alone" }
                        (share(*mostly_unknown, all))
                    }
                }
            }
        }
    }
}

fn alike(report: &Report) -> Markup {
    let Findings { same_post, same_picture, same_texts, .. } = &report.findings;
    let rows = [("picture and texts", same_post), ("picture", same_picture), ("texts", same_texts)];
    html! {
        div.scroll {
            table {
                caption { "Posts that are the same to the model." }
                thead {
                    tr { @for name in ["the same", "groups", "posts", "groups labelled differently"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for (name, found) in rows {
                        tr {
                            th scope="row" { (name) }
                            td { (found.groups) } td { (found.posts) } td { (found.contradictory_groups) }
                        }
                    }
                }
            }
        }
    }
}

fn share(posts: u64, all: u64) -> Markup {
    html! { td { (posts) " " small { (percent(part(posts, all))) } } }
}

fn contradictions(title: &str, what: &str, found: &Alike) -> Markup {
    html! {
        @if !found.examples.is_empty() {
            h3 { (title) }
            p {
                (what)
                @if (found.examples.len() as u64) < found.contradictory_groups {
                    " Of " (found.contradictory_groups) " groups the first " (found.examples.len()) ":"
                }
            }
            ul { @for group in &found.examples { li { (group_told(group)) } } }
        }
    }
}

fn group_told(group: &[crate::evaluate::findings::LabelledPost]) -> Markup {
    html! {
        @for (place, post) in group.iter().enumerate() {
            @if place > 0 { ", " }
            bdi { (post.id) } ": " strong { bdi { (post.label) } }
        }
    }
}

pub(super) fn mistakes(report: &Report) -> Markup {
    let content = html! {
        @if report.mistakes.is_empty() {
            p { "None: every post was told right." }
        } @else {
            p {
                "The " (report.mistakes.len()) " wrong answers the model was surest of. Often it is the label that is wrong: look before you blame the "
                "model. The effect of a field is by how much the probability of the answer would drop without it."
            }
            div.mistakes { @for mistake in &report.mistakes { (told(mistake)) } }
        }
    };
    section("mistakes", &content)
}

fn told(mistake: &Mistake) -> Markup {
    html! {
        article {
            h3 {
                "told " span.told { bdi { (mistake.told) } } " " small { (percent(mistake.confidence.into())) }
                ", is " span.label { bdi { (mistake.label) } } " " small { (percent(mistake.label_probability.into())) }
            }
            p.quiet {
                "post " bdi { (mistake.id) }
                @if mistake.alike > 0 { "; the same again: " (mistake.alike) }
                @if !mistake.flags.is_empty() { "; " (mistake.flags.join(", ")) }
            }
            div.what {
                (thumbnail(mistake))
                dl { @for (name, text) in &mistake.texts { dt { (name) } dd { bdi { (text) } } } }
            }
            (weights(mistake))
        }
    }
}

fn thumbnail(mistake: &Mistake) -> Markup {
    let alt = format!("The image of post {}, as the model sees it", mistake.id);
    html! {
        @match &mistake.thumbnail {
            Some(jpeg) => img loading="lazy" src=(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg))) alt=(alt);,
            None => div.none { "no picture kept" },
        }
    }
}

fn weights(mistake: &Mistake) -> Markup {
    html! {
        table {
            caption { "Relevance and effect" }
            thead { tr { @for name in ["source", "weight", "effect"] { th scope="col" { (name) } } } }
            tbody {
                @for weight in &mistake.weights {
                    tr {
                        th scope="row" { bdi { (weight.name) } }
                        td { (percent(weight.weight.into())) }
                        td { (weight.effect.map_or_else(|| "–".into(), signed)) }
                    }
                }
            }
        }
    }
}

/// With its sign, unless it rounds to nothing.
fn signed(effect: f32) -> String {
    if effect.abs() < 0.005 { "0.00".into() } else { format!("{effect:+.2}") }
}
