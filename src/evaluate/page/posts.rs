//! The posts themselves: which took part, what is wrong with them, and which the model got most wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::{percent, posts_told, section};
use crate::evaluate::findings::{Alike, Findings};
use crate::evaluate::mistakes::Mistake;
use crate::evaluate::report::{Posts, Report};

pub(super) fn taking_part(report: &Report) -> Markup {
    let Posts { read, evaluated, unlabelled, unknown_label, unknown_labels, unreadable, refused } = &report.posts;
    section(
        "posts",
        &html! {
            div.scroll {
                table {
                    caption { "What became of the posts of the list." }
                    thead { tr { th scope="col" { "posts" } th scope="col" { "how many" } th scope="col" { "what to do" } } }
                    tbody {
                        (line("in the list", *read, &html! {}))
                        (line("evaluated", *evaluated, &html! {}))
                        (line("without a label", *unlabelled, &html! { @if *unlabelled > 0 { "they take no part" } }))
                        (line("label unknown", *unknown_label, &html! {
                            @if *unknown_label > 0 {
                                "not a label of the bundle: "
                                @for (place, (label, posts)) in unknown_labels.iter().enumerate() { @if place > 0 { ", " } "“" bdi { (label) } "” (" (posts) ")" }
                            }
                        }))
                        (line("unreadable", *unreadable, &html! { @if *unreadable > 0 { "each was told on standard error" } }))
                        @for (reason, posts) in refused {
                            (line(&format!("refused: {reason}"), posts.posts, &html! { "the first: " bdi { (posts.first) } }))
                        }
                    }
                }
            }
        },
    )
}

fn line(name: &str, posts: u64, what: &Markup) -> Markup {
    html! { tr { th scope="row" { (name) } td { (posts) } td.text { (what) } } }
}

pub(super) fn findings(report: &Report) -> Markup {
    let Findings { fields, without_metadata, truncated, mostly_unknown, same_post, same_picture, same_texts } =
        &report.findings;
    let all = report.posts.evaluated.max(1);
    section(
        "data",
        &html! {
            div.scroll {
                table {
                    caption { "Metadata fields of the posts evaluated." }
                    thead { tr { @for name in ["field", "brought", "inferred by the tagger", "missing"] { th scope="col" { (name) } } } }
                    tbody {
                        @for field in fields {
                            tr { th scope="row" { bdi { (field.field) } } @for posts in [field.brought, field.inferred, field.missing] { (share(posts, all)) } }
                        }
                    }
                }
            }
            ul {
                li { (posts_told(*without_metadata)) " bring nothing but the image." }
                li { (posts_told(*truncated)) " have a text longer than the bundle reads; the rest of it is cut." }
                li { (posts_told(*mostly_unknown)) " have a text that is mostly words the bundle's tokenizer does not know: another language or script, or emoji alone." }
                li { (alike(same_post, "the same picture and texts")) }
                li { (alike(same_picture, "the same picture, whatever they say of it")) }
                li { (alike(same_texts, "the same texts, whatever they show")) }
            }
            @if same_post.groups > 0 { p { "Posts that are there twice make the intervals on this page narrower than they should be, and a split by row lets a model learn its test: split by such groups." } }
            (contradictions("Posts that are the same and labelled differently", "The model cannot be right about all of them: agree on one label, or remove them.", same_post))
            (contradictions("The same texts, labelled differently", "Where the pictures do not explain it, agree on one label.", same_texts))
            (contradictions("The same picture, labelled differently", "Where the texts do not explain it, agree on one label.", same_picture))
        },
    )
}

fn share(posts: u64, all: u64) -> Markup {
    html! { td { (posts) " " small { (percent(crate::evaluate::measures::part(posts, all))) } } }
}

fn alike(found: &Alike, what: &str) -> Markup {
    html! {
        (posts_told(found.posts)) " in " (found.groups) " groups have " (what)
        @if found.contradictory_groups > 0 { "; " strong { (found.contradictory_groups) " of these groups (" (posts_told(found.contradictory_posts)) ") are labelled differently" } }
        "."
    }
}

fn contradictions(title: &str, what: &str, found: &Alike) -> Markup {
    if found.examples.is_empty() {
        return html! {};
    }
    html! {
        h3 { (title) }
        p { (what) " " (found.contradictory_groups) " groups; " (found.examples.len()) " are shown." }
        ul {
            @for group in &found.examples {
                li { @for (place, post) in group.iter().enumerate() { @if place > 0 { ", " } bdi { (post.id) } ": " strong { bdi { (post.label) } } } }
            }
        }
    }
}

pub(super) fn mistakes(report: &Report) -> Markup {
    section(
        "mistakes",
        &html! {
            @if report.mistakes.is_empty() {
                p { "None: every post was told right." }
            } @else {
                p { "The " (report.mistakes.len()) " wrong answers the model was surest of. Often it is the label that is wrong: look before you blame the model. The effect of a field is by how much the probability of the answer would drop without it." }
                div.mistakes { @for mistake in &report.mistakes { (mistake_told(mistake)) } }
            }
        },
    )
}

fn mistake_told(mistake: &Mistake) -> Markup {
    html! {
        article {
            h3 { span.told { bdi { (mistake.told) } } " " (percent(mistake.confidence.into())) ", but is " span.label { bdi { (mistake.label) } } " " small { (percent(mistake.label_probability.into())) } }
            p.quiet {
                "post " bdi { (mistake.id) }
                @if mistake.alike > 0 { "; the same mistake on " (posts_told(mistake.alike)) " alike" }
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
    html! {
        @match &mistake.thumbnail {
            Some(jpeg) => img loading="lazy" src=(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg))) alt=(format!("The image of post {}, as the model sees it", mistake.id));,
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
                        td { (weight.effect.map_or_else(|| "–".into(), |effect| format!("{effect:+.2}"))) }
                    }
                }
            }
        }
    }
}
