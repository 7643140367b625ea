//! Avro's binary encoding to JSON, by the schema that it was written with.
//!
//! The schema is parsed by `apache-avro`; the payload is read here, since what is asked of it is more than that crate's reader
//! gives: nesting is limited (a recursive schema costs a byte a level), an end that comes too early is an error and no `null`, and
//! nothing is built but the JSON text. A union is what is in it, an enum its symbol, bytes are base64, times are what RFC 3339
//! writes and a decimal is a number.

use apache_avro::schema::{
    DecimalSchema, EnumSchema, FixedSchema, InnerDecimalSchema, NamesRef, RecordSchema, ResolvedSchema, UuidSchema,
};
use apache_avro::{BigDecimal, Decimal, Schema, Uuid};
use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Timestamp};

use super::json_text::JsonText;
use super::mismatch;
use crate::error::{Reason, Refusal};

/// Deeper than any JSON that is read (`decode.json_depth`).
const MOST_DEPTH: usize = 128;
/// 77 digits: more than any database has.
const MOST_DECIMAL_BYTES: usize = 32;
/// Digits behind the point: each is written, whatever the number is.
const MOST_SCALE: usize = 77;
const MILLI: i64 = 1_000_000;
const MICRO: i64 = 1_000;

/// A schema with those it refers to.
#[derive(Debug)]
pub(super) struct Avro {
    schema: Schema,
    references: Vec<Schema>,
}

impl Avro {
    pub(super) fn parse(text: &str, references: &[(String, String)]) -> Result<Self, String> {
        let texts = references.iter().map(|(_, text)| text);
        let (schema, references) =
            Schema::parse_str_with_list(text, texts).map_err(|error| format!("it is no Avro schema: {error}"))?;
        let avro = Self { schema, references };
        avro.resolved().map_err(|error| format!("it is no Avro schema: {error}"))?;
        Ok(avro)
    }

