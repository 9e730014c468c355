// The admin token: asked for once, when the proxy wants it.

import { isGood, token } from "./api.js";
import { ask } from "./dialog.js";
import { el } from "./dom.js";
import { show } from "./say.js";

const forget = document.getElementById("forget");
let isAsking = false;

/** Asks for the token; whether there is a good one now. Asks once, however often it is called. */
export async function signIn() {
  if (isAsking) return false;
  isAsking = true;
  const wasRefused = token.get() !== null;
  token.forget();
  update();
  const input = el("input", { id: "token", type: "password", class: "mono", autocomplete: "off" });
  const signedIn = await ask({
    title: "Admin token",
    body: [
      el(
        "p",
        {},
        wasRefused ? "The token was refused; it may have been changed. " : "",
        "This proxy asks for the token of its admin listener, which is in the file that ",
        el("code", {}, "admin.token_file"),
        " names. It is kept until this tab is closed.",
      ),
      el("label", { for: "token" }, "Token"),
      input,
    ],
    confirm: "Sign in",
    busy: "Asking…",
    act: async () => {
      const given = input.value.trim();
      if (!given) throw new Error("Enter the token.");
      // A header takes nothing else (RFC 6750, section 2.1).
      if (!/^[\x21-\x7e]+$/.test(given)) throw new Error("A token has only ASCII, and no spaces.");
      if (!(await isGood(given))) throw new Error("The token was refused.");
      token.set(given);
      return true;
    },
  });
  isAsking = false;
  update();
  return signedIn === true;
}

/** `then` is called once the token is forgotten. */
export function onForgotten(then) {
  forget.addEventListener("click", () => {
    token.forget();
    update();
    show("The token is forgotten.");
    then();
  });
}

function update() {
  forget.hidden = token.get() === null;
}

update();
