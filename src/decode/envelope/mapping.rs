//! A feed's JSON in its own shape: where each field of a post stands in it, by JSON pointers (RFC 6901) of the settings, so that
//! nobody has to rewrite a feed to attach it. One `*` in the pointer of a list stands for each of its items:
//! `/entities/hashtags/*/text`.
//!
//! All pointers are followed in one pass over the text, which is not built: what is found stays slices of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::json::bad_field;
use crate::error::Refusal;

/// Where each field of a post stands. What has no pointer is missing from every post.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pointers {
    /// A string or an integer.
    pub id: Option<String>,
    /// A string.
    pub source: Option<String>,
    /// An RFC 3339 string, or a number: seconds since 1970, or milliseconds.
    pub published_at: Option<String>,
    /// Base64.
    pub image_data: Option<String>,
    /// A URL.
    pub image_url: Option<String>,
    /// A string.
    pub caption: Option<String>,
    /// A string.
    pub scene: Option<String>,
    /// A list of strings, or of objects with `label` and `score`.
    pub objects: Option<String>,
    /// A list of strings, or a string of tags with spaces or commas between them.
    pub tags: Option<String>,
    /// A string.
    pub place: Option<String>,
    /// A string.
    pub taken_at: Option<String>,
}

/// A field of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Source,
    PublishedAt,
    ImageData,
    ImageUrl,
    Caption,
    Scene,
    Objects,
    Tags,
    Place,
    TakenAt,
}

impl Field {
    /// Whether several values may be found for it.
    const fn is_list(self) -> bool {
        matches!(self, Self::Objects | Self::Tags)
    }
}

/// Pointers that make sense.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Pointers")]
pub struct Mapping {
    pointers: Vec<(Field, String)>,
    root: Node,
}

/// What is looked for in a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    fields: Vec<Field>,
    /// By the next token of the pointers that go on.
    children: BTreeMap<String, Node>,
    /// Of pointers that go on with `*`.
    each: Option<Box<Node>>,
}

impl TryFrom<Pointers> for Mapping {
    type Error = String;

    fn try_from(pointers: Pointers) -> Result<Self, String> {
        let named = [
            (Field::Id, "id", pointers.id),
            (Field::Source, "source", pointers.source),
            (Field::PublishedAt, "published_at", pointers.published_at),
            (Field::ImageData, "image_data", pointers.image_data),
            (Field::ImageUrl, "image_url", pointers.image_url),
            (Field::Caption, "caption", pointers.caption),
            (Field::Scene, "scene", pointers.scene),
            (Field::Objects, "objects", pointers.objects),
            (Field::Tags, "tags", pointers.tags),
            (Field::Place, "place", pointers.place),
            (Field::TakenAt, "taken_at", pointers.taken_at),
        ];
        let mut mapping = Self { pointers: Vec::new(), root: Node::default() };
        for (field, name, pointer) in named {
            let Some(pointer) = pointer else { continue };
            let wrong = |why: &str| format!("decode.mapping.{name} is {pointer:?}; {why}");
            let tokens =
                pointer.strip_prefix('/').ok_or_else(|| wrong("a JSON pointer begins with /, such as /text"))?;
            let stars = tokens.split('/').filter(|token| *token == "*").count();
            if stars > usize::from(field.is_list()) {
                return Err(wrong("one * stands for the items of a list, in the pointers of tags and objects"));
            }
            mapping.root.want(tokens, field);
            mapping.pointers.push((field, pointer));
        }
        if !mapping.has(Field::ImageData) && !mapping.has(Field::ImageUrl) {
            return Err("decode.mapping names no image; set image_url or image_data to its JSON pointer".into());
        }
        Ok(mapping)
    }
}

impl Mapping {
    fn has(&self, field: Field) -> bool {
        self.pointers.iter().any(|(pointed, _)| *pointed == field)
    }

    /// Where a field stands, for what is said of it.
    pub(super) fn pointer(&self, field: Field) -> &str {
        self.pointers.iter().find(|(pointed, _)| *pointed == field).map_or("", |(_, pointer)| pointer)
    }

