// Small helpers over the DOM. Text is only ever set as text, so nothing a client sends is markup.

/** An element with attributes and children; strings become text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A copy of a template's only element, and its parts by their data-field. */
export function clone(template) {
  const root = document.getElementById(template).content.firstElementChild.cloneNode(true);
  return [root, fields(root)];
}

/** The elements inside `root` by their data-field. */
export function fields(root) {
  const found = [...root.querySelectorAll("[data-field]")];
  return Object.fromEntries(found.map((one) => [one.dataset.field, one]));
}

// Values are compared before they are set: a selection survives, and nothing is laid out again.

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute, or removes it if the value is undefined. */
export function setAttribute(node, name, value) {
  if (value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Gives `parent` one element per item, in order, and moves only elements that are out of place. */
export function arrange(parent, elements, first = parent.firstElementChild) {
  let next = first;
  for (const element of elements) {
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}

/** Table rows by key: made once, then updated in place. */
export class Rows {
  #body;
  #rows = new Map();
  #make;

  /** `make` appends a row's cells to it, and returns what sets them. */
  constructor(body, make) {
    this.#body = body;
    this.#make = make;
  }

  /** `items` are [key, values] in display order. */
  update(items) {
    const keys = new Set(items.map(([key]) => key));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.element.remove();
      this.#rows.delete(key);
    }
    for (const [key, values] of items) {
      if (!this.#rows.has(key)) {
        const element = el("tr");
        this.#rows.set(key, { element, set: this.#make(element) });
      }
      this.#rows.get(key).set(values);
    }
    arrange(
      this.#body,
      items.map(([key]) => this.#rows.get(key).element),
    );
  }
}

/** For `Rows`: text cells, of which the first `words` contain words and the rest numbers. */
export function textCells(words, numbers) {
  return (row) => {
    const cells = Array.from({ length: words + numbers }, (_, index) => {
      const cell = index ? el("td") : el("th", { scope: "row" });
      if (index >= words) cell.classList.add("number");
      row.append(cell);
      return cell;
    });
    return (values) => cells.forEach((cell, index) => setText(cell, values[index]));
  };
}

/** A horizontal bar, 0 to 1 long. */
export function bar() {
  const fill = el("span");
  const element = el("span", { class: "bar", "aria-hidden": "true" }, fill);
  return [element, (length) => setLength(fill, length)];
}

/** The length of a bar's fill. */
export function setLength(fill, length) {
  const width = `${(100 * Math.min(1, Math.max(0, length || 0))).toFixed(1)}%`;
  if (fill.style.width !== width) fill.style.width = width;
}

// Controls, formats (direction overrides, joiners), separators, default-ignorable code points, lone
// surrogates: the same set as in `mqtt-lb ctl` and the logs, whose tests compare it.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\p{Cs}]/gu;

/** A text with its invisible or reordering characters written as \u{…}. */
export function printable(text) {
  return String(text).replace(UNSEEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

/** A text that a client chose: printable, and isolated from the text direction around it. */
export function foreign(text) {
  return el("bdi", { class: "mono" }, printable(text));
}
