// Elements made of text only. Ids, sources, tags and origins come from strangers: nothing here, or anywhere on the page,
// reads them as HTML.

/** An element: attributes by name (`on…` are listeners, `class` a class, `style` CSSOM properties), then children. */
export function element(name, attributes = {}, ...children) {
  const node = name === "svg" || SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [property, set] of Object.entries(value)) node.style.setProperty(property, set);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = new Set(["path", "rect", "line", "circle"]);

export const byId = (id) => document.getElementById(id);

/** Puts text where it changed: what did not change is not announced, selected or drawn anew. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Puts children in place of the present ones, unless they say the same: a list that is updated under the pointer
 * or the focus stays as it is, and where it does change, focus stays on what carries the same `data-key`.
 */
export function replace(node, ...children) {
  const fresh = document.createElement("div");
  fresh.append(...children.flat().filter(Boolean));
  const same = fresh.childNodes.length === node.childNodes.length && [...fresh.childNodes].every((child, at) => child.isEqualNode(node.childNodes[at]));
  if (same) return;
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.replaceChildren(...fresh.childNodes);
  if (focused === undefined) return;
  for (const candidate of node.querySelectorAll("[data-key]")) {
    if (candidate.dataset.key === focused) candidate.focus({ preventScroll: true });
  }
}

/** A table behind a disclosure, made when it is first opened: 200 rows are not drawn for nobody. */
export class DataTable {
  constructor(details, caption) {
    this.details = details;
    this.caption = caption;
    this.make = null;
    details.append(element("summary", {}, "Data as a table"));
    this.box = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${caption}` });
    details.append(this.box);
    details.addEventListener("toggle", () => this.#draw());
  }

  /** `make` returns `{ columns, rows }`, of text. */
  update(make) {
    this.make = make;
    this.#draw();
  }

  #draw() {
    if (!this.details.open || !this.make) return;
    const { columns, rows } = this.make();
    replace(
      this.box,
      element(
        "table",
        {},
        element("caption", { class: "hidden" }, this.caption),
        element("thead", {}, element("tr", {}, columns.map((name) => element("th", { scope: "col" }, name)))),
        element(
          "tbody",
          {},
          rows.map(([first, ...rest]) =>
            element("tr", {}, element("th", { scope: "row" }, first), rest.map((cell) => element("td", {}, cell))),
          ),
        ),
      ),
    );
  }
}
