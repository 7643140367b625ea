// Colours that stay apart for colour-blind readers: labels from orange (negative, hatched) over grey to blue (positive), fields
// in Okabe and Ito's colours, each with a dash of its own. Light and dark have their own shades (app.css has the rest).

export const isDark = () => {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

const THIRD = 1 / 3;
const family = (polarity) => (polarity <= -THIRD ? "negative" : polarity >= THIRD ? "positive" : "neutral");

/** Hue, saturation, and lightness from the outermost label of a family to its innermost. */
const FAMILIES = {
  light: { negative: [22, 88, 42, 70], neutral: [214, 8, 62, 82], positive: [207, 72, 38, 72] },
  dark: { negative: [24, 88, 58, 36], neutral: [214, 8, 42, 60], positive: [207, 78, 60, 32] },
};

/** `{ fill, family }` by label; the labels come from the most negative to the most positive. */
export function labelColours(labels) {
  const shades = FAMILIES[isDark() ? "dark" : "light"];
  const members = { negative: [], neutral: [], positive: [] };
  for (const { label, polarity } of labels) members[family(polarity ?? 0)].push(label);
  members.positive.reverse();
  const colours = new Map();
  for (const [name, own] of Object.entries(members)) {
    const [hue, saturation, outer, inner] = shades[name];
    own.forEach((label, at) => {
      const lightness = own.length === 1 ? outer : outer + ((inner - outer) * at) / (own.length - 1);
      colours.set(label, { fill: `hsl(${hue} ${saturation}% ${lightness.toFixed(1)}%)`, family: name });
    });
  }
  return colours;
}

/** Diagonal lines over a colour: negative is told by more than its hue. */
export function hatched(context, fill) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const draw = tile.getContext("2d");
  draw.fillStyle = fill;
  draw.fillRect(0, 0, 8, 8);
  draw.strokeStyle = isDark() ? "rgb(0 0 0 / 45%)" : "rgb(255 255 255 / 55%)";
  draw.lineWidth = 1.5;
  draw.beginPath();
  for (const shift of [-8, 0, 8]) {
    draw.moveTo(shift - 1, 9);
    draw.lineTo(shift + 9, -1);
  }
  draw.stroke();
  return context.createPattern(tile, "repeat");
}

const FIELDS = {
  light: ["#0b5fa5", "#b3450c", "#00795a", "#9c3f7e", "#4b4f9a", "#8a6100", "#1c7c8c", "#555d66"],
  dark: ["#6cb6ff", "#f0954f", "#3fc39a", "#e08cc4", "#a7abff", "#e3b341", "#63cddd", "#aab3bd"],
};
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [5, 5], [1, 4], [12, 4], [4, 2, 1, 2]];

/** How many lines a chart draws; the rest is in its table. */
export const LINES = FIELDS.light.length;
export const fieldStyle = (at) => ({ stroke: FIELDS[isDark() ? "dark" : "light"][at % LINES], dash: DASHES[at % LINES] });

/** A colour of the style sheet. */
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
