// One chart of the stack: uPlot with what all of them share - the time axis from the range's start to its end, axes of one
// width, one cursor, zoom by dragging, the posts by clicking, and all of that by keyboard.

import { DAY, dayOf, timeOfDay } from "./format.js";
import { token } from "./colours.js";
import { element } from "./dom.js";

const { uPlot } = window;
const AXIS = 50;
const RIGHT = 14;
const CLICK = 5;
/** Chips above the plot, in pixels: with their text, without, and between two. */
const [CHIP, SHORT, CHIP_GAP] = [260, 40, 4];
/** The cursor is shared; clicks and selections are each chart's own. */
const SHARED = { key: "time", setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } };

/** Labels of the time axis: the day where it begins, the time of day between. */
function times(_chart, splits, _axis, _space, increment) {
  let last = null;
  return splits.map((at) => {
    const today = dayOf(at);
    const begins = today !== last && (last !== null || increment >= DAY || new Date(at * 1000).getHours() === 0);
    last = today;
    if (increment >= DAY) return today;
    return begins ? today : timeOfDay(at);
  });
}

/** Points that no line reaches, and all where there are few. */
function loners(chart, index) {
  const values = chart.data[index];
  const given = values.flatMap((value, at) => (value === null ? [] : [at]));
  if (given.length <= 40) return given;
  return given.filter((at) => (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null);
}

export const line = (label, stroke, dash = [], more = {}) => ({ label, stroke, dash, width: 2, points: { show: true, size: 5, width: 2, filter: loners }, ...more });

export class Chart {
  /**
   * `figure` is the element with a `.plot` inside; `deck` says what happens on zoom, click and where the cursor is;
   * `draw` returns `{ key, series, bands, data, y, format, paint, top }` of a result: the same key, the same chart with other data.
   */
  constructor(figure, deck, { height, draw }) {
    Object.assign(this, { figure, deck, height, draw, chart: null, key: null, shown: null });
    this.box = figure.querySelector(".plot");
    this.box.style.height = `${height}px`;
    this.target = this.box.querySelector(".target");
    this.marks = element("div", { class: "marks" });
    this.box.append(this.marks);
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  resize() {
    const width = this.box.clientWidth;
    if (!this.chart || width === 0 || width === this.chart.width) return;
    this.chart.setSize({ width, height: this.height });
    this.place();
  }

  update(series) {
    this.shown = series;
    const drawn = this.draw(series);
    this.drawn = drawn;
    if (this.chart && this.key === drawn.key) {
      this.chart.setData([this.middles(series), ...drawn.data], false);
      this.scale(series, drawn);
    } else {
      this.key = drawn.key;
      this.make(series, drawn);
    }
    this.place();
  }

  /** Colours have changed. */
  again() {
    this.key = null;
    if (this.shown) this.update(this.shown);
  }

  middles(series) {
    return series.at.map((at) => at + series.step_seconds / 2);
  }

  scale(series, drawn) {
    this.chart.batch(() => {
      this.chart.setScale("x", { min: series.start, max: series.end });
      this.chart.setScale("y", { min: drawn.y[0], max: drawn.y[1] });
    });
  }

  make(series, drawn) {
    this.chart?.destroy();
    const axis = { stroke: token("muted"), font: "12px system-ui, sans-serif", grid: { stroke: token("grid"), width: 1 }, ticks: { stroke: token("grid"), width: 1, size: 4 }, gap: 4 };
    const narrow = this.box.clientWidth < 500;
    const options = {
      width: this.box.clientWidth,
      height: this.height,
      padding: [drawn.top ?? 10, RIGHT, 0, 0],
      legend: { show: false },
      scales: { x: { time: true, range: (_chart, min, max) => [min, max] }, y: { range: (_chart, min, max) => [min, max] } },
      axes: [
        { ...axis, size: 26, space: narrow ? 58 : 72, values: times },
        { ...axis, size: AXIS, space: 32, values: (_chart, splits) => splits.map(drawn.format) },
      ],
      cursor: { sync: SHARED, y: false, drag: { x: true, y: false, setScale: false, dist: CLICK }, points: { size: 7 } },
      series: [{}, ...drawn.series],
      bands: drawn.bands,
      hooks: {
        setCursor: [(chart) => this.deck.at(chart.cursor.idx ?? null)],
        setSelect: [(chart) => this.selected(chart)],
        draw: [(chart) => this.lines(chart, drawn)],
      },
    };
    this.chart = new uPlot(options, [this.middles(series), ...drawn.data], this.target);
    this.scale(series, drawn);
    this.clicks(this.chart.over);
  }

  clicks(over) {
    let pressed = null;
    over.addEventListener("mousedown", (event) => (pressed = event.clientX));
    over.addEventListener("click", (event) => {
      const index = this.chart.cursor.idx;
      if (pressed === null || Math.abs(event.clientX - pressed) >= CLICK || typeof index !== "number") return;
      this.deck.open(index);
    });
  }

  selected(chart) {
    const { left, width } = chart.select;
    if (width < CLICK || chart.cursor.event === null || this.deck.selecting) return;
    chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.deck.zoom(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
  }

  /** What lies at a time: bundles that came into use, shifts, and what the chart paints itself. */
  lines(chart, drawn) {
    const { ctx, bbox } = chart;
    const vertical = (at, colour, dash) => {
      const x = Math.round(chart.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) return;
      ctx.strokeStyle = colour;
      ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    };
    ctx.save();
    for (const bundle of this.shown.changes) vertical(bundle.at, token("muted"), [2, 4]);
    for (const shift of this.shown.shifts) vertical(shift.at, token(shift.after < shift.before ? "negative" : "positive"), [6, 3]);
    ctx.restore();
    this.drawn?.paint?.(chart);
  }

  /** Puts the chips above the plot where their times are: to the right of them, or to the left where more room is. */
  place() {
    const chips = this.drawn?.chips?.() ?? [];
    const focused = this.marks.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const whole = this.box.clientWidth;
    const width = whole - AXIS - RIGHT;
    const lefts = chips.map(({ at }) => AXIS + ((at - this.shown.start) / (this.shown.end - this.shown.start)) * width);
    let taken = 0;
    const nodes = chips.map(({ node: fresh }, index) => {
      const node = this.kept(fresh);
      const left = lefts[index];
      const [before, after] = [left - taken - CHIP_GAP, (lefts[index + 1] ?? whole - RIGHT) - left - CHIP_GAP];
      const back = after < CHIP && before > after;
      node.style.removeProperty(back ? "left" : "right");
      node.style.setProperty(back ? "right" : "left", `${back ? whole - left : left}px`);
      node.style.maxWidth = `${Math.max(back ? before : after, SHORT)}px`;
      node.classList.toggle("short", Math.max(before, after) < 130);
      taken = back ? left : left + after;
      return node;
    });
    for (const gone of [...this.marks.children]) if (!nodes.includes(gone)) gone.remove();
    nodes.forEach((node, index) => this.marks.children[index] === node || this.marks.insertBefore(node, this.marks.children[index] ?? null));
    if (focused && document.activeElement?.dataset.key !== focused) nodes.find(({ dataset }) => dataset.key === focused)?.focus({ preventScroll: true });
  }

  /** The chip that is there already, where it says the same: under the focus or the pointer nothing may be exchanged. */
  kept(fresh) {
    const there = [...this.marks.children].find(({ dataset }) => dataset.key === fresh.dataset.key);
    return there && there.dataset.to === fresh.dataset.to && there.innerHTML === fresh.innerHTML ? there : fresh;
  }

  /** Shows the shared cursor at a step, as the keyboard moves it. */
  point(index) {
    if (!this.chart) return;
    const left = index === null ? -10 : this.chart.valToPos(this.chart.data[0][index], "x");
    this.chart.setCursor({ left, top: 10 }, false);
  }

  /** Shows a selection, as the keyboard makes it. */
  select(first, last) {
    if (!this.chart) return;
    const [left, right] = [first, last].map((at) => (at === null ? 0 : this.chart.valToPos(at, "x")));
    this.chart.setSelect({ left, width: right - left, top: 0, height: this.chart.over.clientHeight }, false);
  }
}
