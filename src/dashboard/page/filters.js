// The bar of filters: what the state says is pressed, and what is pressed becomes the state.

import { byId, element, replace, say } from "./dom.js";
import * as format from "./format.js";
import { iso, PRESETS, seconds } from "./url.js";

/** A second as an input of local date and time wants it. */
function local(at) {
  const date = new Date(at * 1000 - new Date(at * 1000).getTimezoneOffset() * 60000);
  return date.toISOString().slice(0, 16);
}

export function wire(view) {
  const presets = [...PRESETS].map(([range, name]) => element("button", { type: "button", "data-range": range, onclick: () => view.set({ range, from: null, to: null }, []) }, name));
  byId("presets").replaceChildren(...presets);
  byId("custom").addEventListener("submit", (event) => {
    event.preventDefault();
    const [from, to] = [byId("from"), byId("to")].map((input) => Date.parse(input.value) / 1000);
    const wrong = !(from < to);
    byId("custom-wrong").hidden = !wrong;
    if (wrong) return;
    byId("custom-menu").open = false;
    view.set({ range: null, from: iso(from), to: iso(to) }, []);
  });
  byId("tag-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setTag(view);
  });
  byId("tag").addEventListener("change", () => setTag(view));
  byId("label").addEventListener("change", (event) => view.set({ label: event.target.value || null }));
  for (const name of ["share", "count"]) byId(`view-${name}`).addEventListener("click", () => view.set({ view: name }));
}

function setTag(view) {
  const tag = byId("tag").value.trim().replace(/^#/, "") || null;
  if (tag !== view.state.tag) view.set({ tag });
}

/** What the state says. */
export function show(view) {
  const { state } = view;
  for (const button of byId("presets").children) button.setAttribute("aria-pressed", String(button.dataset.range === state.range));
  const custom = state.range === null;
  say(byId("custom-name"), custom ? format.span(seconds(state.from), seconds(state.to)) : "Custom");
  byId("custom-menu").classList.toggle("chosen", custom);
  byId("zoom-back").hidden = !(view.before.length || custom);
  if (document.activeElement !== byId("tag")) byId("tag").value = state.tag ?? "";
  chooseLabel([], state.label);
  for (const name of ["share", "count"]) byId(`view-${name}`).setAttribute("aria-pressed", String(state.view === name));
  const chips = [
    ...state.sources.map((source) => chip("source", source, format.sourceName(source), () => view.toggleSource(source))),
    state.tag && chip("tag", state.tag, `#${state.tag}`, () => view.set({ tag: null })),
    state.label && chip("label", state.label, state.label, () => view.set({ label: null })),
  ].filter(Boolean);
  if (chips.length > 1) chips.push(element("button", { type: "button", class: "link", "data-key": "clear", onclick: () => view.set({ sources: [], tag: null, label: null }) }, "clear all"));
  replace(byId("chips"), chips);
  byId("chips").hidden = chips.length === 0;
  say(byId("unmatched-filters"), chips.length ? "Take filters away, or look at a longer range." : "Look at a longer range.");
  byId("clear").hidden = chips.length === 0;
}

function chip(kind, key, name, remove) {
  return element("button", { type: "button", class: "filter", title: `${name}: take this filter away`, "data-key": `${kind} ${key}`, onclick: remove }, element("span", { class: "kind" }, kind), element("span", { class: "name" }, name), element("span", { "aria-hidden": "true" }, "×"), element("span", { class: "hidden" }, ", take this filter away"));
}

function chooseLabel(labels, chosen) {
  const select = byId("label");
  const names = labels.length ? labels.map(({ label }) => label) : [...select.options].map(({ value }) => value).filter(Boolean);
  if (chosen && !names.includes(chosen)) names.push(chosen);
  replace(select, [element("option", { value: "" }, "all labels"), ...names.map((name) => element("option", { value: name }, name))]);
  select.value = chosen ?? "";
}

/** What there is to choose from, and the range as it is shown. */
export function offer(series) {
  chooseLabel(series.labels, byId("label").value || null);
  if (byId("custom-menu").open) return;
  byId("from").value = local(series.start);
  byId("to").value = local(series.end);
}
