//! From what workers tell to what is drawn, without a worker: two of them, one of which is started again, and a stranger.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::Board;
use super::ask::{Answer, Told};
use super::figures::Reading;
use super::view::{Paint, draw, page, text};
use crate::scrape::parse;

/// What a worker tells that was started at `started` and has done so many posts in so many seconds.
struct Worker {
    started: u32,
    posts: u32,
    lag: [u32; 2],
    letters: u32,
}

impl Worker {
    fn tells(&self) -> String {
        let Self { started, posts, lag: [lag, other], letters } = self;
        let seconds = f64::from(*posts) / 100.0;
        format!(
            "# TYPE sentistream_outcomes_total counter\nprocess_start_time_seconds {started}\nprocess_cpu_seconds_total {seconds}\n\
             process_resident_memory_bytes 314572800\nsentistream_memory_limit_bytes 1073741824\n\
             sentistream_outcomes_total{{kind=\"result\",reason=\"\"}} {posts}\n\
             sentistream_outcomes_total{{kind=\"dead_letter\",reason=\"not_json\"}} {letters}\n\
             sentistream_outcomes_total{{kind=\"tombstone\",reason=\"\"}} 0\nsentistream_outcomes_total{{kind=\"dropped\",reason=\"\"}} 0\n\
             sentistream_dead_letters_total{{reason=\"not_json\",stage=\"decode\"}} {letters}\n\
             sentistream_dead_letters_total{{reason=\"fetch_failed\",stage=\"fetch\"}} 0\n\
             sentistream_consumer_lag_records{{partition=\"0\",topic=\"posts\"}} {lag}\n\
             sentistream_consumer_lag_seconds{{partition=\"0\",topic=\"posts\"}} 12.5\n\
             sentistream_consumer_lag_records{{partition=\"1\",topic=\"posts\"}} {other}\n\
             sentistream_consumer_lag_seconds{{partition=\"1\",topic=\"posts\"}} NaN\n\
             sentistream_stage_seconds_sum{{stage=\"pixels\"}} {seconds}\nsentistream_stage_seconds_count{{stage=\"pixels\"}} {posts}\n\
             sentistream_stage_seconds_bucket{{stage=\"pixels\",le=\"0.01\"}} {posts}\nsentistream_stage_seconds_bucket{{stage=\"pixels\",le=\"+Inf\"}} {posts}\n\
             sentistream_stage_seconds_sum{{stage=\"publish\"}} {posts}\nsentistream_stage_seconds_count{{stage=\"publish\"}} {posts}\n\
             sentistream_queue_depth{{queue=\"decode\"}} 200\nsentistream_queue_depth{{queue=\"batch\"}} 30\nsentistream_queue_depth{{queue=\"publish\"}} 0\n\
             sentistream_fetches_in_flight 0\nsentistream_batch_limit_posts 32\nsentistream_room_wait_seconds_total {seconds}\nsentistream_paused_seconds_total 0\n\
             sentistream_in_flight_records 250\nsentistream_in_flight_limit_records 256\nsentistream_assigned_partitions 2\n\
             sentistream_cache_requests_total{{kind=\"image\",outcome=\"hit\"}} {posts}\nsentistream_cache_requests_total{{kind=\"image\",outcome=\"miss\"}} {posts}\n\
             sentistream_results_total{{label=\"positive\",source=\"a\"}} {posts}\nsentistream_results_total{{label=\"negative\",source=\"a\"}} {posts}\n\
             sentistream_polarity_total{{sign=\"positive\",source=\"a\"}} {posts}\nsentistream_polarity_total{{sign=\"negative\",source=\"a\"}} 0\n\
             sentistream_panics_total {letters}\nsentistream_build_info{{version=\"0.6.0\"}} 1\n\
             sentistream_model_info{{bundle=\"default\",digest=\"aecc73bf00\",provider=\"cpu\",version=\"0.2.1\"}} 1\n"
        )
    }
}

