// One broker: a row of its pool's table, and its history.

import { askFor, choices } from "./broker_actions.js";
import { Detail } from "./broker_detail.js";
import { clone, printable, setAttribute, setLength, setText } from "./dom.js";
import { byteRate, count, percent, rate } from "./format.js";
import { History } from "./history.js";
import { draw } from "./sparkline.js";
import { paint, severity, written } from "./status_words.js";

/** The names of code 0 in 3.x and 5.0. */
const ACCEPTED = new Set(["accepted", "success"]);

export class Broker {
  /** The table's tbody of this broker: its row, and its details below. */
  element;
  /** The broker as in the API's response. */
  upstream;
  /** The values that the table is sorted by. */
  values = {};

  #at;
  #history = new History();
  #detail;

  /** `pool` is its PoolTable. */
  constructor(pool) {
    this.pool = pool;
    [this.element, this.#at] = clone("broker-template");
    this.#at.more.addEventListener("click", () => this.#toggle());
    for (const button of [this.#at.first, this.#at.second]) {
      button.addEventListener("click", () => askFor(this, button.dataset.state));
    }
  }

  /** Takes a response of the API, which arrived at `time` (seconds). */
  take(upstream, time) {
    const { connacks = {}, tries = {}, sessions } = upstream;
    const sum = (entries) => entries.reduce((total, [, n]) => total + n, 0);
    const answers = Object.entries(connacks);
    const counters = {
      connects: sum(answers.filter(([reason]) => ACCEPTED.has(reason))),
      refused: sum(answers.filter(([reason]) => !ACCEPTED.has(reason))),
      in: upstream.bytes_in ?? 0,
      out: upstream.bytes_out ?? 0,
    };
    for (const [reason, n] of answers) counters[`connack ${reason}`] = n;
    for (const [outcome, n] of Object.entries(tries)) counters[`try ${outcome}`] = n;
    this.#history.add(time, counters, { sessions });
    this.set(upstream);
    const rates = ["connects", "refused", "in", "out"].map((name) => [
      name,
      this.#history.rate(name),
    ]);
    Object.assign(this.values, Object.fromEntries(rates));
  }

  /** Takes the broker's state without adding a sample to its history. */
  set(upstream) {
    this.upstream = upstream;
    Object.assign(this.values, {
      name: upstream.name,
      address: upstream.address,
      status: severity(upstream.status),
      sessions: upstream.sessions,
      weight: upstream.weight,
    });
    // For the filter.
    this.words = [upstream.name, upstream.address, written(upstream.status)]
      .join("\n")
      .toLowerCase();
  }

  forgetHistory() {
    this.#history.clear();
  }

  /** Shows the broker; `share` is its share of the pool's sessions, `largest` the largest share. */
  paint(share, largest, trend) {
    const { upstream, values } = this;
    const at = this.#at;
    values.share = share;
    setText(at.name, printable(upstream.name));
    at.backup.hidden = !upstream.backup;
    setText(at.address, printable(upstream.address));
    const addresses = [upstream.resolved, ...(upstream.other_addresses ?? [])].filter(Boolean);
    const resolved = addresses.length ? ` (${addresses.map(printable).join(", ")})` : "";
    setAttribute(at.address, "title", printable(upstream.address) + resolved);
    setAttribute(this.element, "data-status", upstream.status);
    paint(at, upstream.status);
    this.element.classList.toggle("off", !upstream.serving);
    setText(at.sessions, count(upstream.sessions));
    setText(at.share, percent(share));
    setLength(at.bar, share / largest);
    this.#paintWeight(upstream);
    setText(at.connects, rate(values.connects));
    setText(at.refused, rate(values.refused));
    at.refused.classList.toggle("bad", values.refused > 0);
    setAttribute(at.refused, "title", this.#refusals());
    setText(at.in, byteRate(values.in));
    setText(at.out, byteRate(values.out));
    for (const name of ["connects", "refused", "in", "out", "sessions"]) {
      at[name].classList.toggle("none", !values[name]);
    }
    this.drawTrend(at.spark, trend);
    this.#paintActions(upstream);
    this.#detail?.paint(this);
  }

  /** Draws the trend of "sessions" or "connects"; returns its range. */
  drawTrend(svg, trend) {
    return trend === "sessions"
      ? draw(svg, "Sessions", this.#history.gauge("sessions"), count)
      : draw(svg, "Connects a second", this.#history.rates("connects"), rate);
  }

  /** By how much "connack REASON" or "try OUTCOME" grew in the known part of five minutes. */
  growth(name) {
    return this.#history.growth(name, 300);
  }

  #refusals() {
    const reasons = Object.entries(this.upstream.connacks ?? {})
      .filter(([reason, n]) => n && !ACCEPTED.has(reason))
      .map(([reason, n]) => `${printable(reason)} ${count(n)}`);
    return reasons.length ? `since the start: ${reasons.join(", ")}` : undefined;
  }

  #paintWeight({ weight, configured_weight: configured }) {
    const differs = configured !== undefined && configured !== weight;
    setText(this.#at.weight, differs ? `${count(weight)} (${count(configured)})` : count(weight));
    setAttribute(
      this.#at.weight,
      "title",
      differs ? `configured: ${count(configured)}` : undefined,
    );
  }

  #paintActions(upstream) {
    const offered = choices(upstream.state);
    [this.#at.first, this.#at.second].forEach((button, index) => {
      const { state, label } = offered[index];
      setAttribute(button, "data-state", state);
      setAttribute(button, "aria-label", `${label} ${printable(upstream.name)}`);
      setText(button, label);
    });
  }

  #toggle() {
    const isOpen = !this.#detail;
    setAttribute(this.#at.more, "aria-expanded", isOpen);
    this.element.classList.toggle("open", isOpen);
    if (isOpen) {
      this.#detail = new Detail();
      this.element.append(this.#detail.element);
      this.#detail.paint(this);
    } else {
      this.#detail.element.remove();
      this.#detail = undefined;
    }
  }
}
