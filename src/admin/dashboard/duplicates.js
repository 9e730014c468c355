// The client IDs that several devices use: /api/v1/duplicates.

import { Rows, printable, setText, textCells } from "./dom.js";
import { count, plural, stamp } from "./format.js";

const rows = new Rows(document.getElementById("duplicates"), textCells(5, 1));
const note = document.getElementById("duplicates-note");

export function showDuplicates({ duplicates = [], evicted = 0 }) {
  rows.update(
    duplicates.map((one) => {
      const { pool, client_id: id, username, addresses = [] } = one;
      const words = [id, username ?? "–", pool, addresses.join(" ")].map(printable);
      return [`${pool} ${username ?? ""} ${id}`, [...words, stamp(one.last), count(one.count)]];
    }),
  );
  const older = evicted ? `; ${count(evicted)} more are no longer listed` : "";
  setText(note, duplicates.length ? `${plural(duplicates.length, "client ID")}${older}` : "none");
}
