// The counters of the last five minutes, kept in the page.

/** Seconds kept. */
export const KEPT = 300;

/** Seconds over which a rate is taken: five polls, so that a single client makes no spike. */
const SMOOTH = 10;

/** Samples of counters (which only grow) and gauges, by name. A name that is missing is 0. */
export class History {
  #samples = [];

  /** `time` in seconds of any steady clock. */
  add(time, counters, gauges = {}) {
    const last = this.#samples.at(-1);
    const fell =
      last && Object.entries(last.counters).some(([name, n]) => (counters[name] ?? 0) < n);
    // The proxy has restarted, or the broker was removed and added again.
    if (fell) this.clear();
    this.#samples.push({ time, counters, gauges });
    while (this.#samples[0].time < time - KEPT) this.#samples.shift();
  }

  clear() {
    this.#samples = [];
  }

  /** By how much a counter grew in the known part of the last `seconds`. */
  growth(name, seconds) {
    const last = this.#samples.at(-1);
    if (!last) return undefined;
    const from = this.#samples[this.#before(this.#samples.length - 1, seconds)];
    return grown(name, from, last);
  }

  /** A counter's current growth per second; undefined until there are two samples. */
  rate(name) {
    return this.#rateAt(name, this.#samples.length - 1);
  }

  /** [seconds ago, value] of a gauge. */
  gauge(name) {
    return this.#points((index) => this.#samples[index].gauges[name] ?? 0);
  }

  /** [seconds ago, growth per second] of a counter. */
  rates(name) {
    return this.#points((index) => this.#rateAt(name, index));
  }

  #points(value) {
    const now = this.#samples.at(-1)?.time;
    return this.#samples
      .map(({ time }, index) => [now - time, value(index)])
      .filter(([, known]) => known !== undefined);
  }

  #rateAt(name, index) {
    if (index < 1) return undefined;
    // After a pause only the sample before it is available for comparison.
    const from = this.#samples[Math.min(index - 1, this.#before(index, SMOOTH))];
    const to = this.#samples[index];
    return grown(name, from, to) / (to.time - from.time);
  }

  /** The first sample that is at most `seconds` older than that of `index`. */
  #before(index, seconds) {
    const from = this.#samples[index].time - seconds;
    while (index > 0 && this.#samples[index - 1].time >= from) index -= 1;
    return index;
  }
}

function grown(name, from, to) {
  return (to.counters[name] ?? 0) - (from.counters[name] ?? 0);
}
