//! The panels of the page, one function each.

use ratatui::layout::Constraint;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Sparkline, Table};

use super::figures::{Reading, Worker};
use super::view::{Body, Paint, Panel};
use super::words::{UNKNOWN, bar, bytes, count, decimal, rate, share, time};

/// Rows of a list whose length others decide.
const MOST: usize = 8;
/// The width of bars beside figures.
const BAR: u16 = 8;

/// How wide a column is, and what it is called; figures stand to the right.
struct Column(&'static str, Constraint, bool);

const fn name(title: &'static str, width: u16) -> Column {
    Column(title, Constraint::Length(width), false)
}

const fn fill(title: &'static str) -> Column {
    Column(title, Constraint::Fill(1), false)
}

const fn figure(title: &'static str, width: u16) -> Column {
    Column(title, Constraint::Length(width), true)
}

fn panel(title: impl Into<Line<'static>>, columns: &[Column], rows: Vec<Vec<Line<'static>>>, paint: Paint) -> Panel {
    let place = |line: Line<'static>, column: &Column| if column.2 { line.right_aligned() } else { line };
    let header: Vec<Cell<'static>> = columns.iter().map(|column| place(column.0.into(), column).into()).collect();
    let has_header = columns.iter().any(|column| !column.0.is_empty());
    let height = rows.len() + usize::from(has_header);
    let row = |cells: Vec<Line<'static>>| {
        Row::new(cells.into_iter().zip(columns).map(|(cell, column)| Cell::from(place(cell, column))))
    };
    let mut table = Table::new(rows.into_iter().map(row), columns.iter().map(|column| column.1)).column_spacing(2);
    if has_header {
        table = table.header(Row::new(header).style(paint.quiet()));
    }
    Panel { title: title.into(), rows: u16::try_from(height).unwrap_or(u16::MAX), body: Body::Table(table) }
}

/// The first few rows, and how many there are beyond.
fn first<T>(all: &[T], row: impl Fn(&T) -> Vec<Line<'static>>) -> Vec<Vec<Line<'static>>> {
    let more = all.len().saturating_sub(MOST);
    let rest = (more > 0).then(|| vec![Line::from(format!("and {more} more"))]);
    all.iter().take(MOST).map(row).chain(rest).collect()
}

fn title(text: &str, remark: &str, paint: Paint) -> Line<'static> {
    let mut spans = vec![Span::styled(format!(" {text} "), paint.title())];
    if !remark.is_empty() {
        spans.push(Span::styled(format!("· {remark} "), paint.quiet()));
    }
    spans.into()
}

/// What is watched, and what runs there.
pub(super) fn head(reading: &Reading, paint: Paint) -> Vec<Line<'static>> {
    let of = |state: &str| reading.workers.iter().filter(|worker| worker.state == state).count();
    let states = ["ready", "starting", "stalled", "silent", "unknown"].map(|state| (of(state), state));
    let told: Vec<String> =
        states.iter().filter(|(of, _)| *of > 0).map(|(of, state)| format!("{of} {state}")).collect();
    let style = if of("ready") == reading.workers.len() { paint.good() } else { paint.bad() };
    let whose =
        reading.worker.as_ref().map_or("all workers together".into(), |worker| format!("worker {worker} alone"));
    let list = |names: &[String]| if names.is_empty() { UNKNOWN.into() } else { names.join(", ") };
    let over = time(reading.seconds);
    vec![
        Line::from(vec![
            Span::styled(" sentistream top  ", paint.title()),
            Span::styled(format!("workers: {}", told.join(", ")), style),
            Span::raw(format!("   {whose}, rates over {over}")),
        ]),
        Line::styled(
            format!(
                " bundle {}   provider {}   sentistream {}",
                list(&reading.bundles),
                list(&reading.providers),
                list(&reading.versions)
            ),
            paint.quiet(),
        ),
    ]
}

pub(super) fn workers(reading: &Reading, paint: Paint) -> Panel {
    let columns = [
        fill("worker"),
        name("state", 9),
        figure("partitions", 10),
        figure("outcomes", 9),
        figure("lag", 11),
        figure("late by", 9),
        figure("cores", 6),
        figure("memory", 11),
    ];
    let row = |worker: &Worker| {
        let is_shown = reading.worker.as_ref() == Some(&worker.address);
        let style = if worker.state == "ready" { paint.good() } else { paint.bad() };
        let mark = if is_shown { "> " } else { "  " };
        vec![
            Line::from(format!("{mark}{}", worker.address)),
            Line::styled(worker.state, style),
            count(worker.partitions).into(),
            rate(worker.per_second).into(),
            count(worker.lag_records).into(),
            time(worker.lag_seconds).into(),
            decimal(worker.cpu_cores).into(),
            bytes(worker.memory).into(),
        ]
    };
    panel(title("Workers", "", paint), &columns, reading.workers.iter().map(row).collect(), paint)
}

