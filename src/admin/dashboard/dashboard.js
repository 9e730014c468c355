// The dashboard: polls the admin API and passes responses to the parts of the page.
//
// Modules by purpose: api, history (data); dom, format, sparkline, dialog, say (helpers);
// overview, pools > pool > broker, rules, counts, duplicates, bans, log, search, reload (parts of
// the page).

import "./theme.js";
import "./search.js";
import { Poller, onRefused } from "./api.js";
import { showBans } from "./bans.js";
import { showConnection } from "./connection.js";
import * as counts from "./counts.js";
import { showDuplicates } from "./duplicates.js";
import * as log from "./log.js";
import { showOverview } from "./overview.js";
import * as pools from "./pools.js";
import { reload } from "./reload.js";
import { showRules } from "./rules.js";
import { onForgotten, signIn } from "./sign_in.js";

const BASE = "/api/v1";

let status;
let isTokenMissing = false;

const pollers = {
  status: new Poller(() => `${BASE}/status`, takeStatus, told),
  upstreams: new Poller(() => `${BASE}/upstreams`, takeUpstreams, told),
  rules: new Poller(() => `${BASE}/rules`, takeRules, told),
  duplicates: new Poller(() => `${BASE}/duplicates`, showDuplicates, told),
  bans: new Poller(() => `${BASE}/bans`, takeBans, told),
  log: new Poller(log.logPath, log.showLog, told),
};
const all = Object.values(pollers);
const pollAll = () => all.forEach((poller) => poller.poll());

function takeStatus(answer) {
  if (status && status.started_at !== answer.started_at) {
    pools.forgetHistory();
    counts.forgetHistory();
    log.restart();
  }
  status = answer;
  showOverview(status);
  counts.showCounts(status);
}

function takeUpstreams(answer) {
  pools.showPools(answer, () => pollers.upstreams.poll());
}

function takeRules(answer) {
  showRules(answer, () => pollers.rules.poll());
}

function takeBans(answer) {
  showBans(answer, () => pollers.bans.poll());
}

function told() {
  showConnection(pollers, isTokenMissing && enterToken);
  showTitle();
}

/** Shows the state in the tab's title. */
function showTitle() {
  const troubled = pools.troubled();
  let news = "";
  if (isTokenMissing) news = "token required – ";
  else if (pollers.status.error) news = "no response – ";
  else if (status && !status.ready) news = "not ready – ";
  else if (troubled) news = `${troubled} not up – `;
  const title = `${news}mqtt-lb`;
  if (document.title !== title) document.title = title;
}

async function enterToken() {
  isTokenMissing = true;
  all.forEach((poller) => poller.stop());
  if (await signIn()) {
    isTokenMissing = false;
    pollAll();
  }
  told();
}

onRefused(enterToken);
onForgotten(pollAll);
document.getElementById("reload").addEventListener("click", () => reload(status?.config, pollAll));
document.addEventListener("visibilitychange", () => {
  for (const poller of all) poller.seen(!document.hidden);
});
pollAll();
