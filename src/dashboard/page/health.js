// The health strip: whether what is shown is all there is - throughput, the workers' lag, how far behind this dashboard is, dead
// letters by reason, and which bundle scores.

import { byId, element, replace, say } from "./dom.js";
import * as format from "./format.js";

const WIDTH = 90;
const HEIGHT = 18;

function bars(results) {
  const most = Math.max(1, ...results);
  const width = WIDTH / Math.max(1, results.length);
  const drawn = results.map((count, at) => {
    const height = count ? Math.max(1, (count / most) * HEIGHT) : 0;
    return element("rect", { x: (at * width).toFixed(2), y: (HEIGHT - height).toFixed(2), width: Math.max(0.5, width - 0.4).toFixed(2), height: height.toFixed(2) });
  });
  return element("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" }, drawn);
}

function state(id, text, wrong, detail = "") {
  const item = byId(id);
  say(item.querySelector(".figure"), text);
  item.classList.toggle("wrong", wrong);
  item.title = detail ?? "";
}

export function health({ ingest, throughput, worker, dead_letters: letters, store, version }) {
  state("health-rate", `${format.rate(ingest.per_second)}/s`, false, "Results scored within the last minute; the bars are the last 60 minutes");
  replace(byId("health-bars"), bars(throughput.results));
  state("health-lag", worker.error ? `not known: ${worker.error}` : format.plural(worker.lag, "record", "records"), Boolean(worker.error), worker.error ?? `Records of the input topic behind the committed offsets of the group ${worker.group}`);
  const behind = ingest.connected ? (ingest.behind === null ? "not known" : ingest.behind ? `${format.plural(ingest.behind, "record", "records")} behind` : "up to date") : "broker away";
  state("health-behind", ingest.error ? `${behind}: ${ingest.error}` : behind, !ingest.connected || Boolean(ingest.error), ingest.error ?? "Records of the results topic that this dashboard has not read yet");
  state("health-letters", format.count(letters.total), letters.total > 0, "Posts that could not be scored, in this range");
  const reasons = letters.reasons.map(({ reason, count, last_at: last }) =>
    element("li", {}, element("code", {}, reason), element("b", {}, format.count(count)), element("span", { class: "muted" }, `last ${format.exactly(last)}`)),
  );
  replace(byId("health-reasons"), reasons.length ? reasons : element("li", { class: "muted" }, "None in this range."));
  const skipped = Object.entries(ingest.skipped ?? {}).filter(([, count]) => count > 0).map(([reason, count]) => `${format.count(count)} skipped (${reason.replaceAll("_", " ")})`);
  const kept = [`${format.plural(store.posts, "post", "posts")} kept for ${store.retention_days} days in ${format.megabytes(store.bytes)}`, ...skipped, `sentistream ${version}`];
  say(byId("store"), kept.join(" · "));
}

/** The bundle that scored last, of those within the range and the one before it. */
export function bundle(series) {
  const last = series.bundles.at(-1);
  state("health-bundle", last ? `${last.bundle} ${last.version}` : format.NONE, false, last ? `Digest ${last.digest}, since ${format.time(last.at)}` : "");
}
