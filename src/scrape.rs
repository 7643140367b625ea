//! What a worker tells of itself on its admin port, read as its scrapers read it. `bench` and `top` ask here.
//!
//! Whoever answers may be anybody: an answer is bounded in bytes and time, and what cannot be read is left out.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Most of an answer that is read: a worker with 1000 sources of ten labels tells 1 MB.
const MOST_BYTES: u64 = 16 << 20;

/// The samples of `/metrics`: value by name with labels, as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(BTreeMap<String, f64>);

/// Of the text format of Prometheus; what is no number is left out.
pub fn parse(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| line.rsplit_once(' ')).filter_map(|(name, value)| {
        let value = value.parse::<f64>().ok().filter(|value| value.is_finite())?;
        Some((name.to_owned(), value))
    });
    Samples(samples.collect())
}

/// The metrics of the worker at `host:port`.
///
/// # Errors
/// When it does not answer in time, or not with metrics.
pub fn metrics(address: &str, patience: Duration) -> Result<Samples> {
    match get(address, "/metrics", patience)? {
        (200, text) => Ok(parse(&text)),
        (status, _) => Err(Error::new(ErrorKind::InvalidData, format!("/metrics answers {status}: no worker's"))),
    }
}

/// Status and body of a page at `host:port`.
///
/// # Errors
/// When nobody answers within `patience`, or not by HTTP, or with too much.
pub fn get(address: &str, path: &str, patience: Duration) -> Result<(u16, String)> {
    let deadline = Instant::now() + patience;
    let mut stream = connect(address, deadline)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    // In one piece: who answers before all of it has come may cut the rest off.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut piece).map_err(too_slow)?;
        answer.extend(piece.iter().take(read));
        if read == 0 {
            break;
        }
        if answer.len() as u64 > MOST_BYTES {
            return Err(Error::new(ErrorKind::InvalidData, "the answer has no end: no worker's"));
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => Err(Error::new(ErrorKind::InvalidData, "the answer is no HTTP: no worker's admin port")),
    }
}

/// By the first of the host's addresses that takes it.
fn connect(address: &str, deadline: Instant) -> Result<TcpStream> {
    let mut failed = Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = too_slow(error),
        }
    }
    Err(failed)
}

fn left(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(no_answer()) } else { Ok(left) }
}

fn too_slow(error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) { no_answer() } else { error }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::TimedOut, "no answer in time")
}

impl Samples {
    /// A value; `None` where there is none yet.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// A value; 0 where there is none yet.
    pub fn get(&self, name: &str) -> f64 {
        self.value(name).unwrap_or(0.0)
    }

    /// What was counted since, of several workers' together.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().map(|(name, value)| (name.clone(), value - before.get(name))).collect())
    }

    /// Adds so many times another's.
    pub fn add(&mut self, other: &Self, times: f64) {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value * times;
        }
    }

    /// As this one, with every value turned into another by its name.
    #[must_use]
    pub fn map(&self, mut value: impl FnMut(&str, f64) -> f64) -> Self {
        Self(self.0.iter().map(|(name, old)| (name.clone(), value(name, *old))).collect())
    }

    /// Every series of a metric, with its labels.
    pub fn series<'s>(&'s self, metric: &'s str) -> impl Iterator<Item = (Labels, f64)> + 's {
        let from = self.0.range(metric.to_owned()..).take_while(move |(name, _)| name.starts_with(metric));
        from.filter_map(move |(name, value)| Some((Labels::parse(name.strip_prefix(metric)?)?, *value)))
    }

    /// A quantile of a histogram, between the bounds of its bucket in proportion; `None` of an empty one. Of several series, of
    /// those that carry the `labels`.
    pub fn quantile(&self, histogram: &str, labels: &[(&str, &str)], share: f64) -> Option<f64> {
        let buckets = format!("{histogram}_bucket");
        let mut buckets: Vec<(f64, f64)> = self
            .series(&buckets)
            .filter(|(of, _)| labels.iter().all(|(label, value)| of.get(label) == Some(*value)))
            .filter_map(|(of, count)| Some((of.get("le")?.parse().ok()?, count)))
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let wanted = share * buckets.last()?.1;
        let mut below = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted && count > 0.0 {
                let within = if count > below.1 { (wanted - below.1) / (count - below.1) } else { 0.0 };
                return Some(if bound.is_finite() { below.0 + (bound - below.0) * within } else { below.0 });
            }
            below = (bound, count);
        }
        None
    }
}

