// One pool: its totals, and the table of its brokers with filter and order.

import { Broker } from "./broker.js";
import { arrange, clone, printable, setAttribute, setText } from "./dom.js";
import { byteRate, count, plural, rate } from "./format.js";
import { StatusChips } from "./status_chips.js";

const collator = new Intl.Collator("en", { numeric: true });

let made = 0;

export class PoolTable {
  element;
  name;

  #at;
  #brokers = new Map();
  #chips;
  #sorted = { by: "name", descending: false };
  #refresh;

  /** `refresh` polls the API at once. */
  constructor(name, refresh) {
    this.name = name;
    this.#refresh = refresh;
    [this.element, this.#at] = clone("pool-template");
    const at = this.#at;
    const id = `pool-${(made += 1)}`;
    const [heading] = this.element.getElementsByTagName("h2");
    heading.id = id;
    for (const labelled of [this.element, at.region, at.table]) {
      labelled.setAttribute("aria-labelledby", id);
    }
    setText(at.name, printable(name));
    at.filter.setAttribute(
      "aria-label",
      `Filter the brokers of ${printable(name)} by name, address or status`,
    );
    at.chips.setAttribute("aria-label", `Brokers of ${printable(name)} by status`);
    this.#chips = new StatusChips(at.chips, () => this.#rearrange());
    at.filter.addEventListener("input", () => this.#rearrange());
    at.trend.addEventListener("change", () => this.#paint());
    for (const head of at.table.querySelectorAll("[data-sort]")) {
      head.querySelector("button").addEventListener("click", () => this.#sortBy(head.dataset.sort));
    }
    this.#showOrder();
  }

  /** Takes a response of the API; returns the changes, as [broker, status]. */
  take(pool, time) {
    const names = new Set(pool.upstreams.map(({ name }) => name));
    for (const [name, broker] of this.#brokers) {
      if (names.has(name)) continue;
      broker.element.remove();
      this.#brokers.delete(name);
    }
    const changes = [];
    for (const upstream of pool.upstreams) {
      let broker = this.#brokers.get(upstream.name);
      if (broker && broker.upstream.status !== upstream.status) {
        changes.push([upstream.name, upstream.status]);
      }
      if (!broker) {
        broker = new Broker(this);
        this.#brokers.set(upstream.name, broker);
        this.#at.table.append(broker.element);
      }
      broker.take(upstream, time);
    }
    setText(this.#at.algorithm, printable(pool.algorithm ?? ""));
    this.#showWarning(pool);
    this.#paint();
    if (!this.#isHeld()) this.#arrange();
    return changes;
  }

  forgetHistory() {
    for (const broker of this.#brokers.values()) broker.forgetHistory();
  }

  /** The names of the brokers that get sessions. */
  serving() {
    return this.#upstreams()
      .filter(({ serving }) => serving)
      .map(({ name }) => name);
  }

  /** How many brokers are not up, for the page's title. */
  troubled() {
    return this.#upstreams().filter(({ status }) => status !== "up").length;
  }

  /** Called when the API has accepted a change of this broker. */
  changed(broker, upstream) {
    broker.set(upstream);
    this.#paint();
    this.#refresh();
  }

  #upstreams() {
    return [...this.#brokers.values()].map(({ upstream }) => upstream);
  }

  #paint() {
    const brokers = [...this.#brokers.values()];
    const total = (name) => brokers.reduce((sum, { values }) => sum + (values[name] ?? 0), 0);
    const known = (name) =>
      brokers.some(({ values }) => values[name] !== undefined) ? total(name) : undefined;
    const sessions = total("sessions");
    const share = (broker) => broker.values.sessions / (sessions || 1);
    const largest = Math.max(...brokers.map(share));
    const trend = this.#at.trend.value;
    for (const broker of brokers) broker.paint(share(broker), largest, trend);

    const at = this.#at;
    setText(
      at.up,
      `${count(brokers.filter(({ upstream }) => upstream.up).length)} of ${count(brokers.length)}`,
    );
    setText(at.sessions, count(sessions));
    setText(at.connects, rate(known("connects")));
    setText(at.refused, rate(known("refused")));
    at.refused.classList.toggle("bad", total("refused") > 0);
    setText(at.in, byteRate(known("in")));
    setText(at.out, byteRate(known("out")));
    setText(at.trend_title, `${trend === "sessions" ? "Sessions" : "Connects/s"}, 5 min`);
    this.#chips.update(brokers.map(({ upstream }) => upstream.status));
  }

  #showWarning({ failing_open: isOpen, not_serving: why, upstreams }) {
    const isLost = why || (!isOpen && !upstreams.some(({ serving }) => serving));
    const text = why
      ? `${printable(why)}. The proxy keeps probing its brokers.`
      : isOpen
      ? "Failing open: so many brokers appear down that the checks are not trusted. All are tried."
      : isLost && "No broker of this pool takes sessions: no client can connect.";
    const { warning } = this.#at;
    setText(warning, text || "");
    warning.hidden = !text;
    warning.className = `warning ${isLost ? "bad" : "poor"}`;
  }

  /** Rows don't move while the pointer or the focus is in one, or a dialog is open. */
  #isHeld() {
    const isIn = (element) => element?.closest("tbody.broker") && this.#at.table.contains(element);
    return (
      isIn(document.activeElement) ||
      this.#at.table.querySelector("tbody.broker:hover") !== null ||
      document.querySelector("dialog[open]") !== null
    );
  }

  #sortBy(column) {
    const { by, descending } = this.#sorted;
    const isText = ["name", "address", "status"].includes(column);
    this.#sorted = { by: column, descending: by === column ? !descending : !isText };
    this.#showOrder();
    this.#rearrange();
  }

  /** Arranges the rows after a change by the user, and shows the table from the top. */
  #rearrange() {
    this.#arrange();
    this.#at.region.scrollTop = 0;
  }

  #showOrder() {
    const { by, descending } = this.#sorted;
    for (const head of this.#at.table.querySelectorAll("[data-sort]")) {
      const order = descending ? "descending" : "ascending";
      setAttribute(head, "aria-sort", head.dataset.sort === by ? order : undefined);
    }
  }

  #arrange() {
    const { by, descending } = this.#sorted;
    const compare = (one, other) => {
      const [a, b] = [one.values[by], other.values[by]];
      const order = typeof a === "string" ? collator.compare(a, b) : (a ?? -1) - (b ?? -1);
      // Equal brokers are sorted by name.
      return (
        (descending ? -order : order) || collator.compare(one.upstream.name, other.upstream.name)
      );
    };
    const brokers = [...this.#brokers.values()].sort(compare);
    const { table } = this.#at;
    arrange(
      table,
      brokers.map(({ element }) => element),
      table.tHead.nextElementSibling,
    );

    const terms = this.#at.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const broker of brokers) {
      const matches = terms.every((term) => broker.words.includes(term));
      broker.element.hidden = !(matches && this.#chips.takes(broker.upstream.status));
      shown += !broker.element.hidden;
    }
    const isAll = shown === brokers.length;
    setText(this.#at.shown, isAll ? "" : `${count(shown)} of ${count(brokers.length)} shown`);
    this.#at.none.hidden = shown > 0;
    setText(
      this.#at.none,
      brokers.length ? "No broker matches the filter." : "This pool has no brokers.",
    );
  }
}

/** What changed in a pool, in one sentence; undefined if nothing did. */
export function sentence(pool, changes, write) {
  if (!changes.length) return undefined;
  // A screen reader would take too long to read more.
  if (changes.length <= 3) {
    const parts = changes.map(([name, status]) => `${printable(name)} is ${write(status)}`);
    return `${parts.join(", ")}.`;
  }
  const counts = Map.groupBy(changes, ([, status]) => status);
  const parts = [...counts].map(([status, those]) => `${count(those.length)} ${write(status)}`);
  const brokers = `${plural(changes.length, "broker")} of pool ${printable(pool)}`;
  return `${brokers} changed: ${parts.join(", ")}.`;
}