    /// Whether the pointer of a list leads to each of its items.
    pub(super) fn is_of_items(&self, field: Field) -> bool {
        self.pointer(field).split('/').any(|token| token == "*")
    }

    /// Whether an image may be given by its URL.
    pub(crate) fn has_urls(&self) -> bool {
        self.has(Field::ImageUrl)
    }

    /// Everything the pointers lead to, at most `most` values of a list, in one pass over a text that is JSON.
    pub(super) fn find<'a>(&self, json: &'a str, most: usize) -> Result<Found<'a>, Refusal> {
        let mut found = Found { values: Vec::new(), most };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let walked = Walk { node: &self.root, found: &mut found }.deserialize(&mut deserializer);
        walked.map_err(|error| bad_field(format!("the post: {error}")))?;
        Ok(found)
    }
}

impl Node {
    fn want(&mut self, tokens: &str, field: Field) {
        let (token, rest) = tokens.split_once('/').map_or((tokens, None), |(token, rest)| (token, Some(rest)));
        let next = match token {
            "*" => self.each.get_or_insert_default(),
            token => self.children.entry(token.replace("~1", "/").replace("~0", "~")).or_default(),
        };
        match rest {
            Some(rest) => next.want(rest, field),
            None => next.fields.push(field),
        }
    }

    fn at(&self, key: &str) -> Option<&Self> {
        self.children.get(key)
    }

    fn goes_on(&self) -> bool {
        !self.children.is_empty() || self.each.is_some()
    }
}

/// What was found, slices of the text.
#[derive(Debug)]
pub(super) struct Found<'a> {
    values: Vec<(Field, &'a RawValue)>,
    most: usize,
}

impl<'a> Found<'a> {
    /// The value of a field; `null` is absent.
    pub(super) fn one(&self, field: Field) -> Option<&'a RawValue> {
        self.all(field).next()
    }

    /// The values of a list.
    pub(super) fn all(&self, field: Field) -> impl Iterator<Item = &'a RawValue> {
        self.values
            .iter()
            .filter(move |(found, value)| *found == field && value.get() != "null")
            .map(|(_, value)| *value)
    }

    fn note(&mut self, field: Field, value: &'a RawValue) -> Result<(), String> {
        let known = self.values.iter().filter(|(found, _)| *found == field).count();
        match (known, field.is_list()) {
            (1.., false) => Err(format!("what {field:?} is mapped to is there twice")),
            (known, true) if known >= self.most => Err(format!("{field:?} has more than {} items", self.most)),
            _ => {
                self.values.push((field, value));
                Ok(())
            }
        }
    }
}

/// A value that something is looked for in, or below.
struct Walk<'n, 'f, 'a> {
    node: &'n Node,
    found: &'f mut Found<'a>,
}

impl<'a> DeserializeSeed<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.node.fields.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let value = <&RawValue>::deserialize(deserializer)?;
        for field in &self.node.fields {
            self.found.note(*field, value).map_err(D::Error::custom)?;
        }
        if self.node.goes_on() {
            // Pointers that go on from where others end read it once more.
            let below = Node { fields: Vec::new(), ..self.node.clone() };
            let mut deserializer = serde_json::Deserializer::from_str(value.get());
            return Walk { node: &below, found: self.found }.deserialize(&mut deserializer).map_err(D::Error::custom);
        }
        Ok(())
    }
}

impl<'a> Visitor<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        struct Key<'k>(#[serde(borrow)] Cow<'k, str>);
        while let Some(Key(key)) = map.next_key()? {
            match self.node.at(&key) {
                Some(node) => map.next_value_seed(Walk { node, found: self.found })?,
                None => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index: usize = 0;
        loop {
            let numbered = if self.node.children.is_empty() { None } else { self.node.at(&index.to_string()) };
            let more = match numbered.or(self.node.each.as_deref()) {
                Some(node) => items.next_element_seed(Walk { node, found: self.found })?.is_some(),
                None => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    // A pointer that leads into what is no container finds nothing.

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
