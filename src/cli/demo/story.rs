//! The story that the demo's dashboard is to tell: three days in the life of a café whose app breaks one evening. Made up, and
//! the same every time but for its dates. What it shows: sentiment falls where the app charges people twice, the tags say
//! why, and it rises when they get their money back with a free coffee.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::SAMPLES;
use crate::message::Header;
use crate::posts::{self, SourcePost};

/// A step of the story; each has a few posts.
pub const STEP: Duration = Duration::from_mins(10);
/// How long ago it begins.
pub const LENGTH: Duration = Duration::from_hours(72);
/// How long before its end the app breaks, and is mended.
const BREAKS: Duration = Duration::from_hours(8);
const MENDED: Duration = Duration::from_hours(4);

/// A post that somebody might write: photograph, caption, hashtags.
type Line = (&'static str, &'static str, &'static [&'static str]);

const GLAD: &[Line] = &[
    ("coffee.jpg", "Best flat white of the week, and such a kind welcome", &["latteart", "coffeelover"]),
    ("coffee.jpg", "Perfect espresso before work, I love this place", &["coffeelover", "monday"]),
    ("coffee.jpg", "Found my new favourite café, the cake is wonderful", &["cake", "weekend"]),
    ("flower.webp", "Flowers on every table today, what a lovely terrace", &["terrace", "summer"]),
    ("cat.jpg", "The shop cat fell asleep on my lap, happiest morning ever", &["shopcat", "happy"]),
    ("temple.jpg", "Iced coffee with a view like this, what a beautiful day", &["travel", "icedcoffee"]),
    ("astronaut.jpg", "Our barista of the month is an inspiration, so proud of her", &["team", "proud"]),
];
const PLAIN: &[Line] = &[
    ("coffee.jpg", "Open from 7 to 19 on weekdays, from 9 at the weekend", &["openinghours"]),
    ("coins.png", "New prices from Monday: espresso 2.40, flat white 3.90", &["prices"]),
    ("cameraman.jpg", "Photo walk on Saturday, meeting point at the shop at 10", &["photowalk"]),
    ("hubble.jpg", "", &["wow"]),
    ("coffee.jpg", "", &[]),
];
const ANNOYED: &[Line] = &[
    ("coffee.jpg", "Cold coffee and a rude waiter, not coming back", &["disappointed"]),
    ("cat.jpg", "They would not let my cat in, sad and angry", &["disappointed"]),
    ("flower.webp", "The flowers are dead and so is the service", &["badservice"]),
];
const BROKEN_APP: &[Line] = &[
    ("coffee.jpg", "Charged me twice for one coffee and nobody answers, this is awful", &["appdown", "doublecharged"]),
    (
        "coffee.jpg",
        "App down again, forty minutes in the queue and still no coffee. Terrible",
        &["appdown", "longqueue"],
    ),
    ("coffee.jpg", "My money is gone and the app just crashes. I hate this", &["appdown", "doublecharged"]),
    (
        "coins.png",
        "Paid three times for one espresso! Shame on you, give me my money back",
        &["doublecharged", "ripoff"],
    ),
    ("cameraman.jpg", "Standing in the rain because the app is broken. Worst morning ever", &["appdown", "longqueue"]),
];
const REFUNDED: &[Line] = &[
    ("coffee.jpg", "Refund is here and a free coffee on top, thank you so much", &["freecoffee", "thankyou"]),
    (
        "coffee.jpg",
        "Well done, honest apology and a free flat white for everyone. Love it",
        &["freecoffee", "coffeelover"],
    ),
    (
        "flower.webp",
        "They gave everybody flowers and a free coffee, what a wonderful team",
        &["freecoffee", "thankyou"],
    ),
    ("astronaut.jpg", "So proud of this team, they fixed it overnight. Amazing people", &["thankyou", "team"]),
];
/// Feeds, with the share of their posts that are about the app while it is broken, in percent.
const SOURCES: &[(&str, u8)] = &[("x/kestrelcoffee", 95), ("instagram/kestrelcoffee", 80), ("reviews/kestrel", 30)];
/// One post in so many has a picture that is cut off, and becomes a dead letter.
const CUT_OFF: usize = 900;

/// A post of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When it was published.
    pub at: Timestamp,
    source: &'static str,
    line: Line,
    number: usize,
}

