//! What came back: printed post by post, or chapter by chapter where a story is told, and summed up at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::say;
use crate::kafka::feed::Read;
use crate::posts;

/// A line of the story is printed for so many seconds of it.
const CHAPTER: i64 = 3 * 3600;

/// What came back.
#[derive(Debug, Default)]
pub struct Tally {
    /// Results of posts that were shown one by one.
    pub results: u64,
    /// Of these, what was refused.
    pub refused: u64,
    labels: BTreeMap<String, u64>,
    /// Outcomes of the story.
    pub told: u64,
    /// Its posts per second, from feed to outcome, as fast as they went.
    pub rate: f64,
    chapter: Chapter,
}

/// Some hours of the story.
#[derive(Debug, Default)]
struct Chapter {
    number: i64,
    posts: u32,
    polarity: f64,
    tags: BTreeMap<String, u64>,
}

impl Tally {
    /// Prints an outcome.
    pub fn shown(&mut self, read: &Read, description: &str) {
        if let Some(result) = result(read) {
            self.results += 1;
            *self.labels.entry(text(&result, "/sentiment/label").to_owned()).or_default() += 1;
            say(&line(&result, description));
            return;
        }
        self.refused += 1;
        let reason = read.headers.iter().find(|(key, _)| key == "dlq.reason").map_or("?", |(_, reason)| reason);
        say(&format!("{:<9}       | {reason} | {description}", "refused"));
    }

    /// Counts an outcome of the story; a chapter is printed when the next one begins. What is cut off in it is refused on purpose.
    pub fn told(&mut self, read: &Read, _: &str) {
        self.told += 1;
        let Some(result) = result(read) else { return };
        let Ok(at) = text(&result, "/published_at").parse::<Timestamp>() else { return };
        let number = at.as_second().div_euclid(CHAPTER);
        if number != self.chapter.number {
            self.end_chapter();
            self.chapter = Chapter { number, ..Chapter::default() };
        }
        self.chapter.posts += 1;
        self.chapter.polarity += result.pointer("/sentiment/polarity").and_then(Value::as_f64).unwrap_or_default();
        for tag in result.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            *self.chapter.tags.entry(tag.to_owned()).or_default() += 1;
        }
    }

    /// Prints the chapter that is being told, if any is.
    pub fn end_chapter(&mut self) {
        let Chapter { number, posts, polarity, tags } = &self.chapter;
        let Ok(start) = Timestamp::from_second(number * CHAPTER) else { return };
        if *posts > 0 {
            let start = start.to_zoned_datetime(TimeZone::system()).strftime("%a %d %b %H:%M");
            let mean = polarity / f64::from(*posts);
            let bar = "#".repeat((0..20).take_while(|step| f64::from(*step) < 10.0 * (mean + 1.0)).count());
            let tag = tags.iter().max_by_key(|(_, count)| **count).map_or("", |(tag, _)| tag);
            say(&format!("{start}  {mean:+.2} {bar:<20} {posts:>4} posts, most often #{tag}"));
        }
    }

    /// A file that is no post.
    pub fn unreadable(&mut self, error: &posts::Error) {
        self.refused += 1;
        say(&format!("{:<9}       | {error}", "refused"));
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
        let (results, refused, labels, told, rate) =
            (self.results, self.refused, labels.join(", "), self.told, self.rate);
        let mut summary = format!("summary: {results} results ({labels}), {refused} refused");
        if told > 0 {
            // Writing to a string does not fail.
            let _ = write!(
                summary,
                "; then {told} of the story, {rate:.0} posts/s from feed to result, most known by then"
            );
        }
        summary
    }
}

fn result(read: &Read) -> Option<Value> {
    let result = read.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
    result.filter(|result| result.get("sentiment").is_some())
}

fn text<'r>(result: &'r Value, pointer: &str) -> &'r str {
    result.pointer(pointer).and_then(Value::as_str).unwrap_or("?")
}

fn line(result: &Value, description: &str) -> String {
    let polarity = result.pointer("/sentiment/polarity").and_then(Value::as_f64).unwrap_or_default();
    let mut line = format!("{:<9} {polarity:+.2} | ", text(result, "/sentiment/label"));
    for (name, weight) in result.get("relevance").and_then(Value::as_object).into_iter().flatten() {
        let percent = 100.0 * weight.as_f64().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(line, "{name} {percent:>3.0}%  ");
    }
    line + "| " + description
}
