//! The warm-up: made-up posts through every graph, before the first real one and whenever a batch failed. It takes the
//! memory that the largest batch needs, and holds the bundle to its word that posts do not depend on their neighbours.

use super::error::ModelError;
use super::{Model, Prediction};
use crate::message::{ModelInput, Picture};
use crate::metrics::Metrics;

/// How far apart the same post may score alone and among others: a flipped rounding of an int8 graph is far below, a scale
/// taken from the batch far above.
const NEIGHBOURS_TOLERANCE: f32 = 1e-3;
/// Ids below this are in any vocabulary.
const IDS: usize = 4;

impl Model {
    /// Runs made-up posts, alone and in a batch of `batch`, and checks the answers. Leaves no trace in the worker's metrics.
    ///
    /// # Errors
    /// Where a graph fails, gives no answer, or lets posts depend on their neighbours.
    pub fn warm_up(&mut self, batch: usize) -> Result<(), ModelError> {
        let cache = self.cache.take();
        let warmed = self.warm_up_without_cache(batch);
        self.cache = cache;
        warmed
    }

    fn warm_up_without_cache(&mut self, batch: usize) -> Result<(), ModelError> {
        let metrics = Metrics::new();
        let posts: Vec<ModelInput> = (0..batch.max(2)).map(|number| self.made_up(number)).collect();
        let posts: Vec<&ModelInput> = posts.iter().collect();
        let together = self.predict(&posts, &metrics)?;
        // The first has every field, the second none: both ways through the heads and the tagger.
        for (post, among) in posts.chunks(1).zip(&together).take(2) {
            let alone = self.predict(post, &metrics)?;
            let difference = alone.iter().map(|alone| apart(alone, among)).fold(0.0, f32::max);
            if difference > NEIGHBOURS_TOLERANCE {
                let most = NEIGHBOURS_TOLERANCE;
                return Err(ModelError::Neighbours { batch: posts.len(), difference, most });
            }
        }
        Ok(())
    }

    /// A post that differs from every other: even ones have every field at full length, odd ones none.
    fn made_up(&self, number: usize) -> ModelInput {
        let pixels = self.image_encoder.size("W") * self.image_encoder.size("H") * 3;
        let fields = self.text_encoder.size("K");
        let text = |field: usize| (0..self.max_tokens).map(|place| digit(number * fields + field, place)).collect();
        ModelInput {
            picture: Picture::Pixels { rgb: (0..pixels).map(|place| byte(place, number)).collect(), key: None },
            fields: (0..fields).map(|field| number.is_multiple_of(2).then(|| text(field))).collect(),
        }
    }
}

/// A slope whose steepness and brightness differ from post to post.
fn byte(place: usize, number: usize) -> u8 {
    u8::try_from((place * (number % 7 + 1) / 97 + number * 37) % 256).unwrap_or(u8::MAX)
}

/// Token `place` of a text: the number of the text written in token ids.
fn digit(number: usize, place: usize) -> u32 {
    let divisor = IDS.checked_pow(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
    u32::try_from(number / divisor % IDS).unwrap_or(0)
}

fn apart(one: &Prediction, other: &Prediction) -> f32 {
    let numbers = |prediction: &Prediction| {
        let effects = prediction.effects.iter().map(|effect| effect.unwrap_or(0.0));
        prediction.probabilities.iter().chain(&prediction.relevance).copied().chain(effects).collect::<Vec<f32>>()
    };
    numbers(one).iter().zip(numbers(other)).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_batch_differ() {
        let texts: Vec<Vec<u32>> = (0..64).map(|number| (0..16).map(|place| digit(number, place)).collect()).collect();
        for (place, text) in texts.iter().enumerate() {
            assert!(!texts[..place].contains(text), "{text:?} twice");
            assert!(text.iter().all(|id| *id < 4));
        }
    }
}
