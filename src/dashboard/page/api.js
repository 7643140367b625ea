// The HTTP API (docs/dashboard.md), and the connection that says when to ask again.

/** What went wrong, by kind: `unreachable`, `unauthorised`, or an error that the API told. */
export class Failure extends Error {
  constructor(kind, detail) {
    super(detail);
    this.kind = kind;
  }
}

/** The parameters of the range and filters that an endpoint knows. */
export function query(state, names) {
  const parameters = new URLSearchParams();
  parameters.set("from", state.range === null ? state.from : `now-${state.range}`);
  parameters.set("to", state.range === null ? state.to : "now");
  if (names.includes("source")) for (const source of state.sources) parameters.append("source", source);
  for (const name of ["tag", "label"]) if (names.includes(name) && state[name]) parameters.set(name, state[name]);
  return parameters;
}

export const address = (endpoint, parameters) => `api/v1/${endpoint}?${parameters}`;

/** A connection that has died without a word is not waited for any longer; the server gives up after half of it. */
const PATIENCE = 30000;

export async function get(endpoint, parameters, signal) {
  let response;
  try {
    const given = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
    response = await fetch(address(endpoint, parameters), { signal: given, cache: "no-store", headers: { accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure("unreachable", "The dashboard does not answer.");
  }
  let body = null;
  try {
    body = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (response.ok) throw new Failure("unreachable", "The answer of the dashboard was cut off.");
  }
  if (response.ok) return body;
  if (response.status === 401) throw new Failure("unauthorised", body?.error?.detail ?? "A token is needed.");
  throw new Failure(body?.error?.code ?? `http_${response.status}`, body?.error?.detail ?? `The dashboard answered with status ${response.status}.`);
}

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15000;

/** The stream of changes. It is opened again by itself, after pauses that grow to 15 s; `down` tells each pause. */
export class Changes {
  constructor({ changed, down }) {
    Object.assign(this, { changed, down, pause: FIRST_PAUSE, source: null, timer: null });
    window.addEventListener("online", () => this.retry());
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    this.source?.close();
    // Browsers allow few connections a host: pages that nobody sees must not hold them.
    if (document.hidden) return;
    this.source = new EventSource("api/v1/events");
    this.source.addEventListener("change", ({ data }) => {
      this.pause = FIRST_PAUSE;
      this.changed(JSON.parse(data).revision);
    });
    this.source.addEventListener("error", () => this.lost());
  }

  /** Called when the stream breaks, or a request finds nobody there. */
  lost() {
    this.source?.close();
    this.source = null;
    if (this.timer !== null || document.hidden) return;
    const pause = this.pause;
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
    this.timer = setTimeout(() => this.open(), pause);
    this.down(pause);
  }

  /** Opens it where it is closed and does not wait. */
  resume() {
    if (this.source === null && this.timer === null) this.open();
  }

  /** At once, where it waits. */
  retry() {
    if (this.timer !== null) this.open();
  }

  close() {
    clearTimeout(this.timer);
    this.timer = null;
    this.source?.close();
    this.source = null;
  }
}
