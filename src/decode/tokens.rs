//! Text to token ids with the bundle's own tokenizer: special tokens added, cut to `max_tokens` as the tokenizer itself
//! cuts (the special tokens at both ends stay). Never padded: batches pad to their own longest text.

use std::path::Path;

use tokenizers::{ModelWrapper, Tokenizer, TruncationParams};

/// A text as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Whether the text was longer than `max_tokens`.
    pub(super) truncated: bool,
}

/// A loaded tokenizer.
#[derive(Debug)]
pub(super) struct Encoder {
    tokenizer: Tokenizer,
    /// Token ids of the empty text: the special tokens.
    pub(super) empty_text: Vec<u32>,
    /// The token of what it has no word for, unless it also ends every text (as CLIP's).
    unknown: Option<u32>,
}

impl Encoder {
    /// Loads `tokenizer.json`; what it says of padding and truncation is replaced by the bundle's `max_tokens`.
    ///
    /// # Errors
    /// When the file cannot be read, is no tokenizer, or leaves no token for the text.
    pub(super) fn load(path: &Path, max_tokens: usize) -> Result<Self, String> {
        let mut tokenizer = Tokenizer::from_file(path).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        let empty_text = tokenizer.encode_fast("", true).map_err(|error| error.to_string())?.get_ids().to_vec();
        let special = empty_text.len();
        if max_tokens <= special {
            return Err(format!(
                "max_tokens is {max_tokens}, but its special tokens alone are {special}: nothing of the text would be left"
            ));
        }
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
        let unknown = unknown(&tokenizer).filter(|id| !empty_text.contains(id));
        Ok(Self { tokenizer, empty_text, unknown })
    }

    /// # Errors
    /// With the tokenizer's own words, where it cannot encode a text.
    pub(super) fn encode(&self, text: &str) -> Result<Tokens, String> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| error.to_string())?;
        Ok(Tokens { ids: encoding.get_ids().to_vec(), truncated: !encoding.get_overflowing().is_empty() })
    }

    /// Whether the tokenizer has no word for most of a text.
    pub(super) fn is_mostly_unknown(&self, ids: &[u32]) -> bool {
        let unknown = ids.iter().filter(|id| Some(**id) == self.unknown).count();
        unknown * 2 > ids.len().saturating_sub(self.empty_text.len())
    }
}

fn unknown(tokenizer: &Tokenizer) -> Option<u32> {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => tokenizer.token_to_id(&model.unk_token),
        ModelWrapper::WordLevel(model) => tokenizer.token_to_id(&model.unk_token),
        ModelWrapper::BPE(model) => model.unk_token.as_ref().and_then(|token| tokenizer.token_to_id(token)),
        // It keeps its id to itself; the name is SentencePiece's.
        ModelWrapper::Unigram(_) => tokenizer.token_to_id("<unk>"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use super::*;

    /// A word tokenizer with `[CLS]` and `[SEP]`, as small as they come, whose own padding and truncation must not show.
    pub(in crate::decode) const WORDS: &str = r#"{
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]",
                  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "the": 4, "beach": 5, "dog": 6}}
    }"#;

    pub(in crate::decode) fn words() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(WORDS.as_bytes()).expect("written");
        file
    }

    fn tokens(text: &str, max_tokens: usize) -> Tokens {
        Encoder::load(words().path(), max_tokens).expect("loads").encode(text).expect("encodes")
    }

    #[test]
    fn special_tokens_are_added_and_nothing_is_padded() {
        assert_eq!(tokens("The DOG", 64), Tokens { ids: vec![2, 4, 6, 3], truncated: false });
        assert_eq!(Encoder::load(words().path(), 64).expect("loads").empty_text, tokens("", 64).ids);
    }

    #[test]
    fn a_long_text_is_cut_and_keeps_its_last_special_token() {
        assert_eq!(tokens("the dog the dog", 4), Tokens { ids: vec![2, 4, 6, 3], truncated: true });
        assert_eq!(tokens("the dog", 4), Tokens { ids: vec![2, 4, 6, 3], truncated: false });
    }

    #[test]
    fn max_tokens_must_leave_room_for_text() {
        let refused = Encoder::load(words().path(), 2).expect_err("refused");
        assert!(refused.contains("max_tokens is 2"), "{refused}");
        assert!(Encoder::load(Path::new("none/tokenizer.json"), 8).is_err());
    }

    #[test]
    fn a_text_without_known_words_is_told() {
        let encoder = Encoder::load(words().path(), 64).expect("loads");
        let told = |text| encoder.is_mostly_unknown(&encoder.encode(text).expect("encodes").ids);
        assert!(told("собака на пляже") && told("Hund") && told("the Hund am Strand"));
        assert!(!told("the Hund") && !told("the beach") && !told(""));
    }

    #[test]
    fn odd_texts_encode() {
        for text in ["", "\0", "\u{1b}[31m", "\u{200b}\u{feff}", &"😀".repeat(10_000)] {
            assert!(tokens(text, 16).ids.len() <= 16);
        }
    }
}