fn told(worker: usize, at: Instant, metrics: &str) -> Told {
    Told { worker, at, answer: Ok(Answer { metrics: parse(metrics), ready: true, stalled: None }) }
}

fn addresses() -> Vec<String> {
    vec!["one:9464".into(), "two:9464".into()]
}

/// The first does 100 posts a second for ten seconds; the second is started again and does 50, then no longer answers.
fn board(start: Instant) -> Board {
    let mut board = Board::new(&addresses(), Duration::from_secs(10), start);
    for second in 0..=10 {
        let at = start + Duration::from_secs(second);
        let done = u32::try_from(second).expect("small");
        let first = Worker { started: 1, posts: 5000 + 100 * done, lag: [1000 - 50 * done, 5], letters: 3 + done / 10 };
        board.take(told(0, at, &first.tells()));
        let (started, posts) = if second < 5 { (1, 9000 + 50 * done) } else { (2, 50 * (done - 4)) };
        board.take(told(1, at, &Worker { started, posts, lag: [0, 0], letters: 0 }.tells()));
    }
    board
}

fn near(value: Option<f64>, wanted: f64) {
    assert!(value.is_some_and(|value| (value - wanted).abs() < 1e-6), "{value:?} is not {wanted}");
}

#[test]
fn rates_are_of_the_window_and_a_worker_that_was_started_again_counts_from_zero() {
    let start = Instant::now();
    let board = board(start);
    let now = start + Duration::from_secs(10);
    let (all, second) = (board.reading(None, now), board.reading(Some(1), now));
    near(all.seconds, 10.0);
    near(all.outcomes[0].per_second, 150.0);
    near(all.outcomes[1].per_second, 0.1);
    near(second.outcomes[0].per_second, 50.0);
    near(Some(second.outcomes[0].total), 300.0);
    near(all.workers[0].per_second, 100.1);
    near(all.cpu_cores, 1.5);
    assert!(board.is_complete() && all.trend.iter().flatten().count() == 4, "{:?}", all.trend);
    near(all.trend.iter().flatten().next().copied(), 150.0);
}

#[test]
fn figures_are_what_was_told() {
    let start = Instant::now();
    let reading = board(start).reading(Some(0), start + Duration::from_secs(12));
    near(reading.lag.records, 505.0);
    near(reading.lag.seconds, 12.5);
    near(reading.lag.growth, -50.0);
    assert_eq!(reading.lag.partitions[0].name, "posts/0", "the largest first");
    assert_eq!(reading.lag.partitions[1].seconds, None, "what is no number is not known");
    let pixels = reading.stages.iter().find(|stage| stage.name == "pixels").expect("a stage");
    near(pixels.share, 1.0);
    near(pixels.mean_ms, 10.0);
    near(pixels.p50_ms, 5.0);
    assert_eq!(reading.stages.iter().find(|stage| stage.name == "fusion").and_then(|stage| stage.mean_ms), None);
    assert_eq!(reading.bottleneck.as_ref().and_then(|bottleneck| bottleneck.stage), Some("model"));
    let letters = &reading.dead_letters[..];
    assert!(letters.len() == 1 && letters[0].reason == "not_json", "what never came is left out: {letters:?}");
    near(letters[0].seconds_ago, 2.0);
    near(reading.cache_hits[0].share, 0.5);
    near(reading.sentiment.polarity, 0.5);
    assert!(
        reading.sentiment.recent && reading.sentiment.labels == [("negative".into(), 0.5), ("positive".into(), 0.5)]
    );
    assert_eq!(reading.troubles.iter().map(|trouble| trouble.name.as_str()).collect::<Vec<_>>(), ["panics contained"]);
}