/// Why workers do not answer, or stand still; `None` where none does.
pub(super) fn complaints(reading: &Reading, paint: Paint) -> Option<Panel> {
    let told = reading.workers.iter().filter_map(|worker| {
        let since = worker.silent_seconds.map_or(String::new(), |seconds| format!(" for {}", time(Some(seconds))));
        Some(vec![
            Line::from(worker.address.clone()),
            Line::styled(format!("{}{since}", worker.state), paint.bad()),
            Line::styled(worker.why.clone()?, paint.bad()),
        ])
    });
    let rows: Vec<_> = told.collect();
    let columns = [fill(""), name("", 20), Column("", Constraint::Fill(2), false)];
    (!rows.is_empty()).then(|| panel(title("Not well", "", paint), &columns, rows, paint))
}

pub(super) fn throughput(reading: &Reading, paint: Paint) -> Panel {
    let columns = [fill(""), figure("a second", 12), figure("since start", 12)];
    let counted = reading.outcomes.iter();
    let mut rows: Vec<Vec<Line<'static>>> = counted
        .map(|counted| {
            vec![counted.name.clone().into(), rate(counted.per_second).into(), count(Some(counted.total)).into()]
        })
        .collect();
    for (name, spread) in [("end to end", &reading.end_to_end), ("in the worker", &reading.in_worker)] {
        let quantile = |name: &str, value| format!("{name} {}", time(value));
        rows.push(vec![name.into(), quantile("p50", spread.p50).into(), quantile("p99", spread.p99).into()]);
    }
    panel(title("Throughput", "", paint), &columns, rows, paint)
}

/// Outcomes a second over the last minutes.
pub(super) fn trend(reading: &Reading, width: u16, paint: Paint) -> Panel {
    let most = reading.trend.iter().flatten().copied().fold(0.0, f64::max);
    // In thousandths of the highest, as wide as there is room.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let level = |rate: f64| if most > 0.0 { (rate / most * 1000.0) as u64 } else { 0 };
    let room = usize::from(width.saturating_sub(2));
    let skipped = reading.trend.len().saturating_sub(room);
    let points: Vec<Option<u64>> = reading.trend.iter().skip(skipped).map(|rate| rate.map(level)).collect();
    let known = reading.trend.iter().any(Option::is_some);
    let remark = format!("a second, last 3 minutes; highest {}", rate(known.then_some(most)));
    let curve = Sparkline::default().data(points).max(1000).style(paint.bar()).absent_value_symbol(" ");
    Panel { title: title("Outcomes", &remark, paint), rows: 6, body: Body::Curve(curve) }
}

pub(super) fn lag(reading: &Reading, paint: Paint) -> Panel {
    let lag = &reading.lag;
    let trend = match lag.growth {
        None => "trend -".into(),
        Some(growth) if growth >= 0.05 => format!("rising by {}", rate(Some(growth))),
        Some(growth) if growth <= -0.05 => {
            let left = lag.records.map(|records| records / -growth);
            format!("falling by {}, done in {}", rate(Some(-growth)), time(left))
        }
        Some(_) => "steady".into(),
    };
    let columns = [fill("partition"), figure("records", 12), figure("late by", 9)];
    let mut rows = vec![vec![Line::styled("all", paint.title()), count(lag.records).into(), time(lag.seconds).into()]];
    rows.extend(first(&lag.partitions, |partition| {
        vec![partition.name.clone().into(), count(partition.records).into(), time(partition.seconds).into()]
    }));
    panel(title("Lag", &trend, paint), &columns, rows, paint)
}

pub(super) fn limits(reading: &Reading, paint: Paint) -> Panel {
    let columns = [name("", 17), name("", BAR), figure("", 4), fill("")];
    let mut rows: Vec<Vec<Line<'static>>> = vec![];
    for level in &reading.levels {
        let part = level.now.zip(level.limit).filter(|(_, limit)| *limit > 0.0).map(|(now, limit)| now / limit);
        let write = if level.bytes { bytes } else { count };
        let told = format!("{} of {}", write(level.now), write(level.limit));
        rows.push(vec![level.name.into(), bar_line(part, BAR, paint), share(part).into(), told.into()]);
    }
    for hits in &reading.cache_hits {
        let known = format!("{} hits", hits.kind);
        rows.push(vec![known.into(), bar_line(hits.share, BAR, paint), share(hits.share).into(), "of requests".into()]);
    }
    for (name, part) in [("waiting for room", reading.room_wait), ("paused", reading.paused)] {
        rows.push(vec![name.into(), bar_line(part, BAR, paint), share(part).into(), "of the time".into()]);
    }
    rows.push(vec![
        "processor".into(),
        Line::default(),
        Line::default(),
        format!("{} cores", decimal(reading.cpu_cores)).into(),
    ]);
    panel(title("Limits and cache", "", paint), &columns, rows, paint)
}

