// Whether the values are current. If not, shows since when, and greys them out.

import { stamp } from "./format.js";
import { say } from "./say.js";
import { warn } from "./warnings.js";

/** The purpose of each poll, as the warning names it. */
const CALLED = {
  status: "sessions and configuration",
  upstreams: "brokers",
  rules: "rules",
  duplicates: "duplicate client IDs",
  bans: "bans",
  log: "the log",
};

let wasLost = false;

/** `pollers` by the data-source of what they fill; `signIn` is set while the token is missing. */
export function showConnection(pollers, signIn) {
  const all = Object.entries(pollers);
  const failing = all.filter(([, { error }]) => error);
  for (const part of document.querySelectorAll("[data-source]")) {
    part.classList.toggle("stale", Boolean(pollers[part.dataset.source].error));
  }
  warn("token", signIn && "This proxy requires its admin token; without it this page shows nothing.", {
    kind: "poor",
    action: { label: "Enter token…", act: signIn },
  });
  const isLost = failing.length > 0 && !signIn;
  warn("connection", isLost && words(failing, failing.length === all.length), {
    action: {
      label: "Try now",
      act: () => failing.length && all.forEach(([, poller]) => poller.poll()),
    },
  });
  if (isLost !== wasLost) say(isLost ? "The proxy does not respond." : "The proxy responds again.");
  wasLost = isLost;
}

function words(failing, isAll) {
  const [, { error, due }] = failing[0];
  const good = failing.map(([, poller]) => poller.lastGood).filter(Boolean);
  const since = good.length ? ` Greyed values are as of ${stamp(Math.min(...good))}.` : "";
  const what = isAll
    ? `No response from the proxy: ${error.message}.`
    : `No current values for ${failing.map(([name]) => CALLED[name]).join(", ")}: ${error.message}.`;
  return `${what}${since} Next try at ${stamp(due)}.`;
}
