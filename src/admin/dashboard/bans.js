// The bans in force: /api/v1/bans.

import { request } from "./api.js";
import { ask } from "./dialog.js";
import { Rows, el, foreign, printable, setText } from "./dom.js";
import { count, plural, stamp } from "./format.js";
import { show } from "./say.js";

const KINDS = { ip: "address", client_id: "client ID", username: "username" };

const rows = new Rows(document.getElementById("bans"), cells);
const note = document.getElementById("bans-note");
let refresh = () => {};

/** `poll` gets the bans again. */
export function showBans({ bans = [], total = 0 }, poll) {
  refresh = poll;
  rows.update(bans.map((ban) => [`${ban.kind} ${ban.value}`, ban]));
  const more = total > bans.length ? `; the latest ${count(bans.length)} are shown` : "";
  setText(note, total ? `${plural(total, "ban")}${more}` : "none");
}

/** Appends the cells of a row, and returns what sets them. */
function cells(row) {
  const [kind, value, reason, until] = [el("td"), el("th", { scope: "row" }), el("td"), el("td")];
  const button = el("button", { type: "button" }, "Unban…");
  row.append(value, kind, reason, until, el("td", {}, button));
  let shown;
  button.addEventListener("click", () => unban(shown));
  return (ban) => {
    if (!shown) value.append(foreign(ban.value));
    shown = ban;
    setText(kind, KINDS[ban.kind] ?? printable(ban.kind));
    setText(reason, printable(ban.comment ? `${ban.reason}: ${ban.comment}` : ban.reason));
    setText(until, stamp(ban.until));
    button.setAttribute("aria-label", `Unban ${printable(ban.value)}`);
  };
}

async function unban({ kind, value }) {
  const name = printable(value);
  const query = new URLSearchParams({ [kind]: value });
  let isDone = false;
  await ask({
    title: `Unban ${name}?`,
    body: [el("p", {}, `This ${KINDS[kind]} may connect again at once.`)],
    confirm: "Unban",
    busy: "Sending…",
    act: async () => {
      await request("DELETE", `/api/v1/bans?${query}`);
      isDone = true;
    },
  });
  if (!isDone) return;
  show(`${name}: no longer banned.`);
  refresh();
}
