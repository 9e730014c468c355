// Dialogs: every change is confirmed first.

import { clone, setText } from "./dom.js";

let asked = 0;

/**
 * Asks, and resolves to what `act` returns, or to undefined after Cancel.
 *
 * `body` are nodes and strings. While `act` runs the dialog stays; what it throws is shown in it.
 * `danger` puts the focus on Cancel. Without `act` it only informs.
 */
export function ask({ title, body, confirm, busy, act, danger = false, cancel = "Cancel" }) {
  const [dialog, at] = clone("dialog-template");
  const id = `dialog-${(asked += 1)}`;
  at.title.id = `${id}-title`;
  at.body.id = `${id}-body`;
  dialog.setAttribute("aria-labelledby", at.title.id);
  dialog.setAttribute("aria-describedby", at.body.id);
  setText(at.title, title);
  at.body.append(...body);
  setText(at.cancel, cancel);
  setText(at.confirm, confirm ?? "");
  at.confirm.hidden = !act;
  at.confirm.className = danger ? "danger" : "primary";
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  const first = dialog.querySelector("input") ?? (danger || !act ? at.cancel : at.confirm);
  first.focus();

  return new Promise((resolve) => {
    let result;
    at.cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus();
      resolve(result);
    });
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!act || at.confirm.disabled) return;
      at.confirm.disabled = true;
      at.error.hidden = true;
      setText(at.confirm, busy);
      try {
        result = await act();
        dialog.close();
      } catch (error) {
        setText(at.error, error.message);
        at.error.hidden = false;
        at.confirm.disabled = false;
        setText(at.confirm, confirm);
        first.focus();
      }
    });
  });
}

/** Shows information until it is closed. */
export function tell(title, body) {
  return ask({ title, body, cancel: "Close" });
}
