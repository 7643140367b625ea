// The page: what the address says is asked of the API and drawn, again whenever the store has changed or time has moved on.

import { address, Changes, Failure, get, query } from "./api.js";
import { LabelsPanel, missing, PolarityPanel, relevance } from "./charts.js";
import { Asking } from "./asking.js";
import { isDark } from "./colours.js";
import { Deck } from "./deck.js";
import { byId, element, say } from "./dom.js";
import * as filters from "./filters.js";
import * as format from "./format.js";
import * as healthStrip from "./health.js";
import * as lists from "./lists.js";
import { Posts } from "./posts.js";
import { Happened, summarise } from "./summary.js";
import { iso, seconds, serialise, View } from "./url.js";

/** How often to ask while nothing changes: lag moves without results, and relative ranges move with time. */
const IDLE = 5000;

const view = new View(() => changed());
const openPosts = (from, to) => view.set({ posts: { from: iso(from), to: iso(to) } });
const openShift = ({ at, to }) => openPosts(at, to);
const toggleTag = (tag) => view.set({ tag: tag === view.state.tag ? null : tag });
const toggleLabel = (label) => view.set({ label: label === view.state.label ? null : label });

const deck = new Deck(byId("readout"), {
  zoom: (from, to) => view.zoom(from, to),
  back: () => view.back(),
  posts: openPosts,
  shown: (index) => panels.forEach((panel) => panel.legend.at(index)),
});
const filtered = () => view.state.tag !== null;
const panels = [];
panels.push(new PolarityPanel(deck, openShift), new LabelsPanel(deck, () => view.state, toggleLabel), relevance(deck, filtered), missing(deck, filtered));
const happened = new Happened({ open: openShift, tag: (tag) => view.set({ tag }), source: (source) => view.set({ sources: [source] }) });
const posts = new Posts({
  close: () => view.state.posts && view.set({ posts: null }),
  tag: toggleTag,
  label: (label) => view.set({ label }),
  failed: (error) => failed(error),
});

/** `loading`, then `live`, `down` (nobody answers) or `locked` (a token is needed); a good answer leads from each to `live`. */
let live = "loading";
let latest = null;
let announce = "";
let countdown = null;
/** The newest revision that the stream told of. */
let told = 0;

const asking = new Asking((signal) => load(signal));
const changes = new Changes({ changed: (revision) => news(revision), down: (pause) => down(pause) });

/** What is shown already needs no asking, unless it is not known whether anybody answers. */
function news(revision) {
  told = revision;
  if (live !== "live" || told > (latest?.revision ?? 0)) asking.soon(0);
}

/** What is to be shown is another: at once, and said once it is there. */
function changed() {
  filters.show(view);
  announce = "change";
  document.body.classList.add("stale");
  posts.update(view.state, latest?.labels ?? [], latest?.shifts ?? []);
  asking.other();
}

/** Asks once and shows the answer; tells when to ask again. */
async function load(signal) {
  if (document.hidden && latest && announce === "") return null;
  const { state } = view;
  try {
    const [series, tags, health] = await Promise.all([
      get("series", query(state, ["source", "tag"]), signal),
      get("tags", query(state, ["source"]), signal),
      get("health", query(state, []), signal),
    ]);
    show(prepare(series), tags, health);
    return told > series.revision ? 0 : IDLE;
  } catch (error) {
    return signal.aborted ? null : failed(error);
  }
}

/** The series with what the charts need beside: the range in seconds, and the bundles that took over from another within it. */
function prepare(series) {
  const [start, end] = [seconds(series.from), seconds(series.to)];
  return { ...series, start, end, changes: series.bundles.filter(({ at }, index) => index > 0 && at >= start) };
}

function show(series, tags, health) {
  latest = series;
  const { state } = view;
  mode(series.total.posts > 0 ? "shown" : health.store.posts > 0 ? "unmatched" : "empty");
  connected();
  filters.offer(series);
  const text = summarise(series);
  happened.update(series);
  for (const panel of panels) panel.update(series);
  deck.update(series);
  lists.sources(series, state.sources, (source) => view.toggleSource(source));
  lists.tags(tags, state.tag, toggleTag);
  healthStrip.health(health);
  healthStrip.bundle(series);
  exports(series);
  posts.update(state, series.labels, series.shifts);
  document.body.classList.remove("stale");
  document.body.dataset.revision = series.revision;
  tell(text, series);
}

/** Says aloud what the reader asked for, and a shift that is new; not every post. */
let known = null;
function tell(text, { shifts }) {
  const newest = shifts.at(-1);
  if (announce !== "") say(byId("announcer"), text);
  else if (newest && known !== null && newest.at > known) say(byId("announcer"), `New shift at ${format.time(newest.at)}: mean polarity from ${format.polarity(newest.before)} to ${format.polarity(newest.after)}.`);
  known = newest?.at ?? 0;
  announce = "";
}

