// The details below a broker's row: CONNACKs, tries, configuration, charts.

import { Rows, clone, el, printable, setText, textCells } from "./dom.js";
import { bytes, count } from "./format.js";

export class Detail {
  element;
  #at;
  #connacks;
  #tries;
  #pairs = new Map();

  constructor() {
    [this.element, this.#at] = clone("detail-template");
    this.#connacks = new Rows(this.#at.connacks, textCells(1, 2));
    this.#tries = new Rows(this.#at.tries, textCells(1, 2));
  }

  paint(broker) {
    const { upstream } = broker;
    const counted = (kind, counts = {}) =>
      Object.entries(counts)
        .filter(([, n]) => n)
        .sort(([, a], [, b]) => b - a)
        .map(([name, n]) => [
          name,
          [printable(name), count(broker.growth(`${kind} ${name}`)), count(n)],
        ]);
    this.#connacks.update(counted("connack", upstream.connacks));
    this.#tries.update(counted("try", upstream.tries));
    for (const [name, text] of facts(upstream)) this.#pair(name, text);
    for (const trend of ["sessions", "connects"]) {
      setText(this.#at[`${trend}_range`], broker.drawTrend(this.#at[`${trend}_spark`], trend));
    }
  }

  #pair(name, text) {
    if (!this.#pairs.has(name)) {
      const value = el("dd");
      this.#at.pairs.append(el("div", {}, el("dt", {}, name), value));
      this.#pairs.set(name, value);
    }
    setText(this.#pairs.get(name), text);
  }
}

function facts(upstream) {
  return [
    ["Address", printable(upstream.address)],
    ["Resolved", printable(upstream.resolved ?? "–")],
    ["Other addresses", (upstream.other_addresses ?? []).map(printable).join(", ") || "–"],
    ["Set by the operator", printable(upstream.state)],
    ["Health", upstream.up ? "up" : "down"],
    ["Gets new sessions", upstream.serving ? "yes" : "no"],
    ["Weight", `${count(upstream.weight)} (configured: ${count(upstream.configured_weight)})`],
    ["Connection limit", upstream.max_connections ? count(upstream.max_connections) : "no limit"],
    ["Role", upstream.backup ? "backup" : "primary"],
    ["Source", upstream.discovered ? "DNS" : "the configuration"],
    ["Bytes in, out", `${bytes(upstream.bytes_in)}, ${bytes(upstream.bytes_out)}`],
  ];
}
