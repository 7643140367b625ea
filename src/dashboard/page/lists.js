// Sources and tags: how each feels, and a click to see only it.

import { byId, element, replace, say } from "./dom.js";
import * as format from "./format.js";

const WIDTH = 96;
const HEIGHT = 24;

/** The mean polarity of each step as a small line; gaps where no posts are. */
function trend(values) {
  const x = (at) => ((at + 0.5) / values.length) * WIDTH;
  const y = (value) => HEIGHT / 2 - (value * (HEIGHT - 4)) / 2;
  let path = "";
  values.forEach((value, at) => {
    if (value === null) return;
    const alone = (values[at - 1] ?? null) === null;
    path += `${alone ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    if (alone && (values[at + 1] ?? null) === null) path += "h1.5";
  });
  return element(
    "svg",
    { class: "trend", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" },
    element("line", { x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2, class: "zero" }),
    element("path", { d: path || "M0 0", class: "line" }),
  );
}

/** How a trend went, in words: its first and last third. */
function direction(values) {
  const known = values.filter((value) => value !== null);
  if (known.length < 3) return "";
  const mean = (part) => part.reduce((all, value) => all + value, 0) / part.length;
  const third = Math.ceil(known.length / 3);
  const change = mean(known.slice(-third)) - mean(known.slice(0, third));
  return Math.abs(change) < 0.1 ? "steady" : change < 0 ? "falling" : "rising";
}

export function sources(series, chosen, press) {
  const rows = series.sources.map(({ source, posts, polarity, trend: values }) => {
    const name = format.sourceName(source);
    const pressed = chosen.includes(source);
    const button = element("button", { type: "button", class: "link cut", "aria-pressed": String(pressed), title: name, "data-key": `source ${source}`, onclick: () => press(source) }, name);
    return element(
      "tr",
      { class: pressed ? "chosen" : null },
      element("th", { scope: "row" }, button),
      element("td", { class: "number" }, format.count(posts)),
      element("td", { class: "number" }, format.polarity(polarity?.mean)),
      element("td", { class: "trends" }, trend(values), element("span", { class: "hidden" }, direction(values))),
    );
  });
  const none = element("tr", {}, element("td", { colspan: "4", class: "muted" }, "No posts in this range."));
  replace(byId("sources"), rows.length ? rows : none);
  say(byId("sources-more"), series.sources.length >= 20 ? "The 20 sources with the most posts." : "");
}

function list(id, tags, chosen, press) {
  const most = Math.max(1, ...tags.map(({ posts }) => posts));
  const items = tags.map(({ tag, posts, polarity }) =>
    element(
      "li",
      {},
      element("button", { type: "button", class: "link cut", title: tag, "aria-pressed": String(tag === chosen), "data-key": `tag ${tag}`, onclick: () => press(tag) }, `#${tag}`),
      element("span", { class: "meter", "aria-hidden": "true" }, element("span", { style: { width: `${(100 * posts) / most}%` } })),
      element("span", { class: "number", title: "posts" }, format.count(posts), element("span", { class: "hidden" }, " posts")),
      element("span", { class: "number", title: "mean polarity of these posts" }, format.polarity(polarity)),
    ),
  );
  replace(byId(id), items.length ? items : element("li", { class: "muted" }, "None in this range."));
}

export function tags({ negative, positive }, chosen, press) {
  list("tags-negative", negative, chosen, press);
  list("tags-positive", positive, chosen, press);
  const names = new Set([...negative, ...positive].map(({ tag }) => tag));
  replace(byId("known-tags"), [...names].map((tag) => element("option", { value: tag })));
}
