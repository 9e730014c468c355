// What happened, in words: for screen readers always, on the screen where somebody asked for it.

const SHOWN_MS = 6_000;

/** What changes together is said together. */
const GATHER_MS = 100;

const line = document.getElementById("said");
let words = [];
let gathering;
let hiding;

/** Says a change of state. */
export function say(text) {
  words.push(text);
  gathering ??= setTimeout(() => {
    line.textContent = words.join(" ");
    words = [];
    gathering = undefined;
  }, GATHER_MS);
}

/** Says, and shows for a while, what became of a request. */
export function show(text) {
  say(text);
  line.classList.remove("unseen");
  clearTimeout(hiding);
  hiding = setTimeout(() => line.classList.add("unseen"), SHOWN_MS);
}
