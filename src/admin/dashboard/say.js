// Announcements: always for screen readers, and on the screen after a request by the user.

const SHOWN_MS = 6_000;

/** Changes within this time are announced together. */
const GATHER_MS = 100;

const line = document.getElementById("said");
let words = [];
let gathering;
let hiding;

/** Announces a change of state. */
export function say(text) {
  words.push(text);
  gathering ??= setTimeout(() => {
    line.textContent = words.join(" ");
    words = [];
    gathering = undefined;
  }, GATHER_MS);
}

/** Announces the outcome of a request, and shows it for a while. */
export function show(text) {
  say(text);
  line.classList.remove("unseen");
  clearTimeout(hiding);
  hiding = setTimeout(() => line.classList.add("unseen"), SHOWN_MS);
}
