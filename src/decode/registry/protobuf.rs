//! Protobuf to JSON, by the `.proto` text that it was written with: compiled by `protox`, read by `prost-reflect`, neither of
//! which needs code that was made for the schema.
//!
//! Names are those of the `.proto`, an enum is its name, bytes are base64, and Google's well-known types are what Protobuf's own
//! JSON writes (a `Timestamp` in RFC 3339), but for an `Any`, which is its `type_url` and its `value` in base64. A field that was not set is missing: without `optional` Protobuf does not tell it from
//! one of zero, so an empty text or list and an integer 0 are missing, too; a `float` of 0 is a number like any other.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::json_text::JsonText;
use super::mismatch;
use crate::error::{Reason, Refusal};

/// What the schema itself is called among those it imports.
const MAIN: &str = "sentistream/schema.proto";
/// How deep a `.proto` may be nested; a message in it may be 32 deep.
const MOST_NESTING: usize = 64;
/// Indexes in front of a payload: a message within messages.
const MOST_INDEXES: usize = 32;

/// Values in a payload. One of two bytes may take the reader 700 to keep, and no post has so many.
const MOST_VALUES: usize = 1 << 17;
/// As deep as the reader goes.
const MOST_DEPTH: usize = 100;

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Protobuf {
    pool: DescriptorPool,
}

struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

impl Protobuf {
    pub(super) fn parse(text: String, references: Vec<(String, String)>) -> Result<Self, String> {
        let mut texts: HashMap<_, _> = references.into_iter().collect();
        texts.insert(MAIN.to_owned(), text);
        if texts.values().any(|text| is_nested_deeper(text, MOST_NESTING)) {
            return Err(format!("it is nested deeper than {MOST_NESTING}"));
        }
        let mut files = ChainFileResolver::new();
        files.add(Texts(texts));
        files.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(files);
        compiler.open_file(MAIN).map_err(|error| format!("it is no Protobuf schema: {error}"))?;
        Ok(Self { pool: compiler.descriptor_pool() })
    }

    pub(super) fn write(&self, payload: &[u8], out: &mut JsonText) -> Result<(), Refusal> {
        let mut rest = payload;
        let message = self.message(&mut rest)?;
        let mut left = MOST_VALUES;
        if !has_at_most(&mut left, &message, rest, 0) {
            let detail = format!("the value has more than {MOST_VALUES} values, or a group, which is not read");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let name = message.full_name().to_owned();
        let read = DynamicMessage::decode(message, rest)
            .map_err(|error| mismatch(format!("the value is no message {name}: {error}")))?;
        write_message(&read, out)
    }

    /// The message that a payload is, by the indexes in front of it: the place in the file, then in the message around it. None
    /// stand for the first message of the file.
    fn message(&self, rest: &mut &[u8]) -> Result<MessageDescriptor, Refusal> {
        let mut next = || super::varint(rest).and_then(|number| usize::try_from(number).ok());
        let cut = || mismatch("it ends within, or has no, message indexes");
        let count = next().filter(|count| *count <= MOST_INDEXES).ok_or_else(cut)?;
        let indexes: Option<Vec<usize>> = (0..count).map(|_| next()).collect();
        let indexes = indexes.ok_or_else(cut)?;
        let (first, within) = indexes.split_first().map_or((0, [].as_slice()), |(first, within)| (*first, within));
        let file = self.pool.get_file_by_name(MAIN);
        let mut found = file.and_then(|file| file.messages().nth(first));
        for index in within {
            found = found.and_then(|message| message.child_messages().nth(*index));
        }
        found.ok_or_else(|| mismatch(format!("its schema has no message {indexes:?}")))
    }
}

/// Counts what the reader would keep of a message, before it does. What is no message ends the count: there the reader stops, too.
fn has_at_most(left: &mut usize, message: &MessageDescriptor, mut rest: &[u8], depth: usize) -> bool {
    while let Some(key) = super::unsigned(&mut rest) {
        let field = u32::try_from(key >> 3).ok().and_then(|number| message.get_field(number));
        let kind = field.as_ref().map(FieldDescriptor::kind);
        let is_packed = field.as_ref().is_some_and(FieldDescriptor::is_list);
        let (bytes, mut values) = match key & 7 {
            0 => (super::unsigned(&mut rest).map(|_| 0), 1),
            1 => (Some(8), 1),
            5 => (Some(4), 1),
            2 => (super::unsigned(&mut rest), 1),
            // A group ends nowhere that can be told without reading it.
            3 => return false,
            _ => return true,
        };
        let Some((value, behind)) =
            bytes.and_then(|bytes| usize::try_from(bytes).ok()).and_then(|bytes| rest.split_at_checked(bytes))
        else {
            return true;
        };
        rest = behind;
        match (key & 7, kind) {
            (2, Some(Kind::Message(within))) if depth < MOST_DEPTH && !has_at_most(left, &within, value, depth + 1) => {
                return false;
            }
            (2, Some(kind)) if is_packed && !matches!(kind, Kind::Message(_) | Kind::String | Kind::Bytes) => {
                values = value.len();
            }
            _ => {}
        }
        let Some(fewer) = left.checked_sub(values) else { return false };
        *left = fewer;
    }
    true
}

fn write_message(message: &DynamicMessage, out: &mut JsonText) -> Result<(), Refusal> {
    let descriptor = message.descriptor();
    if is_well_known(&descriptor) {
        let json = serde_json::to_string(message);
        let json = json.map_err(|error| mismatch(format!("a {}: {error}", descriptor.full_name())))?;
        return out.raw(&json);
    }
    out.raw("{")?;
    let mut is_first = true;
    for field in descriptor.fields() {
        if message.has_field(&field) || is_zero_a_number(&field) {
            out.key(field.name(), &mut is_first)?;
            write_value(&message.get_field(&field), &field.kind(), out)?;
        }
    }
    out.raw("}")
}

/// A `float` or `double` that is zero where it is not set.
fn is_zero_a_number(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Float | Kind::Double) && !field.supports_presence() && !field.is_list()
}

