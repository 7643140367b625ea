// The four charts over time - mean polarity, labels, relevance by field, missing fields - each with its legend, a sentence that
// says what it shows, and its numbers as a table.

import { Chart, line } from "./chart.js";
import { fieldStyle, hatched, isDark, labelColours, LINES, token } from "./colours.js";
import { Legend } from "./deck.js";
import { byId, DataTable, element, say } from "./dom.js";
import * as format from "./format.js";

const { uPlot } = window;
const LEGEND = 12;
const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
const shareOf = (part, whole) => (whole ? part / whole : null);

/** A chart's surroundings in the document. */
class Panel {
  constructor(id, deck, options, describe) {
    this.figure = byId(id);
    this.legend = new Legend(this.figure.querySelector(".legend"));
    this.summary = this.figure.querySelector(".summary");
    const title = this.figure.querySelector("h3").textContent;
    this.table = new DataTable(this.figure.querySelector("details"), title);
    this.chart = new Chart(this.figure, deck, options);
    deck.add(this.chart, describe);
  }
}

function swatch(style, hatch = false) {
  return element("span", { class: hatch ? "swatch hatch" : "swatch", style: { "--swatch": style }, "aria-hidden": "true" });
}

/** A field has the same colour and dash in every chart, whatever overtakes it. */
function fieldStyles({ relevance: weights, missing: lacking }) {
  const names = new Set([...weights, ...lacking].map(({ field }) => field));
  return new Map([...names].map((name, at) => [name, fieldStyle(at)]));
}

