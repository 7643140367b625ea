//! What the posts of a corpus say, and which of them a feed repeats: drawn from a seed, the same every time.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Words of captions. Texts cost by their tokens, not by their sense.
const WORDS: &str = "a an and another around at best better big blue bright busy calm city clear coffee cold crowd dark day dear dinner dog \
    down dream early evening every face fall family far favourite first food for free friend from full garden gate glad go gold good great green \
    grey half happy hard heart hill home hope house hungry in is it just kind lake last late laugh leaf left light like little long look lost \
    love lunch made memory mild miss moment moon morning most mountain music my near never new nice night north of off old on once open our out \
    over park party people perfect place proud quiet rain ready really red right river road room sad same sea season shop sky slow small smile \
    snow so some song soon spring station still stone storm story street summer sun sunday sunset sweet table team tea that the their this time \
    tired today together tomorrow too town train travel tree trip under until view wait walk warm water weather week weekend well what when \
    white wide wild wind window winter with wonderful work world worst year yellow yesterday you young";
const TAGS: &str = "art autumn beach breakfast cats city coffee concert dogs family fashion fitness food football friends garden happy hiking \
    holiday home instagood love makeup monday moody music nature nofilter ootd party photooftheday portrait rainyday roadtrip sad selfie sky \
    smile sneakers sport streetart style summer sunset tbt tired travel vegan vintage weekend winter workout";
const SCENES: &str = "airport bar beach bedroom bridge cafe church concert hall forest garden gym harbour highway hospital kitchen lake library \
    living room market mountain museum office park playground restaurant river school shop stadium station street temple theatre";
const OBJECTS: &str = "backpack ball bench bicycle bird boat book bottle bowl bus cake car cat chair clock cup dog flower fork glass guitar hat \
    horse lamp laptop person phone pizza plant shoe sign table tie train tree umbrella vase window";

fn any<'a>(rng: &mut Rng, words: &'a str) -> &'a str {
    let count = words.split_ascii_whitespace().count();
    words.split_ascii_whitespace().nth(rng.usize(..count)).unwrap_or_default()
}

/// Metadata as posts have it: a caption of 5 to 25 words and up to 5 hashtags, a scene and objects of a detector; one in ten
/// lacks the caption, one in five the scene.
pub fn metadata(rng: &mut Rng) -> Value {
    let mut metadata = Map::new();
    let tags: Vec<&str> = (0..rng.usize(0..=5)).map(|_| any(rng, TAGS)).collect();
    if rng.u8(..10) > 0 {
        metadata.insert("caption".into(), json!(caption(rng, 5..=25)));
    }
    if !tags.is_empty() {
        metadata.insert("tags".into(), json!(tags));
    }
    if rng.u8(..5) > 0 {
        metadata.insert("scene".into(), json!(any(rng, SCENES)));
    }
    let objects: Vec<Value> = (0..rng.usize(0..=3))
        .map(|_| json!({"label": any(rng, OBJECTS), "score": f64::from(rng.u8(30..=99)) / 100.0}))
        .collect();
    if !objects.is_empty() {
        metadata.insert("objects".into(), json!(objects));
    }
    Value::Object(metadata)
}

/// So many words.
pub fn caption(rng: &mut Rng, words: std::ops::RangeInclusive<usize>) -> String {
    let words: Vec<&str> = (0..rng.usize(words)).map(|_| any(rng, WORDS)).collect();
    words.join(" ")
}

/// Ranks from 0 on, rank `k` with a probability in proportion to 1 / (k + 1)^s.
#[derive(Debug)]
pub struct Zipf {
    /// The last is 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over `ranks` ranks, at least one.
    pub fn new(ranks: u32, s: f64) -> Self {
        let weights = (1..=ranks.max(1)).map(|rank| f64::from(rank).powf(-s));
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        for share in &mut cumulative {
            *share /= sum;
        }
        Self { cumulative }
    }

    /// A rank.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        let share = rng.f64();
        self.cumulative.partition_point(|up_to| *up_to <= share).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_zipf_says() {
        let (zipf, mut rng, draws) = (Zipf::new(2000, 1.1), Rng::with_seed(7), 200_000);
        let mut counts = vec![0u32; 2000];
        for _ in 0..draws {
            counts[zipf.draw(&mut rng)] += 1;
        }
        let norm: f64 = (1..=2000u32).map(|rank| f64::from(rank).powf(-1.1)).sum();
        for rank in [1u32, 2, 5, 20] {
            let expected = f64::from(rank).powf(-1.1) / norm * f64::from(draws);
            let came = f64::from(counts[rank as usize - 1]);
            assert!((came - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {came}, expected {expected}");
        }
        assert_eq!(counts.iter().sum::<u32>(), draws);
    }

    #[test]
    fn one_rank_is_always_drawn() {
        let (zipf, mut rng) = (Zipf::new(1, 1.1), Rng::with_seed(1));
        assert!((0..100).all(|_| zipf.draw(&mut rng) == 0));
    }

    #[test]
    fn metadata_is_the_same_for_a_seed_and_within_its_bounds() {
        let (mut lacking, mut rng) = (0, Rng::with_seed(3));
        for number in 0..1000u64 {
            let metadata = metadata(&mut rng);
            let again = self::metadata(&mut Rng::with_seed(number));
            assert_eq!(again, self::metadata(&mut Rng::with_seed(number)));
            match metadata["caption"].as_str() {
                Some(caption) => assert!((5..=25).contains(&caption.split(' ').count()), "{caption}"),
                None => lacking += 1,
            }
            assert!(metadata.get("tags").is_none_or(|tags| (1..=5).contains(&tags.as_array().expect("a list").len())));
        }
        assert!((50..200).contains(&lacking), "{lacking} of 1000 without a caption");
    }
}
