// The admin token: requested once, if the proxy requires it.

import { isGood, token } from "./api.js";
import { ask } from "./dialog.js";
import { el } from "./dom.js";
import { show } from "./say.js";

const forget = document.getElementById("forget");
let isAsking = false;

/** Asks for the token; resolves to whether it was accepted. Further calls meanwhile do nothing. */
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
        wasRefused ? "The token was refused; it may have changed. " : "",
        "This proxy requires its admin token, the content of the file in ",
        el("code", {}, "admin.token_file"),
        ". The page keeps it until this tab is closed.",
      ),
      el("label", { for: "token" }, "Token"),
      input,
    ],
    confirm: "Sign in",
    busy: "Checking…",
    act: async () => {
      const given = input.value.trim();
      if (!given) throw new Error("Enter the token.");
      // The header allows nothing else (RFC 6750, section 2.1).
      if (!/^[\x21-\x7e]+$/.test(given)) throw new Error("A token is ASCII without spaces.");
      if (!(await isGood(given))) throw new Error("The token was refused.");
      token.set(given);
      return true;
    },
  });
  isAsking = false;
  update();
  return signedIn === true;
}

/** `then` is called once the token is deleted. */
export function onForgotten(then) {
  forget.addEventListener("click", () => {
    token.forget();
    update();
    show("Token forgotten.");
    then();
  });
}

function update() {
  forget.hidden = token.get() === null;
}

update();
