// Numbers and times as the reader's locale writes them; times are local, and the page says by how much they differ from UTC.

const numbers = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const signed = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const finer = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const rates = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const bytes = new Intl.NumberFormat(undefined, { style: "unit", unit: "megabyte", maximumFractionDigits: 1 });

export const NONE = "–";
const known = (format) => (value) => (value === null || value === undefined || Number.isNaN(value) ? NONE : format(value));

export const count = known((value) => numbers.format(value));
export const short = known((value) => compact.format(value));
export const polarity = known((value) => signed.format(value).replace("-", "−"));
/** From … to …; a single post has no band. */
export const band = (low, high) => (typeof low === "number" && typeof high === "number" ? `${polarity(low)} … ${polarity(high)}` : NONE);
export const share = known((value) => (value > 0 && value < 0.1 ? finer : percent).format(value));
export const rate = known((value) => rates.format(value));
export const megabytes = known((value) => bytes.format(value / 1e6));

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

const date = (seconds) => new Date(seconds * 1000);
export const DAY = 86400;

export const time = known((seconds) => full.format(date(seconds)));
export const timeOfDay = known((seconds) => clock.format(date(seconds)));
export const dayOf = known((seconds) => day.format(date(seconds)));
export const exactly = (text) => (text ? exact.format(new Date(text)) : NONE);

/** From one second to another, as short as it stays clear. */
export function span(from, to) {
  if (to - from >= 2 * DAY) return `${year.format(date(from))} – ${year.format(date(to))}`;
  if (dayOf(from) === dayOf(to)) return `${time(from)} – ${timeOfDay(to)}`;
  return `${time(from)} – ${time(to)}`;
}

/** "5 min", "3 h", "1 day". */
export function duration(seconds) {
  if (seconds % DAY === 0) return seconds === DAY ? "1 day" : `${numbers.format(seconds / DAY)} days`;
  return seconds % 3600 === 0 ? `${seconds / 3600} h` : `${Math.round(seconds / 60)} min`;
}

/** "UTC+02:00", at that moment. */
export function offset(seconds) {
  const minutes = -date(seconds).getTimezoneOffset();
  const two = (value) => String(Math.trunc(Math.abs(value))).padStart(2, "0");
  return `UTC${minutes < 0 ? "−" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

/** The start of the step that a time stands for, in words. */
export const stepAt = (at, step) => (step >= DAY ? year.format(date(at)) : span(at, at + step));

export const plural = (value, one, many) => `${count(value)} ${value === 1 ? one : many}`;

/** A source as it is shown: posts without one have the empty source. */
export const sourceName = (source) => (source === "" ? "(no source)" : source);
