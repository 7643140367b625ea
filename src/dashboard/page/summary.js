// The range in one look: how many posts, how they felt, and a sentence for each shift - what moved, from where to where, and why.

import { labelColours } from "./colours.js";
import { byId, element, replace, say } from "./dom.js";
import * as format from "./format.js";

const TAGS = 2;
const SHIFTS = 4;

/** A bar of label shares; what it shows is said beside it. */
export function shareBar(labels, counts) {
  const colours = labelColours(labels);
  const total = labels.reduce((all, { label }) => all + (counts[label] ?? 0), 0);
  const parts = labels.filter(({ label }) => counts[label] > 0).map(({ label }) => {
    const { fill, family } = colours.get(label);
    const text = `${label} ${format.share(counts[label] / total)}`;
    return element("span", { class: family === "negative" ? "part hatch" : "part", title: text, style: { "--swatch": fill, "flex-grow": String(counts[label]) } });
  });
  return element("span", { class: "shares", "aria-hidden": "true" }, parts);
}

export function summarise(series) {
  const { total, labels, polarity } = series;
  say(byId("total-posts"), format.count(total.posts));
  say(byId("total-polarity"), format.polarity(total.polarity?.mean));
  say(byId("total-band"), format.band(total.polarity?.low, total.polarity?.high));
  say(byId("total-confidence"), format.share(total.confidence));
  say(byId("total-span"), `${format.span(series.start, series.end)} ${format.offset(series.end)}`);
  replace(byId("total-labels"), shareBar(labels, total.labels));
  const counted = labels.map(({ label }) => `${format.share((total.labels[label] ?? 0) / total.posts)} ${label}`);
  say(byId("total-shares"), total.posts ? counted.slice(0, 4).join(" · ") + (counted.length > 4 ? ` · ${counted.length - 4} more` : "") : format.NONE);
  return `${format.plural(total.posts, "post", "posts")}, mean polarity ${format.polarity(total.polarity?.mean)}, ${format.plural(series.shifts.length, "shift", "shifts")}` + (polarity.mean.length ? "." : "");
}

/** "fell from +0.45 to −0.31" */
export const moved = ({ before, after }) => `${after < before ? "fell" : "rose"} from ${format.polarity(before)} to ${format.polarity(after)}`;

/** What happened: the shifts, each with the tags that became more frequent and the sources that moved. */
export class Happened {
  constructor({ open, tag, source }) {
    Object.assign(this, { open, tag, source, all: false });
  }

  update(series) {
    this.series = series;
    const { shifts } = series;
    const numbered = shifts.map((shift, at) => [shift, at]).reverse();
    const shown = this.all ? numbered : numbered.slice(0, SHIFTS);
    const items = shown.map(([shift, at]) => this.sentence(shift, at));
    if (numbered.length > shown.length) {
      const more = () => {
        this.all = true;
        this.update(this.series);
      };
      items.push(element("li", { class: "more" }, element("button", { type: "button", class: "link", onclick: more, "data-key": "more" }, `${numbered.length - shown.length} earlier shifts`)));
    }
    if (!shifts.length) items.push(element("li", { class: "calm" }, quiet(series)));
    replace(byId("shifts"), items);
  }

  sentence(shift, at) {
    const fell = shift.after < shift.before;
    const reasons = shift.tags.slice(0, TAGS).flatMap((tag, index) => [
      index ? ", " : " · ",
      element("button", { type: "button", class: "link", title: `Show only posts tagged ${tag.tag}`, "data-key": `tag ${shift.at} ${tag.tag}`, onclick: () => this.tag(tag.tag) }, `#${tag.tag}`),
      ` ${format.share(tag.before)} → ${format.share(tag.after)} of posts`,
    ]);
    const sources = shift.sources.slice(0, 1).flatMap(({ source, before, after }) => [
      " · ",
      element("button", { type: "button", class: "link", title: `Show only ${format.sourceName(source)}`, "data-key": `source ${shift.at} ${source}`, onclick: () => this.source(source) }, format.sourceName(source)),
      ` ${format.polarity(before)} → ${format.polarity(after)}`,
    ]);
    return element(
      "li",
      { class: fell ? "fell" : "rose" },
      element("span", { class: "badge", "aria-hidden": "true" }, `${fell ? "▼" : "▲"} ${at + 1}`),
      element(
        "p",
        {},
        element("span", { class: "when" }, format.time(shift.at)),
        ` Mean polarity ${moved(shift)}`,
        reasons,
        sources,
        " · ",
        element("button", { type: "button", class: "link posts", "data-key": `shift ${shift.at}`, onclick: () => this.open(shift) }, "see the posts"),
      ),
    );
  }
}

function quiet(series) {
  const means = series.polarity.mean.filter((mean) => mean !== null);
  if (!means.length) return "No posts in this range.";
  return `No sudden shift: the mean polarity stayed between ${format.polarity(Math.min(...means))} and ${format.polarity(Math.max(...means))}.`;
}
