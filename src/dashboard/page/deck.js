// The stack of charts as one thing with one time: a cursor that all charts show, moved by pointer or keys, a selection to zoom
// into, and the posts behind a step.
//
// Each chart is a slider over the steps for assistive technology: arrows move, and what is there is read out.

import { element, say } from "./dom.js";
import * as format from "./format.js";

const FAR = 10;

export class Deck {
  constructor(readout, { zoom, back, posts, shown }) {
    Object.assign(this, { readout, zoom, back, posts, shown, charts: [], series: null, index: null, anchor: null, selecting: false });
  }

  add(chart, describe) {
    this.charts.push(chart);
    const { target } = chart;
    target.addEventListener("keydown", (event) => this.key(event));
    target.addEventListener("focus", () => this.focused());
    target.addEventListener("blur", () => this.leave());
    chart.describe = describe;
  }

  update(series) {
    const [index, anchor] = [this.index, this.anchor].map((place) => this.again(place, series));
    this.series = series;
    this.index = index;
    for (const chart of this.charts) chart.update(series);
    // A pointer stays where it is; keys stay at their time.
    const keyed = this.charts.some(({ target }) => target === document.activeElement);
    this.anchor = keyed && index !== null ? anchor : null;
    if (keyed) for (const chart of this.charts) chart.point(index);
    this.at(keyed || this.index >= series.at.length ? index : this.index);
    this.showSelection();
  }

  /** Where a step is in other data: steps come and go at both ends. */
  again(place, { at, end }) {
    const time = this.series?.at[place];
    if (time === undefined || time >= end) return null;
    const found = at.findLastIndex((start) => start <= time);
    return found < 0 ? null : found;
  }

  /** The cursor is at a step, or nowhere. */
  at(index) {
    if (!this.series) return;
    this.index = index;
    const { at, step_seconds: step, start, end, posts } = this.series;
    const place = index === null ? `${format.span(start, end)} · each step ${format.duration(step)}` : `${format.stepAt(at[index], step)} · ${format.plural(posts[index], "post", "posts")}`;
    say(this.readout, place);
    this.shown(index);
    for (const { target, describe } of this.charts) {
      target.setAttribute("aria-valuemin", "0");
      target.setAttribute("aria-valuemax", String(Math.max(0, at.length - 1)));
      target.setAttribute("aria-valuenow", String(index ?? Math.max(0, at.length - 1)));
      target.setAttribute("aria-valuetext", index === null ? "no step chosen" : `${place}: ${describe(this.series, index)}`);
    }
  }

  focused() {
    if (this.index === null && this.series) this.move(this.lastWithPosts());
  }

  leave() {
    this.anchor = null;
    for (const chart of this.charts) chart.point(null);
    this.at(null);
    this.showSelection();
  }

  lastWithPosts() {
    const last = this.series.posts.findLastIndex((posts) => posts > 0);
    return last < 0 ? this.series.at.length - 1 : last;
  }

  move(to, selects = false) {
    const index = Math.min(Math.max(to, 0), this.series.at.length - 1);
    if (selects) this.anchor ??= this.index;
    else this.anchor = null;
    for (const chart of this.charts) chart.point(index);
    this.at(index);
    this.showSelection();
  }

  selection() {
    if (this.anchor === null || this.anchor === this.index) return null;
    const { at, step_seconds: step } = this.series;
    return [at[Math.min(this.anchor, this.index)], at[Math.max(this.anchor, this.index)] + step];
  }

  showSelection() {
    const [first, last] = this.selection() ?? [null, null];
    this.selecting = true;
    for (const chart of this.charts) chart.select(first, last);
    this.selecting = false;
  }

  open(index) {
    const at = this.series.at[index];
    this.posts(at, at + this.series.step_seconds);
  }

  /** Half or twice of what is shown, around the cursor. */
  scale(factor) {
    const { start, end, at, step_seconds: step } = this.series;
    const centre = this.index === null ? (factor < 1 ? end : (start + end) / 2) : at[this.index] + step / 2;
    const width = (end - start) * factor;
    const from = Math.min(Math.max(centre - width / 2, factor < 1 ? start : -Infinity), factor < 1 ? end - width : Infinity);
    this.zoom(from, from + width);
  }

  key(event) {
    if (!this.series || event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.index ?? this.lastWithPosts();
    const moves = { ArrowLeft: index - 1, ArrowDown: index - 1, ArrowRight: index + 1, ArrowUp: index + 1, PageDown: index - FAR, PageUp: index + FAR, Home: 0, End: Infinity };
    const acts = {
      Enter: () => (this.selection() ? this.zoom(...this.selection()) : this.open(index)),
      "+": () => this.scale(0.5),
      "=": () => this.scale(0.5),
      "-": () => this.scale(2),
      Backspace: () => this.back(),
      Escape: () => this.move(index),
    };
    if (event.key in moves) this.move(moves[event.key], event.shiftKey);
    else if (event.key in acts) acts[event.key]();
    else return;
    event.preventDefault();
  }
}

/** An entry of a chart's legend: a swatch, the name, and the value at the cursor or of the whole range. */
export class Legend {
  constructor(list) {
    this.list = list;
    this.values = [];
  }

  /** `entries` are `{ name, swatch, title, pressed, press, value(index) }`. */
  update(entries, more) {
    this.entries = entries;
    this.values = entries.map(() => element("span", { class: "value" }));
    const items = entries.map((entry, at) => {
      const inside = [entry.swatch, element("span", { class: "name", title: entry.name }, entry.name), this.values[at]];
      const whole = entry.press ? element("button", { type: "button", "aria-pressed": String(entry.pressed), onclick: entry.press, title: entry.title }, inside) : element("span", {}, inside);
      return element("li", {}, whole);
    });
    if (more) items.push(element("li", { class: "more" }, more));
    const focused = [...this.list.children].findIndex((item) => item.contains(document.activeElement));
    this.list.replaceChildren(...items);
    if (focused >= 0) this.list.children[focused]?.querySelector("button")?.focus();
    this.at(null);
  }

  at(index) {
    this.entries?.forEach((entry, at) => say(this.values[at], entry.value(index)));
  }
}
