// How many brokers are up, down, …: buttons that show only those.

import { arrange, el, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";
import { paint, severity } from "./status_words.js";

const SVG = "http://www.w3.org/2000/svg";
const ALL = "all";

export class StatusChips {
  #place;
  #chosen = ALL;
  #chips = new Map();
  #changed;

  /** `changed` is called when another status is chosen. */
  constructor(place, changed) {
    this.#place = place;
    this.#changed = changed;
  }

  /** Whether brokers of this status are shown. */
  takes(status) {
    return this.#chosen === ALL || this.#chosen === status;
  }

  /** Shows the number of brokers of each status; the chosen status stays even at 0. */
  update(statuses) {
    const counts = new Map([[ALL, statuses.length]]);
    for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1);
    if (!counts.has(this.#chosen)) counts.set(this.#chosen, 0);
    for (const [status, chip] of this.#chips) {
      if (!counts.has(status)) chip.element.hidden = true;
    }
    const order = [...counts.keys()].sort((a, b) => rank(a) - rank(b));
    for (const status of order) {
      if (!this.#chips.has(status)) this.#chips.set(status, this.#make(status));
      const chip = this.#chips.get(status);
      chip.element.hidden = false;
      setText(chip.number, count(counts.get(status)));
      setAttribute(chip.element, "aria-pressed", status === this.#chosen);
    }
    arrange(
      this.#place,
      order.map((status) => this.#chips.get(status).element),
    );
  }

  #make(status) {
    const number = el("span", { class: "strong" });
    const word = el("span");
    const element = el("button", { type: "button", class: "chip status" });
    if (status === ALL) {
      setText(word, "all");
    } else {
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("aria-hidden", "true");
      const shape = svg.appendChild(document.createElementNS(SVG, "use"));
      element.append(svg);
      paint({ status: element, shape, word }, status);
    }
    element.append(word, " ", number);
    element.addEventListener("click", () => this.#choose(status));
    return { element, number };
  }

  /** Pressing the chosen button again shows all brokers. */
  #choose(status) {
    this.#chosen = this.#chosen === status ? ALL : status;
    for (const [name, { element }] of this.#chips) {
      setAttribute(element, "aria-pressed", name === this.#chosen);
    }
    this.#changed();
  }
}

/** The order: all, up, then the worst first. */
function rank(status) {
  if (status === ALL) return -3;
  return status === "up" ? -2 : severity(status);
}