/// The posts of a story that ends at `end`, in order of time.
pub fn until(end: Timestamp) -> Vec<Told> {
    let mut random = fastrand::Rng::with_seed(20_261);
    let mut told = Vec::new();
    let mut ago = LENGTH;
    while !ago.is_zero() {
        for _ in 0..random.usize(4..=9) {
            let before_end = ago.saturating_sub(STEP.mul_f64(random.f64()));
            let at = end - SignedDuration::try_from(before_end).unwrap_or_default();
            let (source, share) = random.choice(SOURCES).copied().unwrap_or_default();
            let mood = mood(ago, share, &mut random);
            let line = random.choice(mood).copied().unwrap_or_default();
            told.push(Told { at, source, line, number: 0 });
        }
        ago = ago.saturating_sub(STEP);
    }
    told.sort_by_key(|post| post.at);
    (1..).zip(&mut told).for_each(|(number, post)| post.number = number);
    told
}

/// What is posted so long before the end, where `share` percent are about the app while it is broken.
fn mood(ago: Duration, share: u8, random: &mut fastrand::Rng) -> &'static [Line] {
    let percent = random.u8(..100);
    if ago > MENDED && ago <= BREAKS && percent < share {
        return BROKEN_APP;
    }
    match random.u8(..100) {
        0..30 => PLAIN,
        30..42 => ANNOYED,
        42.. if ago <= MENDED => REFUNDED,
        42.. => GLAD,
    }
}

impl Told {
    /// The same, published at another time.
    pub fn again(&self, at: Timestamp) -> Self {
        Self { at, ..self.clone() }
    }

    /// As it travels on the topic; `None` where the samples lack its photograph.
    pub fn post(&self) -> Option<SourcePost> {
        let (name, caption, tags) = self.line;
        let (_, photo) = SAMPLES.iter().find(|(sample, _)| *sample == name)?;
        let whole = !self.number.is_multiple_of(CUT_OFF);
        let photo = if whole { photo } else { photo.get(..photo.len() / 3)? };
        let hashtags = tags.iter().fold(String::new(), |hashtags, tag| hashtags + " #" + tag);
        let mut metadata = json!({"tags": tags});
        if let (false, Some(metadata)) = (caption.is_empty(), metadata.as_object_mut()) {
            metadata.insert("caption".into(), format!("{caption}{hashtags}").into());
        }
        let header = |key: &str, value: String| Header { key: key.into(), value: Some(value.into()) };
        let headers = vec![
            header("content-type", posts::content_type(Path::new(name))?.to_owned()),
            header("ce_id", format!("kestrel-{}", self.number)),
            header("ce_source", self.source.to_owned()),
            header("ce_time", self.at.to_string()),
            header("metadata", metadata.to_string()),
        ];
        Some(SourcePost { key: None, value: Bytes::from_static(photo), headers, label: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().expect("a time")
    }

    fn between(told: &[Told], from: Duration, to: Duration) -> Vec<&Told> {
        let ago = |duration| end() - SignedDuration::try_from(duration).expect("short");
        told.iter().filter(|post| post.at > ago(from) && post.at <= ago(to)).collect()
    }

    #[test]
    fn it_is_told_in_order_over_three_days_and_the_same_every_time() {
        let told = until(end());
        assert!(told.len() > 2000, "{}", told.len());
        assert!(told.is_sorted_by_key(|post| post.at));
        assert_eq!(between(&told, LENGTH, Duration::ZERO).len(), told.len());
        assert_eq!(told, until(end()));
        assert!(told.iter().all(|post| post.post().is_some()));
    }

    #[test]
    fn people_complain_of_the_app_only_while_it_is_broken_and_most_where_it_is_used() {
        let told = until(end());
        let share = |from, to, source: Option<&str>, tag: &str| {
            let posts = between(&told, from, to);
            let posts: Vec<_> = posts.iter().filter(|post| source.is_none_or(|source| post.source == source)).collect();
            let tagged = posts.iter().filter(|post| post.line.2.contains(&tag)).count();
            100 * tagged / posts.len()
        };
        assert_eq!(share(LENGTH, BREAKS, None, "appdown"), 0);
        assert_eq!(share(MENDED, Duration::ZERO, None, "appdown"), 0);
        assert!(share(BREAKS, MENDED, Some("x/kestrelcoffee"), "appdown") > 60);
        assert!(share(BREAKS, MENDED, Some("reviews/kestrel"), "appdown") < 45);
        assert_eq!(share(LENGTH, MENDED, None, "freecoffee"), 0);
        assert!(share(MENDED, Duration::ZERO, None, "freecoffee") > 25);
    }
}
