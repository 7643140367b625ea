//! What is wrong with the data rather than with the model: metadata that is missing, cut or not read; posts that are there
//! twice; and posts that are the same to the model but labelled differently, of which it cannot be right about all.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;

use super::cases::Case;

/// Contradictions told with their posts, and posts told of each.
const MOST_CONTRADICTIONS: usize = 12;
const MOST_POSTS: usize = 8;

/// All that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// How many posts bring each field.
    pub fields: Vec<FieldFinding>,
    /// Posts that bring nothing but their image.
    pub without_metadata: u64,
    /// Posts of which a text is longer than the bundle reads.
    pub truncated: u64,
    /// Posts of which a text is mostly made of words that the bundle's tokenizer does not know.
    pub mostly_unknown: u64,
    /// The same picture and the same texts.
    pub same_post: Alike,
    /// The same picture.
    pub same_picture: Alike,
    /// The same texts, of posts that have any.
    pub same_texts: Alike,
}

/// How many posts bring a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldFinding {
    /// Its name.
    pub field: String,
    /// Bring it.
    pub brought: u64,
    /// Do not, and the tagger stands in.
    pub inferred: u64,
    /// Do not, and nothing stands in.
    pub missing: u64,
}

/// Posts that are alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Alike {
    /// Groups of two posts or more.
    pub groups: u64,
    /// Posts in them.
    pub posts: u64,
    /// Groups whose posts are labelled differently.
    pub contradictory_groups: u64,
    /// Posts in those.
    pub contradictory_posts: u64,
    /// Some of those groups.
    pub examples: Vec<Vec<LabelledPost>>,
}

/// A post and its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelledPost {
    /// The post's id.
    pub id: String,
    /// Its label.
    pub label: String,
}

impl Findings {
    /// Looks through all cases. `is_unknown` tells of a text's tokens whether most of them stand for unknown words.
    pub fn of(cases: &[Case], labels: &[String], fields: &[String], is_unknown: impl Fn(&[u32]) -> bool) -> Self {
        let posts = |is: &dyn Fn(&Case) -> bool| cases.iter().filter(|case| is(case)).count() as u64;
        Self {
            fields: fields.iter().enumerate().map(|(place, field)| field_finding(cases, place, field)).collect(),
            without_metadata: posts(&|case| !case.has_metadata()),
            truncated: posts(&|case| case.truncated),
            mostly_unknown: posts(&|case| case.texts().flatten().any(&is_unknown)),
            same_post: alike(cases, labels, |case| Some((case.trace.picture, case.texts().collect::<Vec<_>>()))),
            same_picture: alike(cases, labels, |case| Some(case.trace.picture)),
            same_texts: alike(cases, labels, |case| case.has_metadata().then(|| case.texts().collect::<Vec<_>>())),
        }
    }
}

fn field_finding(cases: &[Case], place: usize, field: &str) -> FieldFinding {
    let brought = cases.iter().filter(|case| case.trace.texts.get(place).is_some_and(Option::is_some)).count() as u64;
    let inferred = cases.iter().filter(|case| case.inferred.get(place) == Some(&true)).count() as u64;
    FieldFinding { field: field.to_owned(), brought, inferred, missing: cases.len() as u64 - brought - inferred }
}

/// Groups of cases with the same key, in order of appearance.
fn alike<'a, K: Eq + Hash>(cases: &'a [Case], labels: &[String], key: impl Fn(&'a Case) -> Option<K>) -> Alike {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<Vec<&Case>> = Vec::new();
    for case in cases {
        let Some(key) = key(case) else { continue };
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    let mut found = Alike::default();
    for group in groups.iter().filter(|group| group.len() > 1) {
        found.groups += 1;
        found.posts += group.len() as u64;
        if group.windows(2).any(|pair| matches!(pair, [one, other] if one.label != other.label)) {
            found.contradictory_groups += 1;
            found.contradictory_posts += group.len() as u64;
            if found.examples.len() < MOST_CONTRADICTIONS {
                found.examples.push(group.iter().take(MOST_POSTS).map(|case| told(case, labels)).collect());
            }
        }
    }
    found
}

fn told(case: &Case, labels: &[String]) -> LabelledPost {
    LabelledPost { id: case.id.clone(), label: labels.get(case.label).cloned().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::tests::case;
    use super::*;

    fn found(cases: &[Case]) -> Findings {
        Findings::of(cases, &["bad".into(), "good".into()], &["caption".into(), "context".into()], |tokens| {
            tokens == [9]
        })
    }

    #[test]
    fn what_posts_bring_is_counted() {
        let mut bare = case(3, 0.5);
        bare.trace.texts = vec![None, None];
        bare.inferred = vec![false, false];
        let found = found(&[case(1, 0.5), Case { truncated: true, ..case(9, 0.5) }, bare]);
        let of = |brought, inferred, missing| (brought, inferred, missing);
        let fields: Vec<_> =
            found.fields.iter().map(|field| of(field.brought, field.inferred, field.missing)).collect();
        assert_eq!(fields, [of(2, 0, 1), of(0, 2, 1)]);
        assert_eq!((found.without_metadata, found.truncated, found.mostly_unknown), (1, 1, 1));
    }

    #[test]
    fn posts_that_are_alike_are_found_and_those_that_contradict_each_other_told() {
        let good = |case: Case| Case { label: 1, ..case };
        let mut other_picture = case(1, 0.5);
        other_picture.trace.picture = [7; 32];
        let found = found(&[case(1, 0.5), case(2, 0.5), good(case(1, 0.5)), other_picture, case(2, 0.5)]);
        let counts = |alike: &Alike| (alike.groups, alike.posts, alike.contradictory_groups, alike.contradictory_posts);
        assert_eq!(counts(&found.same_post), (2, 4, 1, 2));
        assert_eq!(counts(&found.same_picture), (2, 4, 1, 2));
        assert_eq!(counts(&found.same_texts), (2, 5, 1, 3));
        let labels: Vec<_> = found.same_texts.examples[0].iter().map(|post| post.label.as_str()).collect();
        assert_eq!(labels, ["bad", "good", "bad"]);
    }

    #[test]
    fn posts_without_any_text_do_not_have_the_same_texts() {
        let mut bare = [case(1, 0.5), case(2, 0.5)];
        for case in &mut bare {
            case.trace.texts = vec![None, None];
        }
        assert_eq!(found(&bare).same_texts, Alike::default());
    }
}