    fn resolved(&self) -> Result<ResolvedSchema<'_>, apache_avro::Error> {
        ResolvedSchema::new_with_schemata(self.references.iter().chain([&self.schema]).collect())
    }

    pub(super) fn write(&self, payload: &[u8], out: &mut JsonText) -> Result<(), Refusal> {
        let resolved = self.resolved().map_err(|error| mismatch(error.to_string()))?;
        let mut reader = Reader { rest: payload, names: resolved.get_names(), out, depth: 0 };
        reader.value(&self.schema, None)?;
        match reader.rest.len() {
            0 => Ok(()),
            left => Err(mismatch(format!("{left} bytes are left behind its end"))),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    names: &'a NamesRef<'a>,
    out: &'a mut JsonText,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, schema: &'a Schema, namespace: Option<&str>) -> Result<(), Refusal> {
        match schema {
            Schema::Null => self.out.raw("null"),
            Schema::Boolean => match self.take(1)? {
                [0] => self.out.raw("false"),
                [1] => self.out.raw("true"),
                other => Err(mismatch(format!("a boolean is {other:?}"))),
            },
            Schema::Int => {
                let number = self.int()?;
                self.out.shown(number)
            }
            Schema::Long => {
                let number = self.long()?;
                self.out.shown(number)
            }
            Schema::Float => {
                let bytes = self.array()?;
                self.out.float(f32::from_le_bytes(bytes))
            }
            Schema::Double => {
                let bytes = self.array()?;
                self.out.float(f64::from_le_bytes(bytes))
            }
            Schema::String | Schema::Uuid(UuidSchema::String) => {
                let text = self.text()?;
                self.out.string(text)
            }
            Schema::Bytes | Schema::BigDecimal => {
                let bytes = self.bytes()?;
                self.out.base64(bytes)
            }
            Schema::Fixed(FixedSchema { size, .. }) | Schema::Duration(FixedSchema { size, .. }) => {
                let bytes = self.take(*size)?;
                self.out.base64(bytes)
            }
            Schema::Uuid(UuidSchema::Bytes) => {
                let bytes = self.bytes()?;
                self.uuid(bytes)
            }
            Schema::Uuid(UuidSchema::Fixed(FixedSchema { size, .. })) => {
                let bytes = self.take(*size)?;
                self.uuid(bytes)
            }
            Schema::Decimal(decimal) => self.decimal(decimal),
            Schema::Enum(EnumSchema { symbols, .. }) => {
                let index = self.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                let symbol = symbol.ok_or_else(|| mismatch(format!("an enum has no symbol {index}")))?;
                self.out.string(symbol)
            }
            Schema::Union(union) => {
                let index = self.long()?;
                let variant = usize::try_from(index).ok().and_then(|index| union.variants().get(index));
                self.value(variant.ok_or_else(|| mismatch(format!("a union has no branch {index}")))?, namespace)
            }
            Schema::Array(array) => self.nested(|reader| {
                reader.out.raw("[")?;
                reader.blocks(|reader, is_first| {
                    reader.out.comma(is_first)?;
                    reader.value(&array.items, namespace)
                })?;
                reader.out.raw("]")
            }),
            Schema::Map(map) => self.nested(|reader| {
                reader.out.raw("{")?;
                reader.blocks(|reader, is_first| {
                    let key = reader.text()?;
                    reader.out.key(key, is_first)?;
                    reader.value(&map.types, namespace)
                })?;
                reader.out.raw("}")
            }),
            Schema::Record(record) => self.nested(|reader| reader.record(record, namespace)),
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let schema = self.names.get(&*name).copied();
                let schema = schema.ok_or_else(|| mismatch(format!("it names {name}, which is nowhere")))?;
                self.value(schema, name.namespace())
            }
            Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => self.time(schema),
        }
    }

    fn record(&mut self, record: &'a RecordSchema, namespace: Option<&str>) -> Result<(), Refusal> {
        let name = record.name.fully_qualified_name(namespace);
        self.out.raw("{")?;
        let mut is_first = true;
        for field in &record.fields {
            self.out.key(&field.name, &mut is_first)?;
            self.value(&field.schema, name.namespace())?;
        }
        self.out.raw("}")
    }

    /// One level further down.
    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        if self.depth == MOST_DEPTH {
            let detail = format!("the value is nested deeper than {MOST_DEPTH} by its schema");
            return Err(Refusal::new(Reason::TooDeep, detail));
        }
        self.depth += 1;
        read(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// The items of a list, which come in blocks. That those of no bytes end somewhere is the text's limit.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self, &mut bool) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut is_first = true;
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // How many bytes the block has, for those who skip it.
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self, &mut is_first)?;
            }
        }
    }

    /// A time that jiff does not reach is the number that it is written as.
    fn time(&mut self, schema: &Schema) -> Result<(), Refusal> {
        let is_int = matches!(schema, Schema::Date | Schema::TimeMillis);
        let number = if is_int { self.int()?.into() } else { self.long()? };
        let shown = match schema {
            Schema::Date => date(number).map(|date| date.to_string()),
            Schema::TimeMillis => time_of_day(number, MILLI).map(|time| time.to_string()),
            Schema::TimeMicros => time_of_day(number, MICRO).map(|time| time.to_string()),
            Schema::TimestampMillis => timestamp(number, MILLI).map(|time| time.to_string()),
            Schema::TimestampMicros => timestamp(number, MICRO).map(|time| time.to_string()),
            Schema::TimestampNanos => timestamp(number, 1).map(|time| time.to_string()),
            Schema::LocalTimestampMillis => local(number, MILLI).map(|time| time.to_string()),
            Schema::LocalTimestampMicros => local(number, MICRO).map(|time| time.to_string()),
            _ => local(number, 1).map(|time| time.to_string()),
        };
        match shown {
            Some(time) => self.out.string(&time),
            None => self.out.shown(number),
        }
    }

    fn uuid(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let uuid = Uuid::from_slice(bytes).map_err(|error| mismatch(format!("a UUID: {error}")))?;
        self.out.string(&uuid.to_string())
    }

    fn decimal(&mut self, decimal: &DecimalSchema) -> Result<(), Refusal> {
        let bytes = match &decimal.inner {
            InnerDecimalSchema::Bytes => self.bytes()?,
            InnerDecimalSchema::Fixed(fixed) => self.take(fixed.size)?,
        };
        let is_sound = decimal.scale <= MOST_SCALE && (1..=MOST_DECIMAL_BYTES).contains(&bytes.len());
        let scale = i64::try_from(decimal.scale).ok().filter(|_| is_sound).ok_or_else(|| {
            let (bytes, scale) = (bytes.len(), decimal.scale);
            mismatch(format!(
                "a decimal of {bytes} bytes and the scale {scale}; read are 1 to {MOST_DECIMAL_BYTES} and 0 to {MOST_SCALE}"
            ))
        })?;
        let number = BigDecimal::new(Decimal::from(bytes).into(), scale);
        self.out.raw(&number.to_plain_string())
    }

    fn text(&mut self) -> Result<&'a str, Refusal> {
        str::from_utf8(self.bytes()?).map_err(|error| mismatch(format!("a string is not UTF-8: {error}")))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| mismatch(format!("something has {length} bytes")))?)
    }

    fn int(&mut self) -> Result<i32, Refusal> {
        let number = self.long()?;
        i32::try_from(number).map_err(|_| mismatch(format!("an int is {number}")))
    }

    /// A zig-zag varint.
    fn long(&mut self) -> Result<i64, Refusal> {
        super::varint(&mut self.rest).ok_or_else(|| mismatch("it ends too early, or a number in it has no end"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        self.take(N)?.try_into().map_err(|_| mismatch("it ends too early"))
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Refusal> {
        let short = || mismatch(format!("it ends too early: {bytes} bytes are missing or cut"));
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(short)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn timestamp(number: i64, nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(number) * i128::from(nanoseconds)).ok()
}

/// Of no time zone.
fn local(number: i64, nanoseconds: i64) -> Option<DateTime> {
    timestamp(number, nanoseconds).map(|time| jiff::tz::Offset::UTC.to_datetime(time))
}

fn date(days: i64) -> Option<Date> {
    local(days.checked_mul(86_400)?, 1_000_000_000).map(DateTime::date)
}

fn time_of_day(number: i64, nanoseconds: i64) -> Option<Time> {
    let since = SignedDuration::from_nanos(number.checked_mul(nanoseconds)?);
    Time::midnight().checked_add(since).ok().filter(|_| !since.is_negative())
}