function dashSwatch({ stroke, dash }) {
  const drawn = element("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke, "stroke-width": 2.5, "stroke-dasharray": dash.length ? dash.join(" ") : null });
  return element("svg", { width: 22, height: 10, "aria-hidden": "true", class: "dash" }, drawn);
}

const whenOf = (series, at) => format.stepAt(series.at[at], series.step_seconds);
const rowsOf = (series, cells) => series.at.map((_, at) => [whenOf(series, at), ...cells(at)]).reverse();

function extremes(values) {
  let [low, high] = [null, null];
  values.forEach((value, at) => {
    if (value === null) return;
    if (low === null || value < values[low]) low = at;
    if (high === null || value > values[high]) high = at;
  });
  return [low, high];
}

export class PolarityPanel extends Panel {
  constructor(deck, openShift) {
    const describe = ({ polarity }, at) => `mean polarity ${format.polarity(polarity.mean[at])}`;
    super("polarity", deck, { height: 208, draw: (series) => this.draw(series) }, describe);
    this.openShift = openShift;
  }

  draw(series) {
    const { mean, low, high } = series.polarity;
    const invisible = { stroke: "transparent", width: 0, points: { show: false } };
    return {
      key: "polarity",
      series: [line("mean", token("accent")), { label: "low", ...invisible }, { label: "high", ...invisible }],
      bands: [{ series: [3, 2], fill: token("band") }],
      data: [mean, low, high],
      y: [-1, 1],
      format: (value) => format.polarity(value).replace(/[.,]00$/, "").replace(/0$/, ""),
      top: 28,
      paint: zero,
      chips: () => series.shifts.map((shift, at) => ({ at: shift.at, node: this.chip(shift, at) })),
    };
  }

  chip(shift, at) {
    const fell = shift.after < shift.before;
    const reason = shift.tags[0] ? ` #${shift.tags[0].tag}` : shift.sources[0] ? ` ${format.sourceName(shift.sources[0].source)}` : "";
    const text = `${format.polarity(shift.before)} → ${format.polarity(shift.after)}${reason}`;
    const marks = [
      element("span", { class: "hidden" }, `Shift at ${format.time(shift.at)}, posts behind it: ${fell ? "fell" : "rose"} `),
      element("span", { class: "arrow", "aria-hidden": "true" }, fell ? "▼" : "▲"),
      element("b", {}, String(at + 1)),
      element("span", { class: "text" }, text),
    ];
    return element("button", { type: "button", class: `chip ${fell ? "fell" : "rose"}`, title: `${text}: show the posts behind it`, onclick: () => this.openShift(shift), "data-key": `chip ${shift.at}`, "data-to": shift.to }, marks);
  }

  update(series) {
    const { polarity, total, posts } = series;
    this.legend.update([
      { name: "mean", swatch: swatch(token("accent")), value: (at) => format.polarity(at === null ? total.polarity?.mean : polarity.mean[at]) },
      {
        name: "95% band",
        swatch: swatch(token("band")),
        value: (at) => (at === null ? format.band(total.polarity?.low, total.polarity?.high) : format.band(polarity.low[at], polarity.high[at])),
      },
    ]);
    const [low, high] = extremes(polarity.mean);
    const places = low === null ? "No posts." : `Lowest ${format.polarity(polarity.mean[low])} at ${whenOf(series, low)}, highest ${format.polarity(polarity.mean[high])} at ${whenOf(series, high)}.`;
    say(this.summary, places);
    this.table.update(() => ({
      columns: ["Time", "Posts", "Mean polarity", "95% from", "to"],
      rows: rowsOf(series, (at) => [format.count(posts[at]), ...[polarity.mean, polarity.low, polarity.high].map((values) => format.polarity(values[at]))]),
    }));
  }
}

/** The line between positive and negative. */
function zero(chart) {
  const { ctx, bbox } = chart;
  const y = Math.round(chart.valToPos(0, "y", true));
  ctx.save();
  ctx.strokeStyle = token("muted");
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

export class LabelsPanel extends Panel {
  constructor(deck, state, press) {
    const describe = ({ labels, posts }, at) => labels.filter((label) => label.posts[at] > 0).map((label) => `${label.label} ${format.share(shareOf(label.posts[at], posts[at]))}`).join(", ") || "no posts";
    super("labels", deck, { height: 176, draw: (series) => this.draw(series) }, describe);
    Object.assign(this, { state, press });
  }

  draw(series) {
    const { view, label: chosen } = this.state();
    const { labels, posts } = series;
    const colours = labelColours(labels);
    const heights = labels.map((label) => label.posts.map((value, at) => (view === "count" ? value : shareOf(value, posts[at]))));
    const stacked = [];
    heights.forEach((values, at) => stacked.push(values.map((value, step) => (value === null ? null : value + (stacked[at - 1]?.[step] ?? 0)))));
    const bars = uPlot.paths.bars({ size: [0.92, 60, 1] });
    const series_ = labels.map(({ label }) => {
      const { fill, family } = colours.get(label);
      const faint = chosen !== null && chosen !== label;
      const paint = (chart) => (faint ? token("faint") : family === "negative" ? hatched(chart.ctx, fill) : fill);
      return { label, fill: paint, width: 0, paths: bars, points: { show: false } };
    });
    const top = view === "count" ? Math.max(4, ...posts) * 1.05 : 1;
    return {
      key: JSON.stringify(["labels", view, chosen, isDark(), labels.map(({ label }) => label), labels.map(({ label }) => colours.get(label).fill)]),
      // The whole stack first, so that each smaller one covers its part of it.
      series: series_.reverse(),
      data: stacked.reverse(),
      y: [0, top],
      format: view === "count" ? (value) => (Number.isInteger(value) ? format.short(value) : "") : (value) => format.share(value),
      top: series.changes.length ? 26 : 10,
      chips: () => series.changes.map((bundle) => ({ at: bundle.at, node: bundleChip(bundle) })),
    };
  }

  update(series) {
    const { view, label: chosen } = this.state();
    const { labels, posts, total } = series;
    const colours = labelColours(labels);
    const counted = (label) => total.labels[label.label] ?? sum(label.posts);
    const shown = [...labels].sort((a, b) => counted(b) - counted(a)).slice(0, LEGEND);
    const entries = labels.filter((label) => shown.includes(label)).map((label) => {
      const { fill, family } = colours.get(label.label);
      const value = (at) => {
        const [part, whole] = at === null ? [counted(label), total.posts] : [label.posts[at], posts[at]];
        return view === "count" ? format.count(part) : format.share(shareOf(part, whole));
      };
      const pressed = chosen === label.label;
      return { name: label.label, swatch: swatch(fill, family === "negative"), value, pressed, press: () => this.press(label.label), title: pressed ? "Show all labels alike" : "Show only this label" };
    });
    this.legend.update(entries, labels.length > shown.length ? `${labels.length - shown.length} more in the table` : null);
    const ranked = shown.slice(0, 3).map((label) => `${label.label} ${format.share(shareOf(counted(label), total.posts))} (${format.count(counted(label))})`);
    say(this.summary, total.posts ? `Of ${format.plural(total.posts, "post", "posts")}: ${ranked.join(", ")}.` : "No posts.");
    this.table.update(() => ({
      columns: ["Time", "Posts", ...labels.map(({ label }) => label)],
      rows: rowsOf(series, (at) => [format.count(posts[at]), ...labels.map((label) => format.count(label.posts[at]))]),
    }));
  }
}

function bundleChip({ bundle, version, digest }) {
  return element("span", { class: "chip bundle", "data-key": `bundle ${digest}`, title: `From here on scored by ${bundle} ${version}, ${digest}` }, `◆ ${bundle} ${version}`);
}

/** Relevance and missing fields: a line a field. */
export class FieldsPanel extends Panel {
  constructor(id, deck, { name, height, values, totals, sentence }) {
    const describe = (series, at) => values(series).slice(0, LINES).map((field) => `${field.field} ${format.share(field.values[at])}`).join(", ") || "not known";
    super(id, deck, { height, draw: (series) => this.draw(series) }, describe);
    Object.assign(this, { name, values, totals, sentence });
  }

  /** The fields that are drawn, by what they weigh in the range. */
  ranked(series) {
    const totals = this.totals(series);
    const fields = this.values(series);
    return [...fields].sort((a, b) => (totals[b.field] ?? 0) - (totals[a.field] ?? 0));
  }

  /** The fields that have a line, in the series' order. */
  drawn(series) {
    const kept = new Set(this.ranked(series).slice(0, LINES).map(({ field }) => field));
    return this.values(series).filter(({ field }) => kept.has(field));
  }

  draw(series) {
    const drawn = this.drawn(series);
    const styles = fieldStyles(series);
    const highest = Math.max(0.1, ...drawn.flatMap((field) => field.values.map((value) => value ?? 0)));
    return {
      key: JSON.stringify([this.name, isDark(), drawn.map(({ field }) => field)]),
      series: drawn.map(({ field }) => line(field, styles.get(field).stroke, styles.get(field).dash)),
      data: drawn.map(({ values }) => values),
      y: [0, Math.min(1, Math.ceil(highest * 10.5) / 10)],
      format: (value) => format.share(value),
    };
  }

  update(series) {
    const ranked = this.ranked(series);
    const all = this.values(series);
    const totals = this.totals(series);
    const styles = fieldStyles(series);
    const entries = this.drawn(series).map((field) => ({
      name: field.field,
      swatch: dashSwatch(styles.get(field.field)),
      value: (step) => format.share(step === null ? totals[field.field] : field.values[step]),
    }));
    const rest = all.length - entries.length;
    this.legend.update(entries, rest > 0 ? `${rest} more in the table` : null);
    say(this.summary, this.sentence(ranked.map((field) => [field.field, totals[field.field]]), series));
    this.table.update(() => ({
      columns: ["Time", ...all.map(({ field }) => field)],
      rows: rowsOf(series, (at) => all.map((field) => format.share(field.values[at]))),
    }));
  }
}

const NOT_BY_TAG = "Not kept by tag: take the tag filter away to see it.";

export const relevance = (deck, filtered) =>
  new FieldsPanel("relevance", deck, {
    name: "relevance",
    height: 160,
    values: ({ relevance: fields }) => fields.map(({ field, mean }) => ({ field, values: mean })),
    totals: ({ total }) => total.relevance ?? {},
    sentence: (ranked) => {
      if (!ranked.length) return filtered() ? NOT_BY_TAG : "No posts.";
      return `Sentiment was read mostly off ${ranked.slice(0, 3).map(([field, value]) => `${field} (${format.share(value)})`).join(", ")}.`;
    },
  });

export const missing = (deck, filtered) =>
  new FieldsPanel("missing", deck, {
    name: "missing",
    height: 140,
    values: ({ missing: fields }) => fields.map(({ field, share }) => ({ field, values: share })),
    totals: ({ total }) => total.missing ?? {},
    sentence: (ranked) => {
      if (!ranked.length) return filtered() ? NOT_BY_TAG : "No post lacked any field.";
      return `Missing most often: ${ranked.slice(0, 3).map(([field, value]) => `${field} (${format.share(value)} of posts)`).join(", ")}.`;
    },
  });
