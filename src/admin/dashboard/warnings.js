// Warnings, in the strip under the header.

import { el, setText } from "./dom.js";

const place = document.getElementById("warnings");
const shown = new Map();

/** Shows a warning of this name; removes it if there is no text. `action` is { label, act }. */
export function warn(name, text, { kind = "bad", action, details } = {}) {
  let warning = shown.get(name);
  if (!text) {
    warning?.element.remove();
    shown.delete(name);
    return;
  }
  if (!warning) {
    const words = el("span", { class: "words" });
    const element = el("div", { class: `warning ${kind}` }, words);
    if (action) {
      const button = el("button", { type: "button" }, action.label);
      button.addEventListener("click", action.act);
      element.append(button);
    }
    warning = { element, words };
    shown.set(name, warning);
    // Warnings with an action come first.
    if (action) place.prepend(element);
    else place.append(element);
  }
  setText(warning.words, text);
  const said = details?.textContent ?? "";
  if ((warning.details?.textContent ?? "") !== said) {
    warning.details?.remove();
    warning.details = details;
    if (details) warning.element.append(details);
  }
}