#[test]
fn a_worker_that_does_not_answer_is_shown_with_why_and_counts_for_nothing() {
    let start = Instant::now();
    let mut board = board(start);
    for second in [11, 12] {
        let at = start + Duration::from_secs(second);
        board.take(Told { worker: 1, at, answer: Err("Connection refused".into()) });
    }
    let reading = board.reading(None, start + Duration::from_secs(14));
    let two = &reading.workers[1];
    assert_eq!(
        (two.state, two.why.as_deref(), two.per_second, two.memory),
        ("silent", Some("Connection refused"), None, None)
    );
    near(two.silent_seconds, 3.0);
    near(reading.outcomes[0].per_second, 100.0);
    let mut none = Board::new(&addresses(), Duration::from_secs(10), start);
    let nothing = none.reading(None, start);
    assert!(nothing.outcomes.is_empty() && nothing.bottleneck.is_none() && nothing.workers[0].state == "unknown");
    none.take(Told { worker: 0, at: start, answer: Err("no".into()) });
    assert!(!none.is_complete());
}

fn drawn(reading: &Reading, (width, height): (u16, u16), scroll: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let mut last = 0;
    terminal.draw(|frame| last = draw(frame, reading, scroll, false, Paint::new(true))).expect("drawn");
    assert!(last < 200, "{last}");
    text(terminal.backend().buffer())
}

#[test]
fn the_page_is_drawn_as_it_was() {
    let start = Instant::now();
    let mut board = board(start);
    board.take(Told { worker: 1, at: start + Duration::from_secs(11), answer: Err("Connection refused".into()) });
    let reading = board.reading(None, start + Duration::from_secs(13));
    let drawn = drawn(&reading, (110, 58), 0);
    let kept = include_str!("tests/page.txt");
    assert_eq!(drawn, kept, "\n{drawn}");
}

#[test]
fn any_size_of_terminal_can_be_drawn_on_and_the_rest_scrolled_to() {
    let start = Instant::now();
    let reading = board(start).reading(None, start + Duration::from_secs(10));
    for size in [(1, 1), (10, 3), (60, 24), (99, 30), (100, 30), (300, 200)] {
        drawn(&reading, size, 0);
        drawn(&reading, size, u16::MAX);
    }
    let (top, bottom) = (drawn(&reading, (100, 24), 0), drawn(&reading, (100, 24), u16::MAX));
    assert!(top.contains("Workers") && top.contains("more below") && !top.contains("Troubles"), "{top}");
    assert!(bottom.contains("Troubles") && !bottom.contains("Workers") && !bottom.contains("more below"), "{bottom}");
    assert!(drawn(&reading, (60, 200), 0).lines().all(|line| line.chars().count() <= 60));
}

#[test]
fn a_stranger_steers_no_terminal_and_takes_no_page() {
    let start = Instant::now();
    let mut board = Board::new(&addresses(), Duration::from_secs(1), start);
    let evil = "\x1b[2J\u{202e}\u{9b}31m";
    let mut many = String::new();
    for n in 0..500 {
        let _ = writeln!(many, "sentistream_dead_letters_total{{reason=\"{evil}{n}\",stage=\"{evil}\"}} 5");
        let _ = writeln!(many, "sentistream_consumer_lag_records{{topic=\"{evil}\",partition=\"{n}\"}} 1e300");
        let _ = writeln!(many, "sentistream_results_total{{label=\"{evil}{n}\"}} -7");
    }
    let info = format!(
        "sentistream_model_info{{bundle=\"{evil}\",digest=\"é😀{evil}\",provider=\"{evil}\"}} 1\nsentistream_build_info{{version=\"{evil}\"}} 1\n"
    );
    for second in 0..3 {
        board.take(told(0, start + Duration::from_secs(second), &(many.clone() + &info)));
    }
    board.take(Told { worker: 1, at: start, answer: Err(super::ask::safe(evil)) });
    let reading = board.reading(None, start + Duration::from_secs(3));
    let page = text(&page(&reading, 120, Paint::new(true)));
    assert!(page.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{page:?}");
    assert!(page.lines().count() < 80, "{page}");
    let json = serde_json::to_string(&reading).expect("JSON");
    assert!(json.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{json}");
}
