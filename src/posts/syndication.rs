//! RSS and Atom: an entry with a picture is a post. The picture is `media:content`, an enclosure, `media:thumbnail` or the first
//! `<img>` of the text; the caption is the title, or the text where there is none; tags are the categories.

use std::io::Cursor;

use feed_rs::model::{Entry, Feed, MediaObject};
use quick_xml::encoding::DecodingReader;
use quick_xml::events::Event;
use url::Url;

use super::archive::{Drafted, NO_IMAGE};
use super::draft::{Draft, Image, content_type, id, is_read};
use super::html;

/// The most elements that may be open at once: more than any feed has, and less than a stack takes.
const MOST_DEPTH: usize = 256;

/// Its entries, each with its id. `base` is what relative addresses are relative to.
pub(crate) fn entries(feed: &[u8], base: Option<&Url>) -> Result<Vec<(String, Drafted)>, String> {
    if is_deep(feed).map_err(|error| format!("not RSS or Atom: {error}"))? {
        return Err(format!("XML nested deeper than {MOST_DEPTH}"));
    }
    // Without an id of its own an entry goes by its address: anything drawn by chance would make it new at every look.
    let parser = feed_rs::parser::Builder::new().base_uri(base).id_generator(|_, _, _| String::new()).build();
    let feed = parser.parse(Cursor::new(feed)).map_err(|error| format!("not RSS or Atom: {error}"))?;
    let source = source(&feed);
    Ok(feed.entries.iter().map(|entry| drafted(entry, source.as_deref(), base)).collect())
}

/// The parser goes down into some elements by recursion, so that one nested deeply enough would end the process.
fn is_deep(feed: &[u8]) -> Result<bool, quick_xml::Error> {
    let mut reader = quick_xml::Reader::from_reader(DecodingReader::new(feed));
    reader.config_mut().trim_markup_names_in_closing_tags = true;
    let (mut depth, mut buffer) = (0_usize, Vec::new());
    loop {
        match reader.read_event_into(&mut buffer)? {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof => return Ok(false),
            _ => {}
        }
        if depth > MOST_DEPTH {
            return Ok(true);
        }
        buffer.clear();
    }
}

/// The feed's title, or where it is at home.
fn source(feed: &Feed) -> Option<String> {
    let title = feed.title.as_ref().map(|title| html::text(&title.content)).filter(|title| !title.is_empty());
    title.or_else(|| feed.links.first().map(|link| link.href.clone()))
}

fn drafted(entry: &Entry, source: Option<&str>, base: Option<&Url>) -> (String, Drafted) {
    let link = entry.links.first().map(|link| link.href.as_str());
    let image = image(entry, link.and_then(|link| Url::parse(link).ok()).as_ref().or(base));
    let own = [Some(entry.id.as_str()), link, image.as_ref().map(Url::as_str)];
    let id = id(own.into_iter().flatten().find(|id| !id.is_empty()).unwrap_or_default());
    let Some(image) = image else { return (id, Drafted::Skipped(NO_IMAGE)) };
    let published = entry.published.or(entry.updated).map(|time| time.to_rfc3339());
    let tags = entry.categories.iter().map(|category| category.label.as_ref().unwrap_or(&category.term).trim());
    let tags: Vec<String> = tags.filter(|tag| !tag.is_empty()).map(ToOwned::to_owned).collect();
    let draft = Draft::new(Image::Url(image.into()), &id)
        .with([("source", source.map(ToOwned::to_owned)), ("published_at", published)])
        .with_text(&caption(entry), &tags);
    (id, Drafted::Post(Box::new(draft)))
}

fn texts(entry: &Entry) -> impl Iterator<Item = &str> {
    let summary = entry.summary.as_ref().map(|summary| summary.content.as_str());
    summary.into_iter().chain(entry.content.as_ref().and_then(|content| content.body.as_deref()))
}

fn caption(entry: &Entry) -> String {
    let described = entry.media.iter().filter_map(|media| media.description.as_ref());
    let all = entry.title.iter().map(|title| title.content.as_str()).chain(texts(entry));
    let all = all.chain(described.map(|description| description.content.as_str()));
    all.map(html::text).find(|text| !text.is_empty()).unwrap_or_default()
}

fn image(entry: &Entry, base: Option<&Url>) -> Option<Url> {
    let contents = entry.media.iter().flat_map(content);
    let enclosures = entry
        .links
        .iter()
        .filter(|link| link.rel.as_deref() == Some("enclosure") && link.media_type.as_deref().is_some_and(is_read));
    let thumbnails = entry.media.iter().flat_map(|media| &media.thumbnails);
    let mut addresses = contents
        .chain(enclosures.map(|link| link.href.clone()))
        .chain(thumbnails.map(|thumbnail| thumbnail.image.uri.clone()))
        .chain(texts(entry).filter_map(html::first_picture));
    addresses.find_map(|address| absolute(&address, base))
}

/// What a worker could read: of a type that says so or, without a type, of a name that does.
fn content(media: &MediaObject) -> impl Iterator<Item = String> {
    let could_be_read = media.content.iter().filter(|content| match (&content.content_type, &content.url) {
        (Some(told), _) => is_read(told.essence().to_string().as_str()),
        (None, Some(url)) => content_type(url.path().as_ref()).is_some(),
        (None, None) => false,
    });
    could_be_read.filter_map(|content| content.url.as_ref()).map(ToString::to_string)
}

/// Only what is fetched by HTTP: a feed's author has no business with files.
fn absolute(address: &str, base: Option<&Url>) -> Option<Url> {
    let url = match base {
        Some(base) => base.join(address.trim()),
        None => Url::parse(address.trim()),
    };
    url.ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}
