//! Reading a JSON text that a stranger wrote, without building what it describes: nesting is measured before any parser
//! sees it, unknown fields are skipped over, and known ones stay slices of the text until each is asked for by its type.
//! So memory stays within the text's own size, whatever it holds.
//!
//! A field that is `null` counts as absent; a known field given twice is refused, since readers differ in which they take.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Settings;
use crate::error::{Reason, Refusal};

pub(super) type Raw<'a> = Option<&'a RawValue>;

pub(super) fn bad_field(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::BadField, detail)
}

/// The text, which must be UTF-8 and nested no deeper than the limit.
pub(super) fn text<'a>(bytes: &'a [u8], what: &str, settings: &Settings) -> Result<&'a str, Refusal> {
    let text = str::from_utf8(bytes)
        .map_err(|error| Refusal::new(Reason::NotJson, format!("{what} is not JSON: it is not UTF-8: {error}")))?;
    if deeper_than(bytes, settings.json_depth) {
        let detail = format!("{what} is nested deeper than {}", settings.json_depth);
        return Err(Refusal::new(Reason::TooDeep, detail));
    }
    Ok(text)
}

/// Whether brackets outside of strings nest deeper than `limit`. Says nothing of whether it is JSON.
fn deeper_than(bytes: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut rest),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.find(|byte| matches!(byte, b'"' | b'\\')) {
        if *byte == b'"' {
            return;
        }
        rest.next();
    }
}

/// An object's known fields. `path` names it in what is refused.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: &'a str, path: &str) -> Result<T, Refusal> {
    if !raw.starts_with('{') {
        return Err(wrong_type(path, "an object"));
    }
    serde_json::from_str(raw).map_err(|error| bad_field(format!("{path}: {error}")))
}

/// A string, borrowed where nothing in it is escaped.
pub(super) fn string<'a>(raw: &'a RawValue, path: &str) -> Result<Cow<'a, str>, Refusal> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if !raw.get().starts_with('"') {
        return Err(wrong_type(path, "a string"));
    }
    // A lone surrogate is the one way for a well-formed string to be no text.
    let Text(text) = serde_json::from_str(raw.get()).map_err(|error| bad_field(format!("{path}: {error}")))?;
    Ok(text)
}

/// A finite number.
pub(super) fn number(raw: &RawValue, path: &str) -> Result<f64, Refusal> {
    serde_json::from_str(raw.get()).map_err(|_| wrong_type(path, "a number"))
}

/// A list of at most `limit` items.
pub(super) fn list<'a>(raw: &'a RawValue, path: &str, limit: usize) -> Result<Vec<&'a RawValue>, Refusal> {
    if !raw.get().starts_with('[') {
        return Err(wrong_type(path, "a list"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let items = deserializer.deserialize_seq(Items { limit }).map_err(|error| bad_field(format!("{path}: {error}")))?;
    items.ok_or_else(|| bad_field(format!("{path} has more than {limit} items")))
}

fn wrong_type(path: &str, expected: &str) -> Refusal {
    bad_field(format!("{path} must be {expected}"))
}

/// Collects the items of a list, or gives none once there are too many.
struct Items {
    limit: usize,
}

impl<'a> Visitor<'a> for Items {
    type Value = Option<Vec<&'a RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.limit {
            match items.next_element()? {
                Some(item) => kept.push(item),
                None => return Ok(Some(kept)),
            }
        }
        let mut more = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok((!more).then_some(kept))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (text, depth) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a": [{"b": []}, {}]}"#, 4),
            (r#"["[[[[", "\"[[", "\\", []]"#, 2),
            (r#"["\\\"[", {}]"#, 2),
        ] {
            assert!(!deeper_than(text.as_bytes(), depth), "{text}");
            assert!(depth == 0 || deeper_than(text.as_bytes(), depth - 1), "{text}");
        }
        assert!(deeper_than(&vec![b'['; 100_000], 128));
        assert!(!deeper_than(br#"["never closed [[[["#, 1));
    }

    #[test]
    fn a_list_is_read_no_further_than_its_limit() {
        let raw: &RawValue = serde_json::from_str("[1, 2, 3]").expect("JSON");
        assert_eq!(list(raw, "x", 3).expect("fits").len(), 3);
        let refused = list(raw, "x", 2).expect_err("too many");
        assert_eq!(refused.to_string(), "bad_field: x has more than 2 items");
        let empty: &RawValue = serde_json::from_str("[]").expect("JSON");
        assert!(list(empty, "x", 0).expect("fits").is_empty());
    }

    proptest! {
        #[test]
        fn well_formed_text_is_as_deep_as_it_was_built(depth in 0_usize..200, string in any::<String>()) {
            let inner = serde_json::to_string(&string).expect("a string");
            let text = format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
            prop_assert!(!deeper_than(text.as_bytes(), depth));
            prop_assert!(depth == 0 || deeper_than(text.as_bytes(), depth - 1));
        }
    }
}
