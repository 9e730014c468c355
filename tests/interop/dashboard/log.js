// The log: the newest last, followed unless somebody reads what is above; bounded.

import assert from "node:assert/strict";
import { test } from "node:test";

import { broker, pool } from "./mock.js";
import { becomes, hasText, shown, withPage } from "./page.js";

const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"];

function add(mock, count) {
  for (let added = 0; added < count; added += 1) {
    const seq = (mock.lines.at(-1)?.seq ?? 0) + 1;
    const time = new Date(Date.UTC(2026, 2, 14, 3, 0, 0, seq)).toISOString();
    mock.lines.push({ seq, time, level: LEVELS[seq % 4], message: `line ${seq}` });
  }
  mock.lines = mock.lines.slice(-500);
}

const withLines = (count, run) =>
  withPage((mock) => {
    mock.pools = [pool([broker(1)])];
    add(mock, count);
  }, run);

const lines = (page) => page.locator("#log-lines li");
const isAtEnd = (page) =>
  page
    .locator("#log-lines")
    .evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 8);

test("shows lines of the levels that are wanted", () =>
  withLines(8, async (page) => {
    const visible = async () => {
      const all = await page.locator("#log-lines li .message:visible").allInnerTexts();
      return all.map((text) => Number(text.slice(5)));
    };
    await becomes(visible, [1, 2, 3, 5, 6, 7]);
    assert.equal(await lines(page).nth(1).innerText(), "03:00:00\nWARN\nline 2");
    const level = page.getByLabel("Show");
    await level.selectOption("everything");
    assert.deepEqual(await visible(), [1, 2, 3, 4, 5, 6, 7, 8]);
    await level.selectOption("warnings and errors");
    assert.deepEqual(await visible(), [2, 3, 6, 7]);
    await level.selectOption("errors");
    assert.deepEqual(await visible(), [3, 7]);
  }));

test("says so where there is no line of the level", () =>
  withLines(1, async (page) => {
    await page.getByLabel("Show").selectOption("errors");
    await page.getByText("No line of this level.").waitFor();
  }));

test("follows, keeps 500, and stays where somebody reads", () =>
  withLines(300, async (page, mock) => {
    await becomes(() => lines(page).count(), 300);
    assert.equal(await isAtEnd(page), true);
    add(mock, 300);
    await hasText(lines(page).last().locator(".message"), "line 600");
    assert.equal(await lines(page).count(), 500);
    assert.equal(await isAtEnd(page), true);

    const newest = page.locator("#log-newest");
    assert.equal(await newest.isVisible(), false);
    const log = page.locator("#log-lines");
    await log.evaluate((one) => (one.scrollTop -= 400));
    await hasText(newest, "Newest ↓");
    const top = await log.evaluate((one) => one.scrollTop);
    add(mock, 3);
    await hasText(newest, "3 new lines ↓");
    assert.equal(await isAtEnd(page), false);
    // What was read has not moved: three lines have gone above it.
    assert.ok((await log.evaluate((one) => one.scrollTop)) <= top);
    await newest.click();
    await becomes(() => isAtEnd(page), true);
    await becomes(() => newest.isVisible(), false);
  }));

test("starts again with the proxy", () =>
  withLines(20, async (page, mock) => {
    await shown(page, mock);
    await becomes(() => lines(page).count(), 20);
    mock.lines = [];
    mock.status.started_at = "2026-03-14T05:00:00Z";
    mock.status.version = "restarted";
    add(mock, 2);
    await shown(page, mock);
    await becomes(() => lines(page).count(), 22);
    await hasText(lines(page).last().locator(".message"), "line 2");
  }));
