// The posts behind a point or a shift: a dialog beside the charts, with all that a result says of each post.

import { address, get, query } from "./api.js";
import { labelColours } from "./colours.js";
import { byId, element, replace, say } from "./dom.js";
import * as format from "./format.js";
import { seconds } from "./url.js";

const PAGE = 50;

export class Posts {
  constructor({ close, tag, label, failed }) {
    Object.assign(this, { tag, label, failed, dialog: byId("posts"), list: byId("posts-list"), more: byId("posts-more"), labels: [], shown: null, request: null, next: null });
    this.dialog.addEventListener("close", () => {
      this.request?.abort();
      this.shown = null;
      close();
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    byId("posts-close").addEventListener("click", () => this.dialog.close());
    this.more.addEventListener("click", () => this.load());
    byId("posts-label").addEventListener("change", (event) => this.label(event.target.value || null));
  }

  /** Shows what the state says: the posts of a span, or no dialog. */
  update(state, labels, shifts) {
    this.labels = labels;
    if (!state.posts) {
      this.shown = null;
      if (this.dialog.open) this.dialog.close();
      return;
    }
    const { from, to } = state.posts;
    const key = JSON.stringify([from, to, state.sources, state.tag, state.label]);
    if (!this.dialog.open) this.dialog.showModal();
    this.chooseLabels(state.label);
    this.title(state, shifts);
    if (key === this.shown) return;
    this.shown = key;
    this.next = null;
    this.state = { ...state, range: null, from, to };
    this.list.replaceChildren(...Array.from({ length: 3 }, () => element("li", { class: "skeleton card" })));
    this.load(true);
  }

  chooseLabels(chosen) {
    const names = this.labels.map(({ label }) => label);
    if (chosen && !names.includes(chosen)) names.push(chosen);
    const options = [element("option", { value: "" }, "all labels"), ...names.map((label) => element("option", { value: label }, label))];
    replace(byId("posts-label"), options);
    byId("posts-label").value = chosen ?? "";
  }

  title(state, shifts) {
    const [from, to] = [seconds(state.posts.from), seconds(state.posts.to)];
    say(byId("posts-title"), `Posts of ${format.span(from, to)}`);
    const shift = shifts.find(({ at, to: end }) => at === from && end === to);
    const filters = [shift && "after the shift", ...state.sources.map(format.sourceName), state.tag && `#${state.tag}`, state.label].filter(Boolean);
    say(byId("posts-filters"), `${filters.length ? `${filters.join(" · ")} · ` : ""}newest first · ${format.offset(from)}`);
  }

  async load(anew = false) {
    this.request?.abort();
    this.request = new AbortController();
    const { signal } = this.request;
    const parameters = query(this.state, ["source", "tag", "label"]);
    parameters.set("limit", PAGE);
    if (!anew && this.next) parameters.set("after", this.next);
    this.more.disabled = true;
    try {
      const { posts, next } = await get("posts", parameters, signal);
      const cards = posts.map((post) => this.card(post));
      if (anew) {
        this.list.replaceChildren(...(cards.length ? cards : [element("li", { class: "muted" }, "No posts here with these filters.")]));
        this.list.scrollTop = 0;
      } else this.list.append(...cards);
      if (!anew) cards[0]?.focus();
      this.next = next;
      say(byId("posts-status"), `${format.plural(this.list.querySelectorAll(".card").length, "post", "posts")} shown${next ? ", more to load" : ""}`);
    } catch (error) {
      if (signal.aborted) return;
      const nobody = ["unreachable", "unauthorised"].includes(error.kind);
      const text = `The posts could not be loaded: ${error.message}`;
      // What is here stays; where nothing is, the next refresh asks again if that may help.
      if (anew) this.list.replaceChildren(element("li", { class: "muted" }, text));
      else say(byId("posts-status"), text);
      if (anew && (nobody || error.kind === "busy")) this.shown = null;
      if (nobody) this.failed(error);
    } finally {
      if (!signal.aborted) {
        this.more.disabled = false;
        this.more.hidden = this.next === null;
        this.exports();
      }
    }
  }

  exports() {
    const parameters = query(this.state, ["source", "tag", "label"]);
    parameters.set("limit", "200");
    for (const kind of ["csv", "json"]) {
      parameters.set("format", kind);
      byId(`posts-${kind}`).href = address("posts", parameters);
    }
  }

  card(post) {
    const known = this.labels.some(({ label }) => label === post.label) ? this.labels : [{ label: post.label, polarity: post.polarity }];
    const { fill, family } = labelColours(known).get(post.label);
    const head = element(
      "div",
      { class: "head" },
      element("span", { class: family === "negative" ? "swatch hatch" : "swatch", style: { "--swatch": fill }, "aria-hidden": "true" }),
      element("b", {}, post.label),
      element("span", { class: "big" }, format.polarity(post.polarity)),
      element("span", { class: "muted" }, `confidence ${format.share(post.confidence)}`),
      element("time", { datetime: post.published_at, title: post.published_at }, format.exactly(post.published_at)),
    );
    const tags = (post.tags ?? []).map((tag) => element("button", { type: "button", class: "tag", title: `Show only posts tagged ${tag}`, onclick: () => this.tag(tag) }, `#${tag}`));
    const flags = (post.flags ?? []).map((flag) => element("span", { class: "flag" }, flag.replaceAll("_", " ")));
    return element(
      "li",
      { class: "card", tabindex: "-1" },
      head,
      element("p", { class: "id" }, element("span", { class: "wrap", title: post.id }, post.id), element("span", { class: "muted" }, ` ${format.sourceName(post.source ?? "")}`)),
      weights(post),
      tags.length || flags.length ? element("p", { class: "tags" }, tags, flags) : null,
      element("details", {}, element("summary", {}, "More"), details(post)),
    );
  }
}

/** What it was read off: a bar a field, and how much the label's probability would drop without it. */
function weights({ relevance, effects }) {
  const fields = Object.entries(relevance ?? {}).sort(([, a], [, b]) => b - a);
  return element(
    "dl",
    { class: "weights" },
    fields.map(([field, weight]) => {
      const effect = effects?.[field];
      return element(
        "div",
        {},
        element("dt", { title: field }, field),
        element("dd", {}, element("span", { class: "meter", "aria-hidden": "true" }, element("span", { style: { width: `${Math.min(100, 100 * weight)}%` } })), element("span", { class: "number" }, format.share(weight))),
        element("dd", { class: "effect", title: "By how much the label's probability would change without this field" }, effect === undefined ? "" : `effect ${format.polarity(effect)}`),
      );
    }),
  );
}

function details(post) {
  const chances = Object.entries(post.probabilities ?? {}).sort(([, a], [, b]) => b - a).map(([label, chance]) => `${label} ${format.share(chance)}`);
  const rows = [["Probabilities", chances.join(", ")], ["Scored", format.exactly(post.scored_at)], ["Bundle", post.bundle], ["Origin", post.origin]];
  return element("dl", { class: "facts" }, rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", { class: "wrap" }, value || format.NONE))));
}
