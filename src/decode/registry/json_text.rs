//! JSON that is written piece by piece, up to a limit: what a payload of a few bytes becomes may be without end (a list of a
//! billion nulls takes six).

use std::fmt::{Display, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Reason, Refusal};

/// Field names and numbers are longer in JSON.
const TIMES: usize = 8;
const SLACK: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct JsonText {
    text: String,
    most: usize,
}

impl JsonText {
    pub(super) fn of_payload(payload: &[u8]) -> Self {
        Self { text: String::new(), most: payload.len().saturating_mul(TIMES).saturating_add(SLACK) }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    fn room_for(&self, bytes: usize) -> Result<(), Refusal> {
        if self.text.len().saturating_add(bytes) > self.most {
            let detail = format!("the value has more than {} bytes as JSON", self.most);
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        Ok(())
    }

    /// JSON as it is.
    pub(super) fn raw(&mut self, json: &str) -> Result<(), Refusal> {
        self.room_for(json.len())?;
        self.text.push_str(json);
        Ok(())
    }

    /// A number, or what else is JSON as it shows itself.
    pub(super) fn shown(&mut self, value: impl Display) -> Result<(), Refusal> {
        // A String takes whatever is written.
        let _ = write!(self.text, "{value}");
        self.room_for(0)
    }

    /// A number that may be none.
    pub(super) fn float(&mut self, value: impl Into<f64> + std::fmt::Debug + Copy) -> Result<(), Refusal> {
        // `Debug` writes the shortest digits of its own precision, with an exponent where that is shorter.
        if value.into().is_finite() { self.shown(format_args!("{value:?}")) } else { self.raw("null") }
    }

    pub(super) fn string(&mut self, value: &str) -> Result<(), Refusal> {
        self.room_for(value.len())?;
        // Fails for no string.
        self.raw(&serde_json::to_string(value).unwrap_or_default())
    }

    /// Bytes, as base64.
    pub(super) fn base64(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.room_for(bytes.len() / 3 * 4)?;
        self.text.push('"');
        STANDARD.encode_string(bytes, &mut self.text);
        self.text.push('"');
        self.room_for(0)
    }

    /// What comes before a list's or object's next part.
    pub(super) fn comma(&mut self, is_first: &mut bool) -> Result<(), Refusal> {
        if std::mem::take(is_first) { Ok(()) } else { self.raw(",") }
    }

    /// A field's name.
    pub(super) fn key(&mut self, name: &str, is_first: &mut bool) -> Result<(), Refusal> {
        self.comma(is_first)?;
        self.string(name)?;
        self.raw(":")
    }
}
