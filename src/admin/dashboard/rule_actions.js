// The share of clients of a rule: explained and confirmed first.

import { request } from "./api.js";
import { ask } from "./dialog.js";
import { el, printable } from "./dom.js";
import { show } from "./say.js";

/** Asks for a share, then sets it; `changed` is called after that. */
export async function askForShare(listener, rule, changed) {
  const name = printable(rule.name);
  const input = el("input", {
    id: "share",
    type: "text",
    inputmode: "decimal",
    autocomplete: "off",
    value: rule.percent,
  });
  const path = [listener, "rules", rule.name].map(encodeURIComponent).join("/");
  const answer = await ask({
    title: `Change the share of ${name}?`,
    body: [
      el(
        "p",
        {},
        el("label", { for: "share" }, "Percent of the clients that meet the conditions "),
        input,
      ),
      el("p", {}, `Empty: the configured share, ${rule.configured_percent} %.`),
      el(
        "p",
        {},
        "A larger share only adds clients. Sessions whose clients then belong elsewhere are moved " +
          "at rebalance.rate of their pool; without rebalance they stay until they end. Sessions " +
          "of clients that a rule then refuses are closed.",
      ),
      el(
        "p",
        { class: "note" },
        "This applies to this proxy only, until it ends or the configured share changes.",
      ),
    ],
    confirm: "Change",
    busy: "Sending…",
    act: () => request("PATCH", `/api/v1/listeners/${path}`, { percent: shareIn(input.value) }),
  });
  if (!answer) return;
  show(`Rule ${name} of listener ${printable(listener)}: ${rule.percent} % → ${answer.percent} %.`);
  changed();
}

/** The share in a text; null for none. */
function shareIn(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  if (!/^\d{1,3}(\.\d{1,2})?$/.test(trimmed) || Number(trimmed) > 100) {
    throw new Error("Write a number from 0 to 100, with up to two decimals.");
  }
  return Number(trimmed);
}