/// Those that `prost-reflect` writes itself. None of them may hold any message: an `Any` may hold an `Any`, which is read while it
/// is written, without a limit. It is left as its fields are; the others are as deep as what was read, at most.
fn is_well_known(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf"
        && matches!(
            message.name(),
            "Timestamp"
                | "Duration"
                | "FieldMask"
                | "Struct"
                | "Value"
                | "ListValue"
                | "BoolValue"
                | "Int32Value"
                | "Int64Value"
                | "UInt32Value"
                | "UInt64Value"
                | "FloatValue"
                | "DoubleValue"
                | "StringValue"
                | "BytesValue"
        )
}

fn write_value(value: &Value, kind: &Kind, out: &mut JsonText) -> Result<(), Refusal> {
    match value {
        Value::Bool(value) => out.shown(value),
        Value::I32(value) => out.shown(value),
        Value::I64(value) => out.shown(value),
        Value::U32(value) => out.shown(value),
        Value::U64(value) => out.shown(value),
        Value::F32(value) => out.float(*value),
        Value::F64(value) => out.float(*value),
        Value::String(value) => out.string(value),
        Value::Bytes(value) => out.base64(value),
        Value::EnumNumber(number) => match kind.as_enum().and_then(|known| known.get_value(*number)) {
            Some(value) => out.string(value.name()),
            None => out.shown(number),
        },
        Value::Message(message) => write_message(message, out),
        Value::List(items) => {
            out.raw("[")?;
            let mut is_first = true;
            for item in items {
                out.comma(&mut is_first)?;
                write_value(item, kind, out)?;
            }
            out.raw("]")
        }
        Value::Map(entries) => {
            let kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            out.raw("{")?;
            let mut is_first = true;
            for (key, value) in entries {
                out.key(&shown_key(key), &mut is_first)?;
                write_value(value, kind.as_ref().unwrap_or(&Kind::String), out)?;
            }
            out.raw("}")
        }
    }
}

fn shown_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// Whether brackets outside of strings and comments nest deeper than `most`. The parser of options has no limit of its own.
fn is_nested_deeper(proto: &str, most: usize) -> bool {
    let (mut depth, mut rest) = (0_usize, proto.as_bytes());
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match (byte, behind) {
            (b'/', [b'/', ..]) | (b'#', _) => rest = behind_line(behind),
            (b'/', [b'*', behind @ ..]) => {
                let end = behind.windows(2).position(|pair| pair == b"*/");
                rest = end.and_then(|end| behind.get(end + 2..)).unwrap_or_default();
            }
            (b'"' | b'\'', _) => rest = behind_string(behind, *byte),
            (b'{' | b'[' | b'<' | b'(', _) => depth += 1,
            (b'}' | b']' | b'>' | b')', _) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            return true;
        }
    }
    false
}

fn behind_line(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    text.get(end..).unwrap_or_default()
}

fn behind_string(mut text: &[u8], quote: u8) -> &[u8] {
    loop {
        match text {
            [b'\\', _, rest @ ..] => text = rest,
            [byte, rest @ ..] if *byte == quote || *byte == b'\n' => return rest,
            [_, rest @ ..] => text = rest,
            [] => return text,
        }
    }
}