fn bar_line(share: Option<f64>, width: u16, paint: Paint) -> Line<'static> {
    Line::styled(bar(share, width), paint.bar())
}

pub(super) fn stages(reading: &Reading, width: u16, paint: Paint) -> Panel {
    let remark = match &reading.bottleneck {
        None => "bottleneck -".into(),
        Some(bottleneck) => match bottleneck.stage {
            None => "no bottleneck: it keeps up".into(),
            Some(stage) => format!("bottleneck: {stage}, {} wait in front of it", count(Some(bottleneck.waiting))),
        },
    };
    let bar_width = width.saturating_sub(86).clamp(6, 40);
    let columns = [
        name("", 13),
        name("share of work", bar_width.max(13)),
        figure("", 5),
        figure("at once", 7),
        figure("rate", 8),
        figure("mean", 8),
        figure("p50", 8),
        figure("p99", 8),
        fill(""),
    ];
    let seconds = |ms: Option<f64>| time(ms.map(|ms| ms / 1000.0));
    let rows = reading.stages.iter().map(|stage| {
        let (bar, part) = if stage.waits {
            (Line::styled("waits", paint.quiet()), String::new())
        } else {
            (bar_line(stage.share, bar_width.max(13), paint), share(stage.share))
        };
        vec![
            stage.name.into(),
            bar,
            part.into(),
            decimal(stage.at_once).into(),
            rate(stage.per_second).into(),
            seconds(stage.mean_ms).into(),
            seconds(stage.p50_ms).into(),
            seconds(stage.p99_ms).into(),
        ]
    });
    panel(title("Stages", &remark, paint), &columns, rows.collect(), paint)
}

pub(super) fn dead_letters(reading: &Reading, paint: Paint) -> Panel {
    if reading.dead_letters.is_empty() {
        return panel(title("Dead letters", "", paint), &[fill("")], vec![vec!["none".into()]], paint);
    }
    let columns = [
        name("stage", 7),
        name("reason", 26),
        figure("rate", 7),
        figure("in all", 10),
        figure("last seen", 13),
        fill(""),
    ];
    let rows = first(&reading.dead_letters, |letters| {
        let ago = letters.seconds_ago.map_or("before".into(), |seconds| format!("{} ago", time(Some(seconds))));
        vec![
            letters.stage.clone().into(),
            letters.reason.clone().into(),
            rate(letters.per_second).into(),
            count(Some(letters.total)).into(),
            ago.into(),
        ]
    });
    panel(title("Dead letters", "", paint), &columns, rows, paint)
}

pub(super) fn sentiment(reading: &Reading, width: u16, paint: Paint) -> Panel {
    let sentiment = &reading.sentiment;
    let remark = match (sentiment.recent, sentiment.labels.is_empty()) {
        (_, true) => "no results yet".into(),
        (true, _) => format!("of the last {}", time(reading.seconds)),
        (false, _) => "since the workers' start".into(),
    };
    let bar_width = width.saturating_sub(30).clamp(6, 30);
    let columns = [name("", 16), name("", bar_width), figure("", 6)];
    let mut rows = first(&sentiment.labels, |(label, part)| {
        vec![label.clone().into(), bar_line(Some(*part), bar_width, paint), share(Some(*part)).into()]
    });
    for (name, mean) in [("mean polarity", sentiment.polarity), ("mean confidence", sentiment.confidence)] {
        rows.push(vec![name.into(), Line::default(), decimal(mean).into()]);
    }
    panel(title("Sentiment", &remark, paint), &columns, rows, paint)
}

pub(super) fn troubles(reading: &Reading, paint: Paint) -> Panel {
    let remark =
        if reading.troubles.is_empty() { "none since the workers' start" } else { "docs/runbook.md says what to do" };
    let columns = [fill(""), figure("", 7), figure("", 14)];
    let row = |counted: &super::figures::Counted| {
        let style = if counted.per_second.is_some_and(|rate| rate > 0.0) { paint.bad() } else { paint.quiet() };
        vec![
            Line::styled(counted.name.clone(), style),
            rate(counted.per_second).into(),
            format!("{} in all", count(Some(counted.total))).into(),
        ]
    };
    panel(title("Troubles", remark, paint), &columns, reading.troubles.iter().map(row).collect(), paint)
}
