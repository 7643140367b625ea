// When the API is asked: one request at a time, not before the answer before is digested, and never twice for the same.
//
//   idle   a timer may be set; a question or a news starts it
//   asking a request is under way: news wait for its answer, which may have them already; only another question ends it

/** An answer that took long is digested slowly: at most this part of the time is spent on answers. */
const BUSY = 4;
const DIGEST = 1000;

export class Asking {
  /** `ask(signal)` asks and shows; it resolves to the milliseconds after which to ask again, or to null: not by itself. */
  constructor(ask) {
    Object.assign(this, { ask, request: null, timer: null, due: 0 });
  }

  /** Asks after so many milliseconds, or when the answer before is digested, unless a request is under way. */
  soon(delay) {
    if (this.request) return;
    const at = Math.max(Date.now() + delay, this.due);
    if (this.timer !== null && this.timer.at <= at) return;
    clearTimeout(this.timer?.id);
    this.timer = { at, id: setTimeout(() => this.#go(), at - Date.now()) };
  }

  /** The question is another: what is under way answers nothing any more. */
  other() {
    this.request?.abort();
    this.request = null;
    this.due = 0;
    this.soon(0);
  }

  async #go() {
    this.timer = null;
    const request = new AbortController();
    this.request = request;
    const started = Date.now();
    const pause = await this.ask(request.signal);
    if (this.request !== request) return;
    this.request = null;
    this.due = Date.now() + Math.max(DIGEST, BUSY * (Date.now() - started));
    if (pause !== null) this.soon(pause);
  }
}
