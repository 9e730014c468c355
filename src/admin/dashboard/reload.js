// Reload: asks for confirmation, then shows the changes, or every fault.

import { request } from "./api.js";
import { ask, tell } from "./dialog.js";
import { el, printable } from "./dom.js";

/** Runs the dialogs; `config` is of the last status, `then` is called after a response. */
export async function reload(config, then) {
  const file = config?.file ? el("code", {}, printable(config.file)) : "the configuration";
  const answer = await ask({
    title: "Reload the configuration?",
    body: [
      el(
        "p",
        {},
        "The proxy reloads ",
        file,
        ". If it is invalid, nothing changes. ",
        "Sessions stay, except those of pools and brokers that it no longer has.",
      ),
    ],
    confirm: "Reload",
    busy: "Reloading…",
    act: () => request("POST", "/api/v1/reload").catch(keepFaults),
  });
  if (!answer) return;
  then();
  if (answer.faults) {
    await tell("Reload refused", [
      el("p", {}, sentence(answer.error)),
      list(answer.faults, "faults"),
    ]);
    return;
  }
  const changes = answer.changes ?? [];
  await tell(`Reloaded: generation ${answer.generation}`, [
    changes.length ? list(changes, "changes") : el("p", {}, "No changes."),
  ]);
}

/** Lines of text, unchanged. */
export function list(lines, kind) {
  const items = lines.map((line) => el("li", {}, printable(line)));
  return el("ul", { class: `lines ${kind}` }, ...items);
}

function keepFaults(error) {
  if (!error.body?.faults) throw error;
  return error.body;
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}
