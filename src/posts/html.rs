//! The HTML that posts are written in elsewhere, as plain text, and the first picture in it. Made to harm or broken, it costs
//! no more than its length: expressions of `regex` take linear time, and nothing is nested.

use std::sync::LazyLock;

use html_escape::decode_html_entities;
use regex::Regex;

#[expect(clippy::expect_used, reason = "constants, which the tests compile")]
fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

/// What is not text at all.
static UNSEEN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?is)<!--.*?(-->|$)|<script\b.*?(</script\s*>|$)|<style\b.*?(</style\s*>|$)"));
/// Where a line ends.
static BREAKS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)<\s*(br|/p|/div|/li|/h[1-6]|/tr|/blockquote)\b[^>]*>"));
static TAGS: LazyLock<Regex> = LazyLock::new(|| pattern(r"</?[a-zA-Z!?][^>]*>"));
static SPACES: LazyLock<Regex> = LazyLock::new(|| pattern(r"[^\S\n]+"));
static PICTURE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?is)<img\b[^>]*?\ssrc\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))"#));

/// Its text, a line for each paragraph.
pub(super) fn text(html: &str) -> String {
    let seen = UNSEEN.replace_all(html, " ");
    let flowing = seen.replace(['\n', '\r'], " ");
    let broken = BREAKS.replace_all(&flowing, "\n");
    let bare = TAGS.replace_all(&broken, "");
    let decoded = decode_html_entities(&bare);
    let lines = decoded.split('\n').map(|line| SPACES.replace_all(line.trim(), " ").into_owned());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The address of the first picture.
pub(super) fn first_picture(html: &str) -> Option<String> {
    let found = PICTURE.captures(html)?;
    let address = found.iter().skip(1).flatten().next()?;
    Some(decode_html_entities(address.as_str().trim()).into_owned()).filter(|address| !address.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_lines_of_text() {
        for (html, expected) in [
            (
                r#"<p>first day at the <a href="https://x.example/tags/beach" class="hashtag">#<span>beach</span></a></p><p>so&nbsp;glad &amp; tired &#128512;</p>"#,
                "first day at the #beach\nso glad & tired 😀",
            ),
            ("one<br>two<BR/>three", "one\ntwo\nthree"),
            ("plain, 1 < 2 and <3", "plain, 1 < 2 and <3"),
            ("seen<script>alert('no')</script><style>p{}</style><!-- nor <b>this</b> -->", "seen"),
            ("never closed <!-- gone", "never closed"),
            ("  a\n  b\t c ", "a b c"),
            ("", ""),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn the_first_picture_is_found_however_it_is_quoted() {
        for (html, expected) in [
            (
                r#"<p>x</p><img alt="y" src="https://a.example/1.jpg?w=1&amp;h=2"><img src="2.jpg">"#,
                Some("https://a.example/1.jpg?w=1&h=2"),
            ),
            ("<IMG class=a SRC='b.png' />", Some("b.png")),
            ("<img src=c.gif>", Some("c.gif")),
            ("<img data-src='no'>", None),
            ("no picture", None),
        ] {
            assert_eq!(first_picture(html).as_deref(), expected, "{html}");
        }
    }

    #[test]
    fn broken_html_costs_its_length() {
        let html = "<img src=".repeat(100_000) + &"<!--".repeat(100_000) + &"&".repeat(100_000);
        text(&html);
        assert_eq!(first_picture(&html), Some("<img".into()));
    }
}