/// The labels of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// `{name="value",…}`, with `\\`, `\"` and `\n` in values; nothing at all has none. `None` of what is neither.
    fn parse(text: &str) -> Option<Self> {
        let mut labels = vec![];
        if text.is_empty() {
            return Some(Self(labels));
        }
        let mut rest = text.strip_prefix('{')?;
        while !matches!(rest, "}" | ",}") {
            let (name, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((name.to_owned(), value));
            rest = after;
        }
        Some(Self(labels))
    }

    /// The value of a label.
    pub fn get(&self, label: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == label).map(|(_, value)| value.as_str())
    }
}

/// What stands before the closing quote, and what behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn told(buckets: [u32; 3]) -> Samples {
        let [first, second, all] = buckets;
        parse(&format!(
            "# HELP sentistream_post_seconds Time.\nsentistream_post_seconds_bucket{{le=\"0.5\"}} {first}\n\
             sentistream_post_seconds_bucket{{le=\"1\"}} {second}\nsentistream_post_seconds_bucket{{le=\"+Inf\"}} {all}\n"
        ))
    }

    #[test]
    fn workers_add_up_and_what_was_before_is_taken_off() {
        let mut both = told([1, 1, 1]);
        both.add(&told([0, 1, 1]), 2.0);
        assert_eq!(both, told([1, 3, 3]));
        assert_eq!(both.since(&told([1, 1, 1])), told([0, 2, 2]));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let samples = told([50, 100, 100]);
        assert_eq!(samples.quantile("sentistream_post_seconds", &[], 0.5), Some(0.5));
        assert_eq!(samples.quantile("sentistream_post_seconds", &[], 0.75), Some(0.75));
        assert_eq!(told([0, 0, 10]).quantile("sentistream_post_seconds", &[], 0.5), Some(1.0), "beyond the last bound");
        assert_eq!(told([0, 0, 0]).quantile("sentistream_post_seconds", &[], 0.5), None);
        let stages = parse("s_bucket{stage=\"a\",le=\"1\"} 4\ns_bucket{stage=\"b\",le=\"2\"} 9\n");
        assert_eq!(stages.quantile("s", &[("stage", "a")], 0.5), Some(0.5));
    }

    #[test]
    fn labels_are_read_as_they_were_meant_and_what_is_none_is_left_out() {
        let samples = parse(
            "a 1\nab{x=\"1\"} 7\na{x=\"1,y=\\\"2\\\"\\n\\\\\",z=\"é}\"} 2\na{x=\"open} 3\na{} 4\na{x=\"1\",} 5\nb NaN\nc +Inf\nd 1 2 x\n",
        );
        let read: Vec<(Option<String>, f64)> =
            samples.series("a").map(|(labels, value)| (labels.get("x").map(str::to_owned), value)).collect();
        let x = |text: &str| Some(text.to_owned());
        assert_eq!(read, [(None, 1.0), (x("1"), 5.0), (x("1,y=\"2\"\n\\"), 2.0), (None, 4.0)]);
        assert_eq!((samples.value("b"), samples.value("c"), samples.value("e")), (None, None, None));
    }

    /// Answers a question with this, or never.
    fn server(answer: Option<&'static [u8]>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let (mut asked, mut piece) = (vec![], [0; 1024]);
            while !asked.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut piece).expect("asked");
                assert!(read > 0, "no whole question: {asked:?}");
                asked.extend_from_slice(&piece[..read]);
            }
            match answer {
                Some(answer) => drop(stream.write_all(answer)),
                None => std::thread::sleep(Duration::from_mins(10)),
            }
        });
        address
    }

    #[test]
    fn who_does_not_answer_as_a_worker_does_is_told() {
        let ask = |answer, patience| {
            metrics(&server(answer), Duration::from_millis(patience)).map_err(|error| error.to_string())
        };
        assert_eq!(ask(Some(b"HTTP/1.0 200 OK\r\n\r\na 1\n"), 60_000), Ok(parse("a 1")));
        assert_eq!(
            ask(Some(b"HTTP/1.1 404 Not Found\r\n\r\n"), 60_000),
            Err("/metrics answers 404: no worker's".into())
        );
        assert_eq!(ask(Some(b"SSH-2.0-x\r\n"), 60_000), Err("the answer is no HTTP: no worker's admin port".into()));
        assert_eq!(ask(None, 50), Err("no answer in time".into()));
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
        let refused = metrics(&nobody.to_string(), Duration::from_mins(1)).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
