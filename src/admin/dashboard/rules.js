// Where the clients of each listener may go: /api/v1/rules. Nothing is shown without rules.

import { Rows, el, printable, setAttribute, setText } from "./dom.js";
import { count, percent, plural } from "./format.js";
import { askForShare } from "./rule_actions.js";
import { offerListeners } from "./search.js";

const section = document.getElementById("rules");
const note = document.getElementById("rules-note");
const rows = new Rows(document.getElementById("rule-rows"), cells);

/** `poll` asks for the rules again. */
export function showRules({ listeners = [] }, poll) {
  const withRules = listeners.filter(({ rules }) => rules.length);
  section.hidden = !withRules.length;
  const total = withRules.reduce((sum, { rules }) => sum + rules.length, 0);
  setText(note, `${plural(total, "rule")}; the first that holds decides. Counts are since the start`);
  rows.update(withRules.flatMap((listener) => itemsOf(listener, poll)));
  offerListeners(withRules.length ? listeners.map(({ listener }) => listener) : []);
}

function itemsOf({ listener, default_pool: pool, traffic, rules }, poll) {
  const items = rules.map((rule) => [
    `${listener} ${rule.name}`,
    {
      name: printable(rule.name),
      target: printable(rule.action === "pool" ? rule.target : `${rule.action} ${rule.target}`),
      share: shareOf(rule),
      hits: count(rule.hits),
      listener: printable(listener),
      traffic: rule.traffic,
      change: () => askForShare(listener, rule, poll),
    },
  ]);
  const others = { name: "all others", target: printable(pool), share: "", hits: "" };
  return [...items, [`${listener} `, { ...others, listener: printable(listener), traffic }]];
}

function shareOf({ percent: share, configured_percent: configured }) {
  return share === configured ? `${share} %` : `${share} % (configured: ${configured} %)`;
}

/** For `Rows`. */
function cells(row) {
  const words = ["th", "td", "td"].map((name) => row.appendChild(el(name)));
  setAttribute(words[0], "scope", "row");
  const numbers = Array.from({ length: 6 }, () => row.appendChild(el("td", { class: "number" })));
  const connacks = row.appendChild(el("td"));
  const button = el("button", { type: "button" }, "Change…");
  row.append(el("td", {}, button));
  let change;
  button.addEventListener("click", () => change?.());
  return (values) => {
    ({ change } = values);
    const { listener, name, target, share, hits, traffic } = values;
    [name, listener, target].forEach((text, index) => setText(words[index], text));
    const served = traffic
      ? [
          count(traffic.sessions),
          count(traffic.connects),
          percent(traffic.refused / traffic.connects),
          percent(traffic.failed / traffic.connects),
        ]
      : ["", "", "", ""];
    [share, hits, ...served].forEach((text, index) => setText(numbers[index], text));
    setText(connacks, reasons(traffic?.connacks));
    button.hidden = !change;
    setAttribute(button, "aria-label", `Change the share of rule ${name} of listener ${listener}`);
  };
}

function reasons(connacks = {}) {
  const words = Object.entries(connacks).map(([word, number]) => `${printable(word)} ${count(number)}`);
  return words.join(", ");
}