/** Exports are of the range as it is shown, not of the moment of the click. */
function exports({ start, end }) {
  const state = { ...view.state, range: null, from: iso(start), to: iso(end) };
  for (const [endpoint, names, limit] of [["series", ["source", "tag"], null], ["tags", ["source"], "200"], ["posts", ["source", "tag", "label"], "200"]]) {
    const parameters = query(state, names);
    if (limit) parameters.set("limit", limit);
    for (const kind of ["csv", "json"]) {
      parameters.set("format", kind);
      byId(`export-${endpoint}-${kind}`).href = address(endpoint, parameters);
    }
  }
  byId("all-posts").onclick = () => openPosts(start, end);
}

/** Which of the page's states is shown; style sheet and document do the rest. */
function mode(name) {
  document.body.dataset.mode = name;
  for (const panel of document.querySelectorAll("[data-for]")) panel.hidden = !panel.dataset.for.split(" ").includes(name);
}

function connected() {
  clearInterval(countdown);
  if (live === "down") say(byId("announcer"), "Connected again.");
  live = "live";
  byId("banner").hidden = true;
  say(byId("live"), "Live");
  say(byId("live-at"), `as of ${format.timeOfDay(Date.now() / 1000)}`);
  document.body.classList.remove("down");
  changes.resume();
}

function down(pause) {
  clearInterval(countdown);
  const until = Date.now() + pause;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    say(byId("banner-when"), left > 0 ? `Trying again in ${left} s.` : "Trying again …");
  };
  tick();
  countdown = setInterval(tick, 1000);
  // A broken stream alone may mean anything: a request tells whether nobody is there or a token is missing.
  asking.soon(0);
}

/** Shows what went wrong; tells when to ask again, if not when the stream is back or the reader says so. */
function failed(error) {
  if (!(error instanceof Failure)) {
    console.error(error);
    fail("page_failed", String(error));
  } else if (error.kind === "unauthorised") {
    changes.close();
    clearInterval(countdown);
    live = "locked";
    byId("banner").hidden = true;
    say(byId("live"), "Locked");
    keepView();
    mode("unauthorised");
  } else if (error.kind === "unreachable") {
    if (live !== "down") say(byId("announcer"), "Disconnected. Trying again.");
    live = "down";
    byId("banner").hidden = false;
    say(byId("live"), "Disconnected");
    document.body.classList.add("down");
    changes.lost();
  } else if (error.kind === "busy" && latest) {
    // What is shown is a little old, and better than an error.
    return IDLE;
  } else {
    fail(error.kind, error.message);
    return 2 * IDLE;
  }
  return null;
}

/** Whoever logs in sees what the address asked for. */
function keepView() {
  const kept = [...new URLSearchParams(serialise(view.state))].map(([name, value]) => element("input", { type: "hidden", name, value }));
  byId("token-view").replaceChildren(...kept);
}

function fail(code, detail) {
  say(byId("error-detail"), `${detail} (${code})`);
  document.body.classList.remove("stale");
  mode("failed");
}

function chrome() {
  filters.wire(view);
  byId("retry").addEventListener("click", () => changes.retry());
  byId("error-retry").addEventListener("click", () => changed());
  byId("clear").addEventListener("click", () => view.set({ sources: [], tag: null, label: null }));
  byId("widen").addEventListener("click", () => view.set({ range: "90d", from: null, to: null }));
  byId("zoom-in").addEventListener("click", () => latest && deck.scale(0.5));
  byId("zoom-out").addEventListener("click", () => latest && deck.scale(2));
  byId("zoom-back").addEventListener("click", () => view.back());
  byId("theme").addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // No storage: for as long as the page is open.
    }
    recolour();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  document.addEventListener("visibilitychange", () => (document.hidden ? changes.close() : asking.soon(0)));
  for (const menu of document.querySelectorAll("details.menu")) wireMenu(menu);
  recolour();
}

/** A menu closes with Escape, and when one looks elsewhere. */
function wireMenu(menu) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => menu.contains(event.target) || (menu.open = false));
}

function recolour() {
  byId("theme").setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
  byId("theme").title = isDark() ? "Light colours" : "Dark colours";
  if (!latest) return;
  for (const panel of panels) {
    panel.update(latest);
    panel.chart.again();
  }
  summarise(latest);
  lists.sources(latest, view.state.sources, (source) => view.toggleSource(source));
}

chrome();
filters.show(view);
asking.soon(0);
