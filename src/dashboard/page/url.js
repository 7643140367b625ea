// What is shown, as the address says it: whoever opens the address sees the same, and back and forward work.
//
//   range=24h | from=…&to=…   source= (repeated)   tag=   label=   view=count   posts=FROM/TO (the drawer)

export const PRESETS = new Map([
  ["15m", "15 min"],
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["3d", "3 d"],
  ["7d", "7 d"],
  ["30d", "30 d"],
  ["90d", "90 d"],
]);
const DEFAULT = "24h";
const SHORTEST = 5 * 60;

const isTime = (text) => text !== null && !Number.isNaN(Date.parse(text));
export const seconds = (text) => Math.floor(Date.parse(text) / 1000);
export const iso = (at) => new Date(at * 1000).toISOString().replace(".000Z", "Z");

/** The state that a query string tells; what it does not tell, or tells wrongly, is as it comes. */
export function parse(search) {
  const query = new URLSearchParams(search);
  const [from, to] = [query.get("from"), query.get("to")];
  const custom = isTime(from) && isTime(to) && Date.parse(from) < Date.parse(to);
  const [start, end] = (query.get("posts") ?? "").split("/");
  return {
    range: custom ? null : PRESETS.has(query.get("range")) ? query.get("range") : DEFAULT,
    from: custom ? iso(seconds(from)) : null,
    to: custom ? iso(seconds(to)) : null,
    sources: [...new Set(query.getAll("source"))],
    tag: query.get("tag") || null,
    label: query.get("label") || null,
    view: query.get("view") === "count" ? "count" : "share",
    posts: isTime(start ?? null) && isTime(end ?? null) && seconds(start) < seconds(end) ? { from: iso(seconds(start)), to: iso(seconds(end)) } : null,
  };
}

export function serialise(state) {
  const query = new URLSearchParams();
  if (state.range === null) {
    query.set("from", state.from);
    query.set("to", state.to);
  } else if (state.range !== DEFAULT) query.set("range", state.range);
  for (const source of state.sources) query.append("source", source);
  if (state.tag) query.set("tag", state.tag);
  if (state.label) query.set("label", state.label);
  if (state.view !== "share") query.set("view", state.view);
  if (state.posts) query.set("posts", `${state.posts.from}/${state.posts.to}`);
  const text = query.toString().replaceAll("%3A", ":").replaceAll("%2F", "/");
  return text === "" ? "" : `?${text}`;
}

/** The present state, and what to do when it changes, by this page or by back and forward. */
export class View {
  constructor(changed) {
    this.changed = changed;
    this.state = parse(location.search);
    window.addEventListener("popstate", () => {
      this.state = parse(location.search);
      this.changed(this.state);
    });
    // A token in the address has become a cookie: nobody should share it with the address.
    if (new URLSearchParams(location.search).has("token")) history.replaceState(history.state, "", this.#address());
  }

  #address() {
    return location.pathname + serialise(this.state);
  }

  /** Ranges that were zoomed out of this one's way, the last one last. */
  get before() {
    return history.state?.before ?? [];
  }

  set(change, before = this.before) {
    this.state = { ...this.state, ...change };
    history.pushState({ before }, "", this.#address());
    this.changed(this.state);
  }

  /** Looks closer; never closer than five minutes. */
  zoom(from, to) {
    const missing = Math.max(0, SHORTEST - (to - from)) / 2;
    const { range, from: wasFrom, to: wasTo } = this.state;
    const next = { range: null, from: iso(Math.floor(from - missing)), to: iso(Math.ceil(to + missing)) };
    if (next.from === wasFrom && next.to === wasTo) return;
    this.set(next, [...this.before, { range, from: wasFrom, to: wasTo }].slice(-20));
  }

  /** The range before the last zoom. */
  back() {
    const before = [...this.before];
    const last = before.pop() ?? { range: DEFAULT, from: null, to: null };
    this.set(last, before);
  }

  toggleSource(source) {
    const { sources } = this.state;
    this.set({ sources: sources.includes(source) ? sources.filter((other) => other !== source) : [...sources, source] });
  }
}
