//! The hostile corpus and the fuzzers' seeds through the decoder, without a broker: every record ends as its manifest says,
//! in little time and bounded memory.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use sentistream::settings;

use crate::support::decoding::{Decoding, Input, envelope, image, text};
use crate::support::hostile::{Hostile, corpus};
use crate::support::process::{ended, sentistream};
use crate::support::repository;

/// Of processor time, which a busy machine does not lengthen: half of `decode.timeout_ms`.
const LONGEST: Duration = Duration::from_secs(5);

#[test]
fn every_hostile_record_ends_as_its_manifest_says() {
    let settings = settings::load(None).expect("the defaults are valid");
    let decoding = Decoding::with(&settings);
    let mut wrong = Vec::new();
    for hostile in corpus() {
        let input = Input { headers: hostile.headers(), value: hostile.value() };
        // The stage itself refuses what is larger than a record may be, before it is decoded.
        if input.value.len() > settings.limits.record_bytes {
            assert_eq!(hostile.ends, "too_large", "{}", hostile.name);
            continue;
        }
        let started = processor_time();
        let ended = decoding.decode(input).replace("prepared", "result");
        let took = processor_time().saturating_sub(started);
        if ended != hostile.ends || took > LONGEST {
            wrong.push(format!("{}: {ended} instead of {} in {took:?}", hostile.name, hostile.ends));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What this thread has computed so far.
fn processor_time() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(times.split(' ').next().and_then(|time| time.parse().ok()).expect("nanoseconds"))
}

#[test]
fn no_kept_seed_of_the_fuzzers_does_harm() {
    let decoding = Decoding::small();
    for (target, input) in [
        ("image", image as fn(&[u8]) -> Input),
        ("envelope", envelope as fn(&[u8]) -> Input),
        ("text", text as fn(&[u8]) -> Input),
    ] {
        let seeds = fs::read_dir(repository("tests/fuzz/corpus").join(target)).expect("seeds");
        let mut count = 0;
        for seed in seeds {
            let seed = seed.expect("a seed").path();
            let ended = decoding.decode(input(&fs::read(&seed).expect("a seed")));
            assert_ne!(ended, "codec_panicked", "{}", seed.display());
            count += 1;
        }
        assert!(count > 10, "{target} has {count} seeds");
    }
}

/// Two decode threads with the worst images within the limits: 12 bytes for each of 50 million pixels, twice, and the
/// model, libraries and everything else.
const MOST_KIB: u64 = 2 * 12 * 50_000_000 / 1024 + 400 * 1024;

#[test]
fn the_whole_corpus_is_decoded_in_bounded_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hostile: Vec<_> = corpus().into_iter().filter(Hostile::is_image).collect();
    for hostile in &hostile {
        fs::write(folder.path().join(format!("{}.png", hostile.name)), hostile.value()).expect("written");
    }
    let mut score = sentistream(&["score", &folder.path().to_string_lossy()]);
    let mut score = score
        .env("SENTISTREAM__DECODE__THREADS", "2")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut peak_kib = 0;
    // The peak never falls, and a process takes longer to end than this to look.
    while score.try_wait().expect("waits").is_none() {
        peak_kib = peak_kib.max(peak_resident_kib(score.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{} hostile images: peak of {} MiB resident", hostile.len(), peak_kib / 1024);
    assert_eq!(score.wait().expect("ended").code(), Some(3), "some refused, none fatal");
    assert!(peak_kib > 100 * 1024, "seen at all");
    assert!(peak_kib < MOST_KIB, "peak of {peak_kib} KiB resident, {MOST_KIB} are allowed for");
}

/// More slow images than may be left to their codecs at once: each is given up on its own, and the run ends.
#[test]
fn an_image_that_takes_too_long_costs_itself_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let slow = corpus().into_iter().find(|hostile| hostile.name == "png-flat-49-megapixels").expect("in the corpus");
    for number in 0..5 {
        fs::write(folder.path().join(format!("slow-{number}.png")), slow.value()).expect("written");
    }
    let mut score = sentistream(&["score", &folder.path().to_string_lossy()]);
    score.env("SENTISTREAM__DECODE__THREADS", "2").env("SENTISTREAM__DECODE__TIMEOUT_MS", "1");
    let (code, results, said) = ended(&score.output().expect("runs"));
    assert_eq!((code, results.as_str()), (3, ""), "{said}");
    assert_eq!(said.matches("decode_timeout: decoding took more than 1 ms").count(), 5, "{said}");
}

fn peak_resident_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
